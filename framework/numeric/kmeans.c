/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of k-means services. */
#include "kmeans.h"

#include "kmeans_search.h"

static void nearest(const tsr_codebook *codebook, const float *vectors, const float *weights, uint64_t count,
                    uint32_t *index) {
    kmeans_nearest_by(kmeans_kernels_best(), codebook, vectors, weights, count, index);
}

static uint64_t best(const tsr_codebook *codebook, const float *vectors, const float *weights, const float *base,
                     uint64_t count, uint64_t most, tsr_candidate *found) {
    return kmeans_best_by(kmeans_kernels_best(), codebook, vectors, weights, base, count, most, found);
}

const tsr_kmeans *kmeans_services(void) {
    static const tsr_kmeans SERVICES = {.struct_size = sizeof SERVICES,
                                        .train = kmeans_train,
                                        .codebook_create = kmeans_codebook_create,
                                        .codebook_destroy = kmeans_codebook_destroy,
                                        .nearest = nearest,
                                        .best = best};
    return &SERVICES;
}
