/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops of products from tables. The forms round alike: each row adds its stages in their order. */
#ifndef RVQ_KERNEL_H
#define RVQ_KERNEL_H

#include <stdint.h>

/* One run of columns of some rows: their indices, stage by stage `stride` apart, and a table of 256 for each stage. */
struct rvq_run {
    const float *tables;    /* [stages][256] */
    const uint8_t *indices; /* [stages][stride], the first `rows` of each */
    uint64_t stages, stride, rows;
};

struct rvq_kernels {
    /* table[k] = sum of words[i][k] * x[i] over i < dim, in ascending order; words[dim][256]. */
    void (*fill_table)(const float *words, uint64_t dim, const float *x, float *table);
    /* sums[r] += tables[0][index] + ..., added from left to right. */
    void (*add_run)(const struct rvq_run *run, float *sums);
};

/* The best for this machine. [any] */
const struct rvq_kernels *rvq_kernels_get(void);

extern const struct rvq_kernels rvq_kernels_portable;
extern const struct rvq_kernels rvq_kernels_avx2;   /* only where __x86_64__ */
extern const struct rvq_kernels rvq_kernels_avx512; /* only where __x86_64__ */

#endif
