/* SPDX-License-Identifier: Apache-2.0
 *
 * Codebooks, nearest words, and the best words of several vectors. */
#include "kmeans_search.h"

#include <base/checked.h>
#include <string.h>

static float infinite(void) {
    uint32_t bits = UINT32_C(0x7F800000);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void kmeans_codebook_set(tsr_codebook *codebook, const float *words) {
    const uint64_t k = codebook->k, dim = codebook->dim;
    for (uint64_t j = 0; j < codebook->groups * KMEANS_LANES; j++) {
        float *lane = codebook->words + j / KMEANS_LANES * dim * KMEANS_LANES + j % KMEANS_LANES;
        float norm = 0;
        for (uint64_t i = 0; i < dim; i++) {
            float c = j < k ? words[j * dim + i] : 0;
            lane[i * KMEANS_LANES] = c;
            norm += (0.5f * c) * c;
        }
        codebook->norms[j] = j < k ? norm : infinite();
        codebook->pads[j] = j < k ? 0 : infinite();
    }
}

tsr_status kmeans_codebook_create(const tsr_host *host, const float *words, uint64_t k, uint64_t dim,
                                  tsr_codebook **codebook, tsr_error *err) {
    *codebook = NULL;
    if (k < 1 || k > TSR_KMEANS_K_MAX || dim < 1 || dim > UINT64_C(1) << 32) {
        return tsr_fail(err, TSR_E_ARGUMENT, "codebook of %llu words of %llu", (unsigned long long)k,
                        (unsigned long long)dim);
    }
    const uint64_t groups = ceil_div(k, KMEANS_LANES);
    tsr_codebook *made = host->alloc(host, sizeof *made);
    if (!made) return tsr_fail(err, TSR_E_NOMEM, "no memory for a codebook");
    *made = (tsr_codebook){.k = k, .dim = dim, .groups = groups};
    made->words = host->alloc(host, groups * dim * KMEANS_LANES * sizeof(float));
    made->norms = host->alloc(host, groups * KMEANS_LANES * sizeof(float));
    made->pads = host->alloc(host, groups * KMEANS_LANES * sizeof(float));
    if (!made->words || !made->norms || !made->pads) {
        kmeans_codebook_destroy(host, made);
        return tsr_fail(err, TSR_E_NOMEM, "no memory for a codebook");
    }
    kmeans_codebook_set(made, words);
    *codebook = made;
    return TSR_OK;
}

void kmeans_codebook_destroy(const tsr_host *host, tsr_codebook *codebook) {
    if (!codebook) return;
    host->free(host, codebook->words);
    host->free(host, codebook->norms);
    host->free(host, codebook->pads);
    host->free(host, codebook);
}

void kmeans_nearest_by(const struct kmeans_kernels *kernels, const tsr_codebook *codebook, const float *vectors,
                       const float *weights, uint64_t count, uint32_t *index) {
    kernels->nearest(codebook, vectors, weights, count, index);
}

/* ---- best pairs ---- */

/* Up to KMEANS_VECTORS vectors through all groups. */
static void rank_some(const struct kmeans_kernels *kernels, struct kmeans_ranking *ranking, struct kmeans_block *block,
                      uint32_t first_vector) {
    for (uint64_t g = 0; g < block->codebook->groups; g += KMEANS_GROUPS) {
        block->first_group = g;
        block->groups = min_u64(KMEANS_GROUPS, block->codebook->groups - g);
        kernels->score(block);
        kernels->rank(ranking, block, first_vector);
    }
}

uint64_t kmeans_best_by(const struct kmeans_kernels *kernels, const tsr_codebook *codebook, const float *vectors,
                        const float *weights, const float *base, uint64_t count, uint64_t most, tsr_candidate *best) {
    float scores[KMEANS_VECTORS][KMEANS_GROUPS * KMEANS_LANES];
    struct kmeans_ranking ranking = {.most = min_u64(most, TSR_KMEANS_BEST_MAX), .limit = infinite()};
    memset(ranking.keys, 0xFF, (size_t)ranking.most * sizeof *ranking.keys);
    for (uint64_t v = 0; v < count; v += KMEANS_VECTORS) {
        struct kmeans_block block = {.codebook = codebook,
                                     .vectors = vectors + v * codebook->dim,
                                     .base = base + v,
                                     .weights = weights,
                                     .count = min_u64(KMEANS_VECTORS, count - v),
                                     .scores = scores};
        rank_some(kernels, &ranking, &block, (uint32_t)v);
    }
    ranking.count = min_u64(ranking.count, ranking.most);
    kernels->finish(&ranking, best);
    return ranking.count;
}
