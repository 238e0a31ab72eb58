/* SPDX-License-Identifier: Apache-2.0
 *
 * Products with a dense matrix that stays in its stored dtype (F32, F16, BF16). Many tokens: panels of rows are widened
 * and multiplied by own kernels (AVX2, AVX-512), whose results are one chain of fused multiply-adds each (a sum of chains
 * where rows are very long); elsewhere by single-threaded OpenBLAS calls on fixed blocks of 64 tokens, zero-padded. Either
 * way no result depends on how many tokens there are or on the number of workers. One token: own kernels that read each
 * weight once. */
#ifndef NUMERIC_DENSE_H
#define NUMERIC_DENSE_H

#include <base/env.h>
#include <stdbool.h>

/* [rows][columns] by meaning; with `transposed` stored as [columns][rows]. Data is borrowed. */
struct dense {
    const void *data;
    int32_t dtype;
    uint64_t rows, columns;
    bool transposed;
};

/* y [tokens][rows] = x [tokens][columns] W^T. Callable from outside a pool task only. */
tsr_status dense_apply(const struct dense *matrix, const float *x, uint64_t tokens, float *y, const struct env *env,
                        tsr_error *err);
/* y [rows] = W x. */
tsr_status dense_apply_one(const struct dense *matrix, const float *x, float *y, const struct env *env, tsr_error *err);

/* The same in pieces, for several matrices at once: how many there are, and one of them. Not for a transposed matrix. [any] */
uint64_t dense_one_pieces(const struct dense *matrix, uint64_t workers);
void dense_one_piece(const struct dense *matrix, uint64_t workers, uint64_t index, const float *x, float *y);

/* Tells OpenBLAS to use one thread; the pool is what spreads work. Once a process. */
void dense_setup(void);

#endif
