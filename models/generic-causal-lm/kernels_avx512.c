/* SPDX-License-Identifier: Apache-2.0
 *
 * AVX-512 forms of kernels.c; one vector holds the 16 lanes. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>

#define ROWS 6
#define VECTORS 4

static inline __mmask16 first_lanes(uint64_t count) {
    return (__mmask16)(count < 16 ? (1u << count) - 1 : 0xFFFF);
}

/* Six rows by 64 columns fill 24 of the 32 registers; `count` and `vectors` are constants at each call. */
__attribute__((always_inline)) static inline void multiply_some(const struct kernel_product *p, uint64_t row, uint64_t column,
                                                                int count, int vectors) {
    const float *a = p->a + row * p->a_stride, *b = p->b + column;
    float *c = p->c + row * p->c_stride + column;
    __m512 sum[ROWS][VECTORS], value[VECTORS];
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < vectors; j++) sum[i][j] = _mm512_setzero_ps();
    }
    for (uint64_t k = 0; k < p->depth; k++, b += p->b_stride) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) value[j] = _mm512_loadu_ps(b + 16 * j);
#pragma GCC unroll 6
        for (int i = 0; i < count; i++) {
            __m512 factor = _mm512_set1_ps(a[(uint64_t)i * p->a_stride + k]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[i][j] = _mm512_fmadd_ps(factor, value[j], sum[i][j]);
        }
    }
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < vectors; j++) _mm512_storeu_ps(c + (uint64_t)i * p->c_stride + 16 * j, sum[i][j]);
    }
}

__attribute__((always_inline)) static inline void multiply_columns(const struct kernel_product *p, uint64_t column, int vectors) {
    uint64_t r = 0;
    for (; r + ROWS <= p->rows; r += ROWS) multiply_some(p, r, column, ROWS, vectors);
    for (; r + 3 <= p->rows; r += 3) multiply_some(p, r, column, 3, vectors);
    for (; r < p->rows; r++) multiply_some(p, r, column, 1, vectors);
}

static void multiply(const struct kernel_product *p) {
    uint64_t j = 0;
    for (; j + 16 * VECTORS <= p->columns; j += 16 * VECTORS) multiply_columns(p, j, VECTORS);
    for (; j < p->columns; j += 16) multiply_columns(p, j, 1);
}

static inline __m512 exp16(__m512 x) {
    static const float terms[] = EXP_TERMS;
    const __m512 given = x;
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(EXP_LOWEST)), _mm512_set1_ps(EXP_HIGHEST));
    __m512 rounded = _mm512_add_ps(_mm512_mul_ps(x, _mm512_set1_ps(EXP_LOG2E)), _mm512_set1_ps(EXP_ROUND));
    __m512 n = _mm512_sub_ps(rounded, _mm512_set1_ps(EXP_ROUND)), sum = _mm512_set1_ps(terms[0]);
    __m512 r = _mm512_sub_ps(x, _mm512_mul_ps(n, _mm512_set1_ps(EXP_LN2_HIGH)));
    r = _mm512_sub_ps(r, _mm512_mul_ps(n, _mm512_set1_ps(EXP_LN2_LOW)));
    for (int i = 1; i < 6; i++) sum = _mm512_add_ps(_mm512_mul_ps(sum, r), _mm512_set1_ps(terms[i]));
    sum = _mm512_add_ps(_mm512_add_ps(_mm512_mul_ps(sum, _mm512_mul_ps(r, r)), r), _mm512_set1_ps(1.0f));
    __m512i bits = _mm512_add_epi32(_mm512_castps_si512(sum), _mm512_slli_epi32(_mm512_castps_si512(rounded), 23));
    return _mm512_mask_mov_ps(_mm512_castsi512_ps(bits), _mm512_cmp_ps_mask(given, given, _CMP_UNORD_Q), given);
}

/* Lanes of elements at..at+15 that lie in [first, end). */
static inline __mmask16 inside(uint64_t at, uint64_t first, uint64_t end) {
    __mmask16 below = first_lanes(first > at ? first - at : 0), to = first_lanes(end > at ? end - at : 0);
    return (__mmask16)(to & ~below);
}

static float fold(__m512 v) {
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}

static float exponentials(float *row, uint64_t first, uint64_t end, uint64_t width) {
    __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (uint64_t i = first / 16 * 16; i < end; i += 16) {
        top = _mm512_mask_max_ps(top, inside(i, first, end), _mm512_loadu_ps(row + i), top);
    }
    __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(top));
    for (uint64_t i = 0; i < width; i += 16) {
        __m512 x = _mm512_maskz_mov_ps(inside(i, first, end), exp16(_mm512_sub_ps(_mm512_loadu_ps(row + i), largest)));
        _mm512_storeu_ps(row + i, x);
        sum = _mm512_add_ps(sum, x);
    }
    return fold(sum);
}

static void add_scaled(float *y, float scale, const float *x, uint64_t count) {
    for (uint64_t i = 0; i < count; i += 16) {
        __mmask16 there = first_lanes(count - i);
        __m512 sum = _mm512_fmadd_ps(_mm512_set1_ps(scale), _mm512_maskz_loadu_ps(there, x + i), _mm512_maskz_loadu_ps(there, y + i));
        _mm512_mask_storeu_ps(y + i, there, sum);
    }
}

static double squares(const float *x, uint64_t count) {
    __m512d low = _mm512_setzero_pd(), high = low;
    for (uint64_t i = 0; i < count; i += 16) {
        __m512 value = _mm512_maskz_loadu_ps(first_lanes(count - i), x + i);
        __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(value)), b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(value, 1));
        low = _mm512_fmadd_pd(a, a, low); /* the product is exact */
        high = _mm512_fmadd_pd(b, b, high);
    }
    __m512d sum = _mm512_add_pd(low, high);
    __m256d half = _mm256_add_pd(_mm512_castpd512_pd256(sum), _mm512_extractf64x4_pd(sum, 1));
    __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
    return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}

static void scale(float *y, const float *x, float factor, const float *weight, float offset, uint64_t count) {
    for (uint64_t i = 0; i < count; i += 16) {
        __mmask16 there = first_lanes(count - i);
        __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(there, x + i), _mm512_set1_ps(factor));
        __m512 by = _mm512_add_ps(_mm512_maskz_loadu_ps(there, weight + i), _mm512_set1_ps(offset));
        _mm512_mask_storeu_ps(y + i, there, _mm512_mul_ps(scaled, by));
    }
}

static void multiply_by(float *y, const float *x, uint64_t count) {
    for (uint64_t i = 0; i < count; i += 16) {
        __mmask16 there = first_lanes(count - i);
        __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(there, y + i), _mm512_maskz_loadu_ps(there, x + i));
        _mm512_mask_storeu_ps(y + i, there, value);
    }
}

static void gate(float *x, float linear, float cubic, uint64_t count) {
    for (uint64_t i = 0; i < count; i += 16) {
        __mmask16 there = first_lanes(count - i);
        __m512 value = _mm512_maskz_loadu_ps(there, x + i);
        __m512 inner = _mm512_mul_ps(_mm512_set1_ps(cubic), _mm512_mul_ps(value, value));
        __m512 u = _mm512_mul_ps(value, _mm512_add_ps(_mm512_set1_ps(linear), inner));
        __m512 divisor = _mm512_add_ps(_mm512_set1_ps(1.0f), exp16(_mm512_sub_ps(_mm512_setzero_ps(), u)));
        _mm512_mask_storeu_ps(x + i, there, _mm512_div_ps(value, divisor));
    }
}

const struct kernels kernels_avx512 = {multiply, exponentials, add_scaled, squares, scale, multiply_by, gate};
#else
typedef int kernels_avx512_unused; /* ISO C wants something in the file */
#endif
