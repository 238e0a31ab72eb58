/* SPDX-License-Identifier: Apache-2.0
 *
 * What error feedback multiplies errors with: the triangular factor of a matrix of second moments. Single-threaded
 * OpenBLAS calls in an order that depends on the size alone: the same bits from any number of workers on one kernel. */
#ifndef NUMERIC_FACTOR_H
#define NUMERIC_FACTOR_H

#include <stdbool.h>
#include <stdint.h>

/* Rows and columns of matrix [n][n] into another order, in place: to `position` comes what was at column[position].
 * row[n] is room. */
void factor_reorder(float *matrix, uint64_t n, const uint64_t *column, float *row);

/* moment [n][n], symmetric, becomes L of moment / mean + damping * 1 = L L^T, where mean is that of its diagonal; what
 * stands above the diagonal is of no meaning. *damping is multiplied by ten until the sum is positive definite with room
 * to spare; false when that does not help, or the diagonal has no positive mean. diagonal[n] is room. [any] */
bool factor_make(float *moment, uint64_t n, double *damping, float *diagonal);

/* Rows below the block of columns [first, last) become (rows of L) * (that block's own triangle)^-1: an error times it
 * is what the block's values must make up for. Blocks in any order, each once. */
void factor_normalise(float *lower, uint64_t n, uint64_t first, uint64_t last);

/* The kernels of OpenBLAS that are at work, on which the last bits depend: "Haswell", "SkylakeX". [any] */
const char *factor_blas(void);

#endif
