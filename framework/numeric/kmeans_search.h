/* SPDX-License-Identifier: Apache-2.0
 *
 * A codebook and the search in it, shared by training and the services. Words lie in groups of 16, a lane each. */
#ifndef NUMERIC_KMEANS_SEARCH_H
#define NUMERIC_KMEANS_SEARCH_H

#include <tessera/ext/kmeans.h>

enum {
    KMEANS_LANES = 16,  /* words of a group */
    KMEANS_GROUPS = 16, /* groups that are scored at once: their scores stay in the first cache */
    KMEANS_VECTORS = 4  /* vectors that are scored at once: a word is loaded once for all of them */
};

struct tsr_codebook {
    uint64_t k, dim, groups;
    float *words; /* [groups][dim][KMEANS_LANES], zeros behind the last word */
    float *norms; /* [groups][KMEANS_LANES]: half the squared norm, infinite behind the last word */
    float *pads;  /* [groups][KMEANS_LANES]: 0, infinite behind the last word */
};

/* Some vectors against some groups. */
struct kmeans_block {
    const struct tsr_codebook *codebook;
    const float *vectors; /* [count][dim] */
    const float *base;    /* [count]: added to the scores */
    const float *weights; /* [dim] for all vectors, or NULL */
    uint64_t count;                                /* 1..KMEANS_VECTORS */
    uint64_t first_group, groups;                  /* at most KMEANS_GROUPS */
    float (*scores)[KMEANS_GROUPS * KMEANS_LANES]; /* [count]: half squared norm of the word less the product */
};

/* The best so far, sorted: the order of the score above, then 16 bits each of vector and word. */
struct kmeans_ranking {
    uint64_t keys[TSR_KMEANS_BEST_MAX];
    uint64_t count, most;
    float limit; /* what a candidate must be below to enter */
};

struct kmeans_kernels {
    void (*score)(const struct kmeans_block *block);
    /* index[count]: the nearest word of each vector, the lowest of equals. */
    void (*nearest)(const struct tsr_codebook *codebook, const float *vectors, const float *weights, uint64_t count,
                    uint32_t *index);
    /* Enters the scores of a block, the first vector of which is number `vector`, into the ranking. */
    void (*rank)(struct kmeans_ranking *ranking, const struct kmeans_block *block, uint32_t vector);
    void (*finish)(const struct kmeans_ranking *ranking, tsr_candidate *best);
};

/* The fastest this processor runs; all give the same bits. [any] */
const struct kmeans_kernels *kmeans_kernels_best(void);
extern const struct kmeans_kernels kmeans_kernels_portable;
extern const struct kmeans_kernels kmeans_kernels_avx2;   /* only where __x86_64__ */
extern const struct kmeans_kernels kmeans_kernels_avx512; /* only where __x86_64__ */

tsr_status kmeans_codebook_create(const tsr_host *host, const float *words, uint64_t k, uint64_t dim,
                                  tsr_codebook **codebook, tsr_error *err);
void kmeans_codebook_destroy(const tsr_host *host, tsr_codebook *codebook);
/* Puts other words into a codebook of the same shape. */
void kmeans_codebook_set(tsr_codebook *codebook, const float *words);

/* As in tsr_kmeans, by given kernels, for tests. */
void kmeans_nearest_by(const struct kmeans_kernels *kernels, const tsr_codebook *codebook, const float *vectors,
                       const float *weights, uint64_t count, uint32_t *index);
uint64_t kmeans_best_by(const struct kmeans_kernels *kernels, const tsr_codebook *codebook, const float *vectors,
                        const float *weights, const float *base, uint64_t count, uint64_t most, tsr_candidate *best);

tsr_status kmeans_train(const tsr_host *host, const tsr_kmeans_job *job, float *words, tsr_error *err);

#endif
