/* SPDX-License-Identifier: Apache-2.0
 *
 * Host extension "tessera.host.kmeans/0": codebooks for vector quantisers. Trains by Lloyd's iteration (Lloyd 1982;
 * k-means++ start: Arthur and Vassilvitskii 2007) and finds nearest words by brute force, 16 words at a time. The
 * vector forms give the bits of the plain one: float additions in a fixed order, no fused multiply-add, no libm, work
 * cut by shape. So both results are the same on every machine and for any number of workers. */
#ifndef TESSERA_EXT_KMEANS_H
#define TESSERA_EXT_KMEANS_H

#include "../host.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_KMEANS_ID "tessera.host.kmeans/0"
#define TSR_KMEANS_K_MAX 65536
#define TSR_KMEANS_BEST_MAX 64

/* A codebook in the form in which it is searched, read-only once made. Belongs to whoever made it. */
typedef struct tsr_codebook tsr_codebook;

typedef struct tsr_kmeans_job {
    uint64_t struct_size;
    const float *vectors; /* [count][dim], finite, squares far from the limits of F32 */
    const float *weights; /* [count][dim] >= 0, or NULL: all 1. The error of a vector is the sum of w (x - c)^2 */
    uint64_t count;
    uint64_t dim;
    uint64_t k;          /* 1..65536 */
    uint64_t iterations; /* at most; it ends when no vector changes its cell */
    uint64_t least;      /* a cell with fewer vectors, or none, moves to where the error is largest */
    uint64_t seed;
} tsr_kmeans_job;

/* A word for one of several vectors. */
typedef struct tsr_candidate {
    float score;
    uint32_t vector;
    uint32_t word;
} tsr_candidate;

typedef struct tsr_kmeans {
    uint64_t struct_size;
    /* words[k][dim]. With count <= k they are the vectors, then zeros. Runs on all workers. [any] */
    tsr_status (*train)(const tsr_host *host, const tsr_kmeans_job *job, float *words, tsr_error *err);
    /* Codebook of words[k][dim], copied; its memory is the host's. [any] */
    tsr_status (*codebook_create)(const tsr_host *host, const float *words, uint64_t k, uint64_t dim,
                                  tsr_codebook **codebook, tsr_error *err);
    void (*codebook_destroy)(const tsr_host *host, tsr_codebook *codebook);
    /* index[count]: the nearest word of each vector, the lowest of equals. weights as in the job. [any] */
    void (*nearest)(const tsr_codebook *codebook, const float *vectors, const float *weights, uint64_t count,
                    uint32_t *index);
    /* The `most` (1..64) best pairs of one of vectors[count] and a word, best first, by base[vector] + score, where
     * score is half of (distance^2 - |vector|^2): with base = |vector|^2 / 2, half the squared distance. One
     * weights[dim], or NULL, for all vectors; count is at most 65536. Equals: the lower vector, then the lower word.
     * Returns their number. [any] */
    uint64_t (*best)(const tsr_codebook *codebook, const float *vectors, const float *weights, const float *base,
                     uint64_t count, uint64_t most, tsr_candidate *best);
} tsr_kmeans;

#ifdef __cplusplus
}
#endif
#endif
