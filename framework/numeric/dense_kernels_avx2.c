/* SPDX-License-Identifier: Apache-2.0
 *
 * AVX2 + FMA form: four running sums a row hide the latency of the fused multiply-add. */
#include "dense_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>
#include <tessera/tensor.h>

/* Eight weights as F32, by dtype; the compiler unswitches the loops below on the constant. */
static inline __m256 load8(int32_t dtype, const uint8_t *at) {
    if (dtype == TSR_DTYPE_F32) return _mm256_loadu_ps((const float *)(const void *)at);
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)at);
    if (dtype == TSR_DTYPE_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

static inline float load1(int32_t dtype, const uint8_t *at) {
    uint8_t padded[16] = {0};
    float lanes[8];
    memcpy(padded, at, dtype == TSR_DTYPE_F32 ? 4 : 2);
    if (dtype == TSR_DTYPE_F32) {
        memcpy(lanes, padded, 4);
    } else {
        _mm256_storeu_ps(lanes, load8(dtype, padded));
    }
    return lanes[0];
}

static inline float sum8(__m256 v) {
    float lanes[8];
    _mm256_storeu_ps(lanes, v);
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static inline float dot_row(int32_t dtype, const uint8_t *row, uint64_t columns, const float *x) {
    uint64_t bytes = dtype == TSR_DTYPE_F32 ? 4 : 2, c = 0;
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    for (; c + 32 <= columns; c += 32) {
        s0 = _mm256_fmadd_ps(load8(dtype, row + c * bytes), _mm256_loadu_ps(x + c), s0);
        s1 = _mm256_fmadd_ps(load8(dtype, row + (c + 8) * bytes), _mm256_loadu_ps(x + c + 8), s1);
        s2 = _mm256_fmadd_ps(load8(dtype, row + (c + 16) * bytes), _mm256_loadu_ps(x + c + 16), s2);
        s3 = _mm256_fmadd_ps(load8(dtype, row + (c + 24) * bytes), _mm256_loadu_ps(x + c + 24), s3);
    }
    float sum = sum8(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
    for (; c < columns; c++) sum += load1(dtype, row + c * bytes) * x[c];
    return sum;
}

static void dot_rows(int32_t dtype, const uint8_t *data, uint64_t rows, uint64_t columns, const float *x, float *y) {
    uint64_t row_bytes = columns * (dtype == TSR_DTYPE_F32 ? 4 : 2);
    if (dtype == TSR_DTYPE_F32) {
        for (uint64_t r = 0; r < rows; r++) y[r] = dot_row(TSR_DTYPE_F32, data + r * row_bytes, columns, x);
    } else if (dtype == TSR_DTYPE_F16) {
        for (uint64_t r = 0; r < rows; r++) y[r] = dot_row(TSR_DTYPE_F16, data + r * row_bytes, columns, x);
    } else {
        for (uint64_t r = 0; r < rows; r++) y[r] = dot_row(TSR_DTYPE_BF16, data + r * row_bytes, columns, x);
    }
}

/* ---- panels ---- */

static inline void store_column(float *panel, uint64_t c, __m256 low, __m256 high, int half) {
    _mm256_storeu_ps(panel + c * DENSE_PANEL, _mm256_permute2f128_ps(low, high, 0x20));
    _mm256_storeu_ps(panel + (c + (uint64_t)half) * DENSE_PANEL, _mm256_permute2f128_ps(low, high, 0x31));
}

/* Eight rows of eight weights into eight columns of the panel. */
static inline void transpose8(__m256 r[8], float *panel) {
    __m256 pairs[8], quads[8];
    for (int i = 0; i < 4; i++) {
        pairs[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        quads[4 * i] = _mm256_shuffle_ps(pairs[4 * i], pairs[4 * i + 2], 0x44);
        quads[4 * i + 1] = _mm256_shuffle_ps(pairs[4 * i], pairs[4 * i + 2], 0xEE);
        quads[4 * i + 2] = _mm256_shuffle_ps(pairs[4 * i + 1], pairs[4 * i + 3], 0x44);
        quads[4 * i + 3] = _mm256_shuffle_ps(pairs[4 * i + 1], pairs[4 * i + 3], 0xEE);
    }
    for (uint64_t c = 0; c < 4; c++) store_column(panel, c, quads[c], quads[c + 4], 4);
}

static inline void pack_any(int32_t dtype, const uint8_t *data, uint64_t stride, uint64_t rows, uint64_t depth,
                            float *panel) {
    uint64_t bytes = dtype == TSR_DTYPE_F32 ? 4 : 2;
    for (uint64_t r = 0; r < DENSE_PANEL; r += 8) {
        uint64_t there = r >= rows ? 0 : rows - r < 8 ? rows - r : 8, c = 0;
        for (; c + 8 <= depth; c += 8) {
            __m256 block[8];
            for (uint64_t i = 0; i < 8; i++) {
                block[i] = i < there ? load8(dtype, data + (r + i) * stride + c * bytes) : _mm256_setzero_ps();
            }
            transpose8(block, panel + c * DENSE_PANEL + r);
        }
        for (; c < depth; c++) {
            for (uint64_t i = 0; i < 8; i++) {
                panel[c * DENSE_PANEL + r + i] = i < there ? load1(dtype, data + (r + i) * stride + c * bytes) : 0;
            }
        }
    }
}

static void pack(int32_t dtype, const uint8_t *data, uint64_t stride, uint64_t rows, uint64_t depth, float *panel) {
    if (dtype == TSR_DTYPE_F32) {
        pack_any(TSR_DTYPE_F32, data, stride, rows, depth, panel);
    } else if (dtype == TSR_DTYPE_F16) {
        pack_any(TSR_DTYPE_F16, data, stride, rows, depth, panel);
    } else {
        pack_any(TSR_DTYPE_BF16, data, stride, rows, depth, panel);
    }
}

#define TOKENS 6

/* Six tokens by 16 rows of the panel fill 12 of the 16 registers; `count` is a constant at each call. */
__attribute__((always_inline)) static inline void multiply_some(const struct dense_tile *tile, uint64_t first, int count) {
    for (uint64_t r = 0; r < DENSE_PANEL; r += 16) {
        const float *x = tile->x + first * tile->x_stride, *panel = tile->panel + r;
        float *c = tile->c + first * tile->c_stride + r;
        __m256 sum[TOKENS][2];
        for (int i = 0; i < count; i++) {
            const float *from = c + (uint64_t)i * tile->c_stride;
            sum[i][0] = tile->add ? _mm256_loadu_ps(from) : _mm256_setzero_ps();
            sum[i][1] = tile->add ? _mm256_loadu_ps(from + 8) : _mm256_setzero_ps();
        }
        for (uint64_t k = 0; k < tile->depth; k++, panel += DENSE_PANEL) {
            __m256 w0 = _mm256_loadu_ps(panel), w1 = _mm256_loadu_ps(panel + 8);
#pragma GCC unroll 6
            for (int i = 0; i < count; i++) {
                __m256 value = _mm256_broadcast_ss(x + (uint64_t)i * tile->x_stride + k);
                sum[i][0] = _mm256_fmadd_ps(value, w0, sum[i][0]);
                sum[i][1] = _mm256_fmadd_ps(value, w1, sum[i][1]);
            }
        }
        for (int i = 0; i < count; i++) {
            _mm256_storeu_ps(c + (uint64_t)i * tile->c_stride, sum[i][0]);
            _mm256_storeu_ps(c + (uint64_t)i * tile->c_stride + 8, sum[i][1]);
        }
    }
}

static void multiply(const struct dense_tile *tile) {
    uint64_t t = 0;
    for (; t + TOKENS <= tile->tokens; t += TOKENS) multiply_some(tile, t, TOKENS);
    for (; t + 2 <= tile->tokens; t += 2) multiply_some(tile, t, 2);
    if (t < tile->tokens) multiply_some(tile, t, 1);
}

const struct dense_kernels dense_kernels_avx2 = {dot_rows, pack, multiply};
#else
typedef int dense_kernels_avx2_unused; /* ISO C wants something in the file */
#endif
