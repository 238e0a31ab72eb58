/* SPDX-License-Identifier: Apache-2.0
 *
 * Second moments of rows: sums of x^T x. The result depends on the order of the calls and on the rows of each, not on the
 * number of workers: work is cut by shape into blocks of GRAM_ROWS rows, each a single-threaded OpenBLAS call. */
#ifndef NUMERIC_GRAM_H
#define NUMERIC_GRAM_H

#include <base/env.h>

/* gram [n][n] += x^T x for x [count][n]; only the blocks on and below the diagonal are touched. Not from inside a pool
 * task. */
tsr_status gram_add(float *gram, uint64_t n, const float *x, uint64_t count, const struct env *env, tsr_error *err);
/* Multiplies by `scale`, copies what is below the diagonal above it, and puts `diagonal` [n] onto it. */
void gram_finish(float *gram, uint64_t n, double scale, const float *diagonal);

#endif
