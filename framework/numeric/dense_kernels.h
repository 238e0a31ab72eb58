/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner loops of products with one vector: y[r] = sum_c W[r][c] x[c], W in its stored dtype. */
#ifndef NUMERIC_DENSE_KERNELS_H
#define NUMERIC_DENSE_KERNELS_H

#include <stdint.h>

struct dense_kernels {
    /* dtype F32, F16 or BF16; data row-major and unpadded. */
    void (*dot_rows)(int32_t dtype, const uint8_t *data, uint64_t rows, uint64_t columns, const float *x, float *y);
};

/* The fastest this processor runs. [any] */
const struct dense_kernels *dense_kernels_best(void);
extern const struct dense_kernels dense_kernels_avx2; /* only where __x86_64__ */

#endif
