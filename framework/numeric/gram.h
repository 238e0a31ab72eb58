/* SPDX-License-Identifier: Apache-2.0
 *
 * Second moments of rows: sums of x^T x, of which half is computed. Several matrices often get the same rows one after
 * another (queries, keys and values of one layer), so a product is made when other rows come or at the end, once for all
 * that wait for it.
 *
 * The result depends on the order of the calls and on the rows of each, not on the number of workers. With own kernels
 * (AVX2, AVX-512, the same bits by either) each call adds the sum of one chain of fused multiply-adds a piece of
 * GRAM_PIECE rows; elsewhere single-threaded OpenBLAS calls on blocks of fixed shape. */
#ifndef NUMERIC_GRAM_H
#define NUMERIC_GRAM_H

#include "dense_kernels.h"

#include <base/env.h>

#define GRAM_PIECE 512
#define GRAM_WAITING 8

/* Zero-initialise; gram_clear in any case. */
struct gram {
    const struct dense_kernels *kernels; /* NULL: the best there are */
    float *panels;  /* [ceil(n / DENSE_PANEL)][count][DENSE_PANEL]: rows by panels of columns, with 0 behind the last */
    float *turned;  /* [ceil(count / DENSE_PANEL)][n][DENSE_PANEL]: columns by DENSE_PANEL rows */
    uint64_t capacity; /* floats of each */
    uint64_t n, count; /* of the rows at hand */
    float *sums[GRAM_WAITING]; /* [waiting] that are to get their product */
    uint64_t waiting;
};

/* sums [n][n] += x^T x for x [count][n], at the latest by gram_flush; of blocks above the diagonal nothing is promised. x
 * is copied, sums is borrowed until the flush. Not from inside a pool task. [instance] */
tsr_status gram_add(struct gram *gram, float *sums, uint64_t n, const float *x, uint64_t count, const struct env *env,
                    tsr_error *err);
tsr_status gram_flush(struct gram *gram, const struct env *env, tsr_error *err);
/* Whatever waits is forgotten. */
void gram_clear(struct gram *gram);
/* Bytes that gram_add allocates at most for rows of n values. [any] */
uint64_t gram_memory(uint64_t n);

/* squares [n] += x[c]^2 over the rows of x [count][n], in F64, rows in order. Not from inside a pool task. */
tsr_status gram_squares(double *squares, uint64_t n, const float *x, uint64_t count, const struct env *env, tsr_error *err);
/* Multiplies by `scale`, copies what is below the diagonal above it, and puts `diagonal` [n] onto it. */
void gram_finish(float *sums, uint64_t n, double scale, const float *diagonal);

#endif
