/* SPDX-License-Identifier: Apache-2.0
 *
 * AVX-512 form of the product with a panel: 6 tokens by 64 rows fill 24 of the 32 registers, so that one load of the
 * panel serves six multiply-adds. Packing and single tokens are bound by memory and come from the AVX2 file. */
#include "dense_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TOKENS 6
#define VECTORS (DENSE_PANEL / 16)

/* `count` is a constant at each call. */
__attribute__((always_inline)) static inline void multiply_some(const struct dense_tile *tile, uint64_t first, int count) {
    const float *x = tile->x + first * tile->x_stride, *panel = tile->panel;
    float *c = tile->c + first * tile->c_stride;
    __m512 sum[TOKENS][VECTORS];
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < VECTORS; j++) {
            sum[i][j] = tile->add ? _mm512_loadu_ps(c + (uint64_t)i * tile->c_stride + 16 * j) : _mm512_setzero_ps();
        }
    }
    for (uint64_t k = 0; k < tile->depth; k++, panel += DENSE_PANEL) {
        __m512 w0 = _mm512_loadu_ps(panel), w1 = _mm512_loadu_ps(panel + 16);
        __m512 w2 = _mm512_loadu_ps(panel + 32), w3 = _mm512_loadu_ps(panel + 48);
#pragma GCC unroll 6
        for (int i = 0; i < count; i++) {
            __m512 value = _mm512_set1_ps(x[(uint64_t)i * tile->x_stride + k]);
            sum[i][0] = _mm512_fmadd_ps(value, w0, sum[i][0]);
            sum[i][1] = _mm512_fmadd_ps(value, w1, sum[i][1]);
            sum[i][2] = _mm512_fmadd_ps(value, w2, sum[i][2]);
            sum[i][3] = _mm512_fmadd_ps(value, w3, sum[i][3]);
        }
    }
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < VECTORS; j++) _mm512_storeu_ps(c + (uint64_t)i * tile->c_stride + 16 * j, sum[i][j]);
    }
}

static void multiply(const struct dense_tile *tile) {
    uint64_t t = 0;
    for (; t + TOKENS <= tile->tokens; t += TOKENS) multiply_some(tile, t, TOKENS);
    switch (tile->tokens - t) {
    case 5: multiply_some(tile, t, 5); break;
    case 4: multiply_some(tile, t, 4); break;
    case 3: multiply_some(tile, t, 3); break;
    case 2: multiply_some(tile, t, 2); break;
    case 1: multiply_some(tile, t, 1); break;
    default: break;
    }
}

static void dot_rows(int32_t dtype, const uint8_t *data, uint64_t rows, uint64_t columns, const float *x, float *y) {
    dense_kernels_avx2.dot_rows(dtype, data, rows, columns, x, y);
}

static void pack(int32_t dtype, const uint8_t *data, uint64_t stride, uint64_t rows, uint64_t depth, float *panel) {
    dense_kernels_avx2.pack(dtype, data, stride, rows, depth, panel);
}

const struct dense_kernels dense_kernels_avx512 = {dot_rows, pack, multiply};
#else
typedef int dense_kernels_avx512_unused; /* ISO C wants something in the file */
#endif
