/* SPDX-License-Identifier: Apache-2.0
 *
 * AVX-512 form of the product with a panel: 6 tokens by 64 rows fill 24 of the 32 registers, so that one load of the
 * panel serves six multiply-adds. Packing writes whole cache lines. */
#include "dense_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <tessera/tensor.h>

#define TOKENS 6
#define VECTORS (DENSE_PANEL / 16)
#define AHEAD 6144 /* bytes at least: what the hardware fetches on its own stops at page ends */

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

/* ---- packing ---- */

/* `count` elements of 2 or 4 bytes as 32-bit words, the rest 0. */
static inline __m512i load_words(uint64_t bytes, const uint8_t *at, uint64_t count) {
    if (bytes == 4) return _mm512_maskz_loadu_epi32((__mmask16)((1u << count) - 1), at);
    return _mm512_maskz_loadu_epi16((__mmask32)((UINT64_C(1) << count) - 1), at);
}

/* 16 rows of 16 words into 16 columns. */
static inline void transpose16(__m512i r[16]) {
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* r[i + j]: column j of each quarter, rows i..i+3 */
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(r[j], r[j + 4], 0x88), b = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0x88);
        __m512i c = _mm512_shuffle_i32x4(r[j], r[j + 4], 0xDD), d = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0xDD);
        t[j] = _mm512_shuffle_i32x4(a, b, 0x88);
        t[j + 8] = _mm512_shuffle_i32x4(a, b, 0xDD);
        t[j + 4] = _mm512_shuffle_i32x4(c, d, 0x88);
        t[j + 12] = _mm512_shuffle_i32x4(c, d, 0xDD);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) r[i] = t[i];
}

/* The even or odd half of 16 words as F32. */
static inline __m512 widen_half(int32_t dtype, __m512i words, bool odd) {
    if (dtype == TSR_DTYPE_F32) return _mm512_castsi512_ps(words);
    if (dtype == TSR_DTYPE_F16) return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(odd ? _mm512_srli_epi32(words, 16) : words));
    return _mm512_castsi512_ps(odd ? _mm512_and_si512(words, _mm512_set1_epi32(-65536)) : _mm512_slli_epi32(words, 16));
}

/* 16 rows; two columns of 16 bits travel through the transposition as one word. */
__attribute__((always_inline)) static inline void pack16(int32_t dtype, const uint8_t *data, uint64_t stride, uint64_t rows,
                                                         uint64_t depth, float *panel) {
    const uint64_t bytes = dtype == TSR_DTYPE_F32 ? 4 : 2, step = 64 / bytes, words = 4 / bytes;
    for (uint64_t c = 0; c < depth; c += step) {
        uint64_t count = depth - c < step ? depth - c : step;
        __m512i block[16];
        for (uint64_t i = 0; i < 16; i++) {
            block[i] = i < rows ? load_words(bytes, data + i * stride + c * bytes, count) : _mm512_setzero_si512();
        }
        transpose16(block);
        for (uint64_t i = 0; i < count; i++) {
            _mm512_storeu_ps(panel + (c + i) * DENSE_PANEL, widen_half(dtype, block[i / words], i % words));
        }
    }
}

static void pack(int32_t dtype, const uint8_t *data, uint64_t stride, uint64_t rows, uint64_t depth, float *panel) {
    for (uint64_t r = 0; r < DENSE_PANEL; r += 16) {
        uint64_t there = r >= rows ? 0 : rows - r < 16 ? rows - r : 16;
        const uint8_t *from = there ? data + r * stride : data;
        if (dtype == TSR_DTYPE_F32) {
            pack16(TSR_DTYPE_F32, from, stride, there, depth, panel + r);
        } else if (dtype == TSR_DTYPE_F16) {
            pack16(TSR_DTYPE_F16, from, stride, there, depth, panel + r);
        } else {
            pack16(TSR_DTYPE_BF16, from, stride, there, depth, panel + r);
        }
    }
}

/* ---- one token ---- */

/* Up to 16 weights as F32, the rest 0. */
static inline __m512 load16(int32_t dtype, const uint8_t *at, __mmask16 there) {
    if (dtype == TSR_DTYPE_F32) return _mm512_maskz_loadu_ps(there, at);
    __m256i half = _mm256_maskz_loadu_epi16(there, at);
    if (dtype == TSR_DTYPE_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* ((0 + 8) + (4 + 12)) and so on: halves fold onto each other. */
static inline float sum16(__m512 v) {
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}

/* 32 weights as F32, for BF16 the even ones, then the odd ones: one load of a whole cache line. */
static inline void load32(int32_t dtype, const uint8_t *at, __m512 *first, __m512 *second) {
    if (dtype == TSR_DTYPE_BF16) {
        __m512i pairs = _mm512_loadu_si512(at);
        *first = widen_half(dtype, pairs, false);
        *second = widen_half(dtype, pairs, true);
    } else {
        *first = load16(dtype, at, 0xFFFF);
        *second = load16(dtype, at + (dtype == TSR_DTYPE_F32 ? 64 : 32), 0xFFFF);
    }
}

/* 32 of x in the order of load32. */
static inline void arrange32(int32_t dtype, const float *x, __m512 *first, __m512 *second) {
    __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
    if (dtype == TSR_DTYPE_BF16) {
        const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        *first = _mm512_permutex2var_ps(low, even, high);
        *second = _mm512_permutex2var_ps(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high);
    } else {
        *first = low;
        *second = high;
    }
}

/* Two running sums a row; `count` rows share the loads of x. Each row fetches its counterpart some groups of rows ahead, so
 * that lines come in the order in which they will be read. */
__attribute__((always_inline)) static inline void dot_some(int32_t dtype, const uint8_t *data, uint64_t columns, const float *x,
                                                           float *y, int count) {
    const uint64_t bytes = dtype == TSR_DTYPE_F32 ? 4 : 2, row = columns * bytes;
    const uint64_t group = row * (uint64_t)count, ahead = group ? (AHEAD + group - 1) / group * group : 0;
    __m512 sum[4][2];
    uint64_t c = 0;
    for (int i = 0; i < count; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (; c + 32 <= columns; c += 32) {
        __m512 x0, x1, w0, w1;
        arrange32(dtype, x + c, &x0, &x1);
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) {
            const uint8_t *at = data + (uint64_t)i * row + c * bytes;
            _mm_prefetch((const char *)at + ahead, _MM_HINT_T1);
            load32(dtype, at, &w0, &w1);
            sum[i][0] = _mm512_fmadd_ps(w0, x0, sum[i][0]);
            sum[i][1] = _mm512_fmadd_ps(w1, x1, sum[i][1]);
        }
    }
    for (; c < columns; c += 16) {
        __mmask16 there = (__mmask16)(columns - c < 16 ? (1u << (columns - c)) - 1 : 0xFFFF);
        __m512 x0 = _mm512_maskz_loadu_ps(there, x + c);
        for (int i = 0; i < count; i++) {
            sum[i][0] = _mm512_fmadd_ps(load16(dtype, data + (uint64_t)i * row + c * bytes, there), x0, sum[i][0]);
        }
    }
    for (int i = 0; i < count; i++) y[i] = sum16(_mm512_add_ps(sum[i][0], sum[i][1]));
}

__attribute__((always_inline)) static inline void dot_all(int32_t dtype, const uint8_t *data, uint64_t rows, uint64_t columns,
                                                          const float *x, float *y) {
    uint64_t row = columns * (dtype == TSR_DTYPE_F32 ? 4 : 2), r = 0;
    for (; r + 4 <= rows; r += 4) dot_some(dtype, data + r * row, columns, x, y + r, 4);
    for (; r < rows; r++) dot_some(dtype, data + r * row, columns, x, y + r, 1);
}

static void dot_rows(int32_t dtype, const uint8_t *data, uint64_t rows, uint64_t columns, const float *x, float *y) {
    if (dtype == TSR_DTYPE_F32) {
        dot_all(TSR_DTYPE_F32, data, rows, columns, x, y);
    } else if (dtype == TSR_DTYPE_F16) {
        dot_all(TSR_DTYPE_F16, data, rows, columns, x, y);
    } else {
        dot_all(TSR_DTYPE_BF16, data, rows, columns, x, y);
    }
}

const struct dense_kernels dense_kernels_avx512 = {dot_rows, pack, multiply};
#else
typedef int dense_kernels_avx512_unused; /* ISO C wants something in the file */
#endif
