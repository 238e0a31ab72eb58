/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner loops of dense products. One machine always takes the same path. One token: each row sums in lanes of its own
 * order. Many tokens: rows are widened and transposed into a panel, and every result is one chain of fused multiply-adds
 * over the columns in ascending order, so it does not depend on tiles, and AVX2 and AVX-512 give the same bits. */
#ifndef NUMERIC_DENSE_KERNELS_H
#define NUMERIC_DENSE_KERNELS_H

#include <base/env.h>
#include <stdbool.h>
#include <stdint.h>

#define DENSE_PANEL 64 /* rows of a panel */

/* c [tokens][DENSE_PANEL] = x [tokens][depth] panel [depth][DENSE_PANEL], or += if `add`. Strides in floats. */
struct dense_tile {
    const float *x, *panel;
    float *c;
    uint64_t x_stride, c_stride, tokens, depth;
    bool add;
};

struct dense_kernels {
    /* y[r] = sum over c of row r times x, rows contiguous, F32, F16 or BF16. */
    void (*dot_rows)(int32_t dtype, const uint8_t *data, uint64_t rows, uint64_t columns, const float *x, float *y);
    /* panel [depth][DENSE_PANEL] from `rows` rows `stride` bytes apart, missing rows 0; NULL with `multiply`. */
    void (*pack)(int32_t dtype, const uint8_t *data, uint64_t stride, uint64_t rows, uint64_t depth, float *panel);
    void (*multiply)(const struct dense_tile *tile); /* NULL: OpenBLAS is better than what we have */
};

/* The fastest this processor runs. [any] */
const struct dense_kernels *dense_kernels_best(void);
extern const struct dense_kernels dense_kernels_scalar;
extern const struct dense_kernels dense_kernels_avx2;   /* only where __x86_64__ */
extern const struct dense_kernels dense_kernels_avx512; /* only where __x86_64__ */

struct dense;
/* dense_apply and dense_apply_one by given kernels, for tests. */
tsr_status dense_apply_by(const struct dense_kernels *kernels, const struct dense *matrix, const float *x, uint64_t tokens,
                          float *y, const struct env *env, tsr_error *err);
tsr_status dense_apply_one_by(const struct dense_kernels *kernels, const struct dense *matrix, const float *x, float *y,
                              const struct env *env, tsr_error *err);

#endif
