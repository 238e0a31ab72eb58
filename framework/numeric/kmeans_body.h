/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops of codebook search, compiled once for each width of vectors (kmeans_kernels*.c): the same C, so the
 * same operations in the same order for every word, and no result depends on the machine. Whoever includes this
 * may define before WIDTH, the floats of a register, the masks of the lanes of one group that are BELOW(scores, limit) or
 * AT_MOST, and KERNELS, the name of the table at the end. */
#ifndef NUMERIC_KMEANS_BODY_H
#define NUMERIC_KMEANS_BODY_H

#include "kmeans_search.h"

#include <string.h>

#ifndef WIDTH
static inline uint32_t below_plain(const float *scores, float limit) {
    uint32_t bits = 0;
    for (uint32_t l = 0; l < 16; l++) bits |= (uint32_t)(scores[l] < limit) << l;
    return bits;
}

static inline uint32_t at_most_plain(const float *scores, float limit) {
    uint32_t bits = 0;
    for (uint32_t l = 0; l < 16; l++) bits |= (uint32_t)(scores[l] <= limit) << l;
    return bits;
}

#define WIDTH 4
#define AT_MOST at_most_plain
#define BELOW below_plain
#define KERNELS kmeans_kernels_portable
#endif

typedef float lanes __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef int32_t mask __attribute__((vector_size(WIDTH * 4)));

#define LOAD(from) (*(const lanes *)(from))
/* So that the sums stay in registers. */
#define UNROLL _Pragma("GCC unroll 4")

/* `many` vectors from `first` on against WIDTH words, the first of which is lane `lane` of a group. The sum begins with
 * base + `begin` and takes `step` for each dimension in ascending order. */
#define SCORE(name, many, begin, step)                                                                                 \
    static void name(const struct kmeans_block *block, uint64_t first, uint64_t group, uint64_t lane) {                \
        const struct tsr_codebook *codebook = block->codebook;                                                         \
        const uint64_t dim = codebook->dim, stride = block->weight_stride;                                             \
        const float *words = codebook->words + group * dim * KMEANS_LANES + lane;                                      \
        const float *x = block->vectors + first * dim;                                                                 \
        const float *w = block->weights ? block->weights + first * stride : x;                                         \
        const uint64_t to = (group - block->first_group) * KMEANS_LANES + lane;                                        \
        lanes acc[many];                                                                                               \
        (void)w, (void)stride;                                                                                         \
        const lanes start = LOAD(codebook->begin + group * KMEANS_LANES + lane);                                       \
        UNROLL for (uint64_t v = 0; v < (many); v++) acc[v] = start + block->base[first + v];                          \
        for (uint64_t i = 0; i < dim; i++) {                                                                           \
            const lanes c = LOAD(words + i * KMEANS_LANES);                                                            \
            UNROLL for (uint64_t v = 0; v < (many); v++) acc[v] = (step);                                              \
        }                                                                                                              \
        UNROLL for (uint64_t v = 0; v < (many); v++) * (lanes *)(block->scores[first + v] + to) = acc[v];              \
    }

SCORE(score_four, KMEANS_VECTORS, norms, acc[v] - x[v * dim + i] * c)
SCORE(score_one, 1, norms, acc[v] - x[v * dim + i] * c)
SCORE(score_weighted, 1, pads, acc[v] + (w[v * stride + i] * c) * (0.5f * c - x[v * dim + i]))

static void score(const struct kmeans_block *block) {
    for (uint64_t g = block->first_group; g < block->first_group + block->groups; g++) {
        for (uint64_t lane = 0; lane < KMEANS_LANES; lane += WIDTH) {
            if (!block->weights && block->count == KMEANS_VECTORS) {
                score_four(block, 0, g, lane);
                continue;
            }
            for (uint64_t v = 0; v < block->count; v++) {
                if (block->weights)
                    score_weighted(block, v, g, lane);
                else
                    score_one(block, v, g, lane);
            }
        }
    }
}

static uint32_t least(const float *scores, uint64_t groups, float limit, uint32_t none) {
    lanes low = LOAD(scores);
    float values[WIDTH], best = limit;
    for (uint64_t at = WIDTH; at < groups * KMEANS_LANES; at += WIDTH) {
        lanes other = LOAD(scores + at);
        mask lower = other < low;
        low = (lanes)(((mask)other & lower) | ((mask)low & ~lower));
    }
    memcpy(values, &low, sizeof values);
    for (int l = 0; l < WIDTH; l++) best = values[l] < best ? values[l] : best;
    if (!(best < limit)) return none;
    uint32_t at = 0, bits = 0;
    for (; !(bits = AT_MOST(scores + at, best)); at += KMEANS_LANES) {
    }
    return at + (uint32_t)__builtin_ctz(bits);
}

/* Unsigned integers that order like the floats, and back. */
static inline uint32_t ordered(float score) {
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static inline float unordered(uint32_t order) {
    uint32_t bits = order & 0x80000000u ? order & 0x7FFFFFFFu : ~order;
    float score;
    memcpy(&score, &bits, sizeof score);
    return score;
}

/* Without branches, which could not be predicted: each place takes its own key, the new one, or that of its neighbour.
 */
static inline void insert(struct kmeans_ranking *ranking, uint64_t key) {
    uint64_t *keys = ranking->keys;
    for (uint64_t at = ranking->most - 1; at > 0; at--) {
        uint64_t own = keys[at] < key ? keys[at] : key;
        keys[at] = keys[at - 1] > own ? keys[at - 1] : own;
    }
    keys[0] = keys[0] < key ? keys[0] : key;
    ranking->count++;
    if (ranking->count >= ranking->most) ranking->limit = unordered((uint32_t)(keys[ranking->most - 1] >> 32));
}

/* Where nothing has entered yet, most would enter only to be driven out again. The most-th smallest of the lanes'
 * minima cannot be beaten by that many, so nothing above it needs to enter. */
static void tighten(struct kmeans_ranking *ranking, const float *scores, uint64_t groups) {
    lanes low = LOAD(scores);
    float minima[WIDTH];
    for (uint64_t at = WIDTH; at < groups * KMEANS_LANES; at += WIDTH) {
        lanes other = LOAD(scores + at);
        mask lower = other < low;
        low = (lanes)(((mask)other & lower) | ((mask)low & ~lower));
    }
    memcpy(minima, &low, sizeof minima);
    for (uint64_t i = 0; i < ranking->most; i++) {
        uint64_t least_at = i;
        for (uint64_t l = i + 1; l < WIDTH; l++) least_at = minima[l] < minima[least_at] ? l : least_at;
        float value = minima[least_at];
        minima[least_at] = minima[i];
        minima[i] = value;
    }
    float limit = unordered(ordered(minima[ranking->most - 1]) + 1);
    ranking->limit = limit < ranking->limit ? limit : ranking->limit;
}

static void rank(struct kmeans_ranking *ranking, const float *scores, uint64_t groups, uint32_t vector, uint32_t word) {
    if (ranking->count == 0 && ranking->most <= WIDTH) tighten(ranking, scores, groups);
    for (uint64_t g = 0; g < groups; g++, scores += KMEANS_LANES, word += KMEANS_LANES) {
        for (uint32_t bits = BELOW(scores, ranking->limit); bits; bits &= bits - 1) {
            uint32_t lane = (uint32_t)__builtin_ctz(bits);
            if (!(scores[lane] < ranking->limit)) continue;
            insert(ranking, (uint64_t)ordered(scores[lane]) << 32 | vector << 16 | (word + lane));
        }
    }
}

static void finish(const struct kmeans_ranking *ranking, tsr_candidate *best) {
    for (uint64_t i = 0; i < ranking->count; i++) {
        uint32_t place = (uint32_t)ranking->keys[i];
        best[i] = (tsr_candidate){unordered((uint32_t)(ranking->keys[i] >> 32)), place >> 16, place & 0xFFFF};
    }
}

const struct kmeans_kernels KERNELS = {score, least, rank, finish};

#endif
