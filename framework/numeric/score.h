/* SPDX-License-Identifier: Apache-2.0
 *
 * Scores of rows against a query, in double: what searches are exact against. Element i goes into lane i % 16, lanes are
 * added in halves. score.c is the specification; the vector form gives the same bits. */
#ifndef NUMERIC_SCORE_H
#define NUMERIC_SCORE_H

#include <stdint.h>

struct score_kernels {
    /* Sum of row[i] * x[i]. */
    double (*inner)(const float *row, const float *x, uint64_t count);
    /* Sum of (row[i] - x[i])^2. */
    double (*distance)(const float *row, const float *x, uint64_t count);
};

/* The best for this machine. [any] */
const struct score_kernels *score_kernels(void);

#define SCORE_LANES 16

/* lanes[i] += lanes[i + 8], then 4, 2, 1; the first is the sum. */
double score_sum(double lanes[SCORE_LANES]);

extern const struct score_kernels score_portable;
#if defined(__x86_64__)
extern const struct score_kernels score_avx2;
#endif

#endif
