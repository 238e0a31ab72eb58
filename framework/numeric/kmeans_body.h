/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops of codebook search, compiled once for each width of vectors (kmeans_kernels*.c): the same C, so the
 * same operations in the same order for every word, and no result depends on the machine. Whoever includes this may
 * define before WIDTH, the floats of a register, the mask of the lanes of one group that are BELOW(scores, limit),
 * KEEP_LOWER, KERNELS, the name of the table at the end, and LOWER and NEAREST_OF where plain C is not the best. */
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

#define WIDTH 4
#define BELOW below_plain
/* Where `score` is below `low`, `low` becomes it and `at` becomes `slot`. */
#define KEEP_LOWER(low, at, score, slot)                                                                               \
    do {                                                                                                               \
        const mask lower = (score) < (low);                                                                            \
        low = (lanes)(((mask)(score) & lower) | ((mask)(low) & ~lower));                                               \
        at = ((slot) & lower) | ((at) & ~lower);                                                                       \
    } while (0)
#define KERNELS kmeans_kernels_portable
#endif

typedef float lanes __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef int32_t mask __attribute__((vector_size(WIDTH * 4)));

#ifndef LOWER
#define LOWER lower_plain
static inline lanes lower_plain(lanes a, lanes b) {
    const mask lower = a < b;
    return (lanes)(((mask)a & lower) | ((mask)b & ~lower));
}
#endif

#define LOAD(from) (*(const lanes *)(from))
/* So that the sums stay in registers. */
#define UNROLL _Pragma("GCC unroll 4")

/* `many` vectors from `first` on against WIDTH words, the first of which is lane `lane` of a group. The sum begins with
 * base + `begin` and takes `step` for each dimension in ascending order. */
#define SCORE(name, many, begin, step)                                                                                 \
    static void name(const struct kmeans_block *block, uint64_t first, uint64_t group, uint64_t lane) {                \
        const struct tsr_codebook *codebook = block->codebook;                                                         \
        const uint64_t dim = codebook->dim;                                                                            \
        const float *words = codebook->words + group * dim * KMEANS_LANES + lane;                                      \
        const float *x = block->vectors + first * dim;                                                                 \
        const float *w = block->weights;                                                                               \
        const uint64_t to = (group - block->first_group) * KMEANS_LANES + lane;                                        \
        lanes acc[many];                                                                                               \
        (void)w;                                                                                                       \
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
SCORE(score_weighted, 1, pads, acc[v] + (w[i] * c) * (0.5f * c - x[v * dim + i]))

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

/* ---- nearest ---- */

/* Each lane keeps the least score of its words and the register of words it came from. */
struct nearest_lanes {
    lanes low;
    mask at;
};

/* The word of the least score, the lowest of equals; 0 when no score is a number. */
#ifndef NEAREST_OF
#define NEAREST_OF(kept) nearest_of(kept)
static uint32_t nearest_of(const struct nearest_lanes *kept) {
    float low[WIDTH], best;
    int32_t at[WIDTH];
    uint32_t word = UINT32_MAX;
    memcpy(low, &kept->low, sizeof low);
    memcpy(at, &kept->at, sizeof at);
    best = low[0];
    for (int l = 1; l < WIDTH; l++) best = low[l] < best ? low[l] : best;
    for (uint32_t l = 0; l < WIDTH; l++) {
        const uint32_t own = (uint32_t)at[l] * WIDTH + l;
        if (low[l] == best && own < word) word = own;
    }
    return word;
}
#endif

/* As SCORE, against all words, and without a base. */
#define NEAREST(name, many, begin, step)                                                                               \
    static void name(const tsr_codebook *codebook, const float *x, const float *w, uint32_t *index) {                  \
        const uint64_t dim = codebook->dim, slots = codebook->groups * (KMEANS_LANES / WIDTH);                         \
        struct nearest_lanes kept[many];                                                                               \
        (void)w;                                                                                                       \
        const struct nearest_lanes none = {__builtin_inff() - (lanes){0}, (mask){0}};                                  \
        UNROLL for (uint64_t v = 0; v < (many); v++) kept[v] = none;                                                   \
        for (uint64_t slot = 0; slot < slots; slot++) {                                                                \
            const uint64_t group = slot * WIDTH / KMEANS_LANES, lane = slot * WIDTH % KMEANS_LANES;                    \
            const float *words = codebook->words + group * dim * KMEANS_LANES + lane;                                  \
            const lanes start = LOAD(codebook->begin + slot * WIDTH);                                                  \
            const mask here = (int32_t)slot - (mask){0};                                                               \
            lanes acc[many];                                                                                           \
            UNROLL for (uint64_t v = 0; v < (many); v++) acc[v] = start;                                               \
            for (uint64_t i = 0; i < dim; i++) {                                                                       \
                const lanes c = LOAD(words + i * KMEANS_LANES);                                                        \
                UNROLL for (uint64_t v = 0; v < (many); v++) acc[v] = (step);                                          \
            }                                                                                                          \
            UNROLL for (uint64_t v = 0; v < (many); v++) KEEP_LOWER(kept[v].low, kept[v].at, acc[v], here);            \
        }                                                                                                              \
        for (uint64_t v = 0; v < (many); v++) index[v] = NEAREST_OF(&kept[v]);                                         \
    }

NEAREST(nearest_four, KMEANS_VECTORS, norms, acc[v] - x[v * dim + i] * c)
NEAREST(nearest_one, 1, norms, acc[v] - x[v * dim + i] * c)
NEAREST(nearest_weighted, 1, pads, acc[v] + (w[i] * c) * (0.5f * c - x[v * dim + i]))

static void nearest(const tsr_codebook *codebook, const float *vectors, const float *weights, uint64_t count,
                    uint32_t *index) {
    const uint64_t dim = codebook->dim;
    uint64_t v = 0;
    for (; !weights && v + KMEANS_VECTORS <= count; v += KMEANS_VECTORS) {
        nearest_four(codebook, vectors + v * dim, NULL, index + v);
    }
    for (; v < count; v++) {
        if (weights)
            nearest_weighted(codebook, vectors + v * dim, weights + v * dim, index + v);
        else
            nearest_one(codebook, vectors + v * dim, NULL, index + v);
    }
}

/* ---- the best pairs ---- */

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

/* Where nothing has entered yet, most would enter only to be driven out again. All scores in as many lots as are wanted,
 * or somewhat more: what is above the largest of the lots' minima has that many before it, so it need not enter. */
static void tighten(struct kmeans_ranking *ranking, const struct kmeans_block *block) {
    lanes low = LOAD(block->scores[0]), other = low;
    float minima[WIDTH], limit;
    uint64_t lots = WIDTH;
    for (uint64_t v = 0; v < block->count; v += 2) { /* two chains: a minimum waits for the one before */
        const float *scores = block->scores[v], *next = block->scores[v + 1 < block->count ? v + 1 : v];
        for (uint64_t at = 0; at < block->groups * KMEANS_LANES; at += WIDTH) {
            low = LOWER(LOAD(scores + at), low);
            other = LOWER(LOAD(next + at), other);
        }
    }
    low = LOWER(low, other);
    memcpy(minima, &low, sizeof minima);
    for (; lots / 2 >= ranking->most; lots /= 2) {
        for (uint64_t i = 0; i < lots / 2; i++) {
            float second = minima[i + lots / 2];
            minima[i] = second < minima[i] ? second : minima[i];
        }
    }
    limit = minima[0];
    for (uint64_t i = 1; i < lots; i++) limit = minima[i] > limit ? minima[i] : limit;
    limit = unordered(ordered(limit) + 1);
    ranking->limit = limit < ranking->limit ? limit : ranking->limit;
}

static void rank(struct kmeans_ranking *ranking, const struct kmeans_block *block, uint32_t vector) {
    if (ranking->count == 0 && ranking->most <= WIDTH) tighten(ranking, block);
    for (uint64_t v = 0; v < block->count; v++) {
        const float *scores = block->scores[v];
        uint64_t place = (uint64_t)(vector + v) << 16 | block->first_group * KMEANS_LANES;
        for (uint64_t g = 0; g < block->groups; g++, scores += KMEANS_LANES, place += KMEANS_LANES) {
            for (uint32_t bits = BELOW(scores, ranking->limit); bits; bits &= bits - 1) {
                uint32_t lane = (uint32_t)__builtin_ctz(bits);
                if (!(scores[lane] < ranking->limit)) continue;
                insert(ranking, (uint64_t)ordered(scores[lane]) << 32 | (place + lane));
            }
        }
    }
}

static void finish(const struct kmeans_ranking *ranking, tsr_candidate *best) {
    for (uint64_t i = 0; i < ranking->count; i++) {
        uint32_t place = (uint32_t)ranking->keys[i];
        best[i] = (tsr_candidate){unordered((uint32_t)(ranking->keys[i] >> 32)), place >> 16, place & 0xFFFF};
    }
}

const struct kmeans_kernels KERNELS = {score, nearest, rank, finish};

#endif
