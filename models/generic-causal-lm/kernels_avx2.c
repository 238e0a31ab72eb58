/* SPDX-License-Identifier: Apache-2.0
 *
 * AVX2 + FMA forms of kernels.c; a pair of vectors holds the 16 lanes. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#define ROWS 6

/* Six rows by 16 columns fill 12 of the 16 registers; `count` is a constant at each call. */
__attribute__((always_inline)) static inline void multiply_some(const struct kernel_product *p, uint64_t row, uint64_t column,
                                                                int count) {
    const float *a = p->a + row * p->a_stride, *b = p->b + column;
    float *c = p->c + row * p->c_stride + column;
    __m256 sum[ROWS][2];
    for (int i = 0; i < count; i++) sum[i][0] = sum[i][1] = _mm256_setzero_ps();
    for (uint64_t k = 0; k < p->depth; k++, b += p->b_stride) {
        __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
        for (int i = 0; i < count; i++) {
            __m256 value = _mm256_broadcast_ss(a + (uint64_t)i * p->a_stride + k);
            sum[i][0] = _mm256_fmadd_ps(value, b0, sum[i][0]);
            sum[i][1] = _mm256_fmadd_ps(value, b1, sum[i][1]);
        }
    }
    for (int i = 0; i < count; i++) {
        _mm256_storeu_ps(c + (uint64_t)i * p->c_stride, sum[i][0]);
        _mm256_storeu_ps(c + (uint64_t)i * p->c_stride + 8, sum[i][1]);
    }
}

static void multiply(const struct kernel_product *p) {
    for (uint64_t j = 0; j < p->columns; j += KERNEL_LANES) {
        uint64_t r = 0;
        for (; r + ROWS <= p->rows; r += ROWS) multiply_some(p, r, j, ROWS);
        for (; r + 2 <= p->rows; r += 2) multiply_some(p, r, j, 2);
        if (r < p->rows) multiply_some(p, r, j, 1);
    }
}

/* Eight of 16 lanes in each; folds in halves. */
static inline float fold(__m256 low, __m256 high) {
    __m256 half = _mm256_add_ps(low, high);
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}

static inline __m256 exp8(__m256 x) {
    static const float terms[] = EXP_TERMS;
    const __m256 given = x;
    x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(EXP_LOWEST)), _mm256_set1_ps(EXP_HIGHEST));
    __m256 rounded = _mm256_add_ps(_mm256_mul_ps(x, _mm256_set1_ps(EXP_LOG2E)), _mm256_set1_ps(EXP_ROUND));
    __m256 n = _mm256_sub_ps(rounded, _mm256_set1_ps(EXP_ROUND)), sum = _mm256_set1_ps(terms[0]);
    __m256 r = _mm256_sub_ps(x, _mm256_mul_ps(n, _mm256_set1_ps(EXP_LN2_HIGH)));
    r = _mm256_sub_ps(r, _mm256_mul_ps(n, _mm256_set1_ps(EXP_LN2_LOW)));
    for (int i = 1; i < 6; i++) sum = _mm256_add_ps(_mm256_mul_ps(sum, r), _mm256_set1_ps(terms[i]));
    sum = _mm256_add_ps(_mm256_add_ps(_mm256_mul_ps(sum, _mm256_mul_ps(r, r)), r), _mm256_set1_ps(1.0f));
    __m256i bits = _mm256_add_epi32(_mm256_castps_si256(sum), _mm256_slli_epi32(_mm256_castps_si256(rounded), 23));
    return _mm256_blendv_ps(_mm256_castsi256_ps(bits), given, _mm256_cmp_ps(given, given, _CMP_UNORD_Q));
}

/* All ones in the lanes of elements at..at+7 that lie in [first, end). */
static inline __m256 inside(uint64_t at, uint64_t first, uint64_t end) {
    uint64_t low = first > at ? first - at : 0, high = end > at ? end - at : 0;
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i from = _mm256_set1_epi32((int)(low < 8 ? low : 8)), to = _mm256_set1_epi32((int)(high < 8 ? high : 8));
    return _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_cmpgt_epi32(from, lane), _mm256_cmpgt_epi32(to, lane)));
}

static float exponentials(float *row, uint64_t first, uint64_t end, uint64_t width) {
    __m256 top = _mm256_set1_ps(-INFINITY), sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    float lanes[8], largest = -INFINITY;
    for (uint64_t i = first / 8 * 8; i < end; i += 8) {
        __m256 x = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), _mm256_loadu_ps(row + i), inside(i, first, end));
        top = _mm256_max_ps(x, top);
    }
    _mm256_storeu_ps(lanes, top);
    for (int i = 0; i < 8; i++) largest = lanes[i] > largest ? lanes[i] : largest;
    for (uint64_t i = 0; i < width; i += 8) {
        __m256 x = exp8(_mm256_sub_ps(_mm256_loadu_ps(row + i), _mm256_set1_ps(largest)));
        x = _mm256_and_ps(x, inside(i, first, end));
        _mm256_storeu_ps(row + i, x);
        sum[i / 8 % 2] = _mm256_add_ps(sum[i / 8 % 2], x);
    }
    return fold(sum[0], sum[1]);
}

static void add_scaled(float *y, float scale, const float *x, uint64_t count) {
    __m256 factor = _mm256_set1_ps(scale);
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(factor, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    }
    for (; i < count; i++) y[i] = fmaf(scale, x[i], y[i]);
}

static double squares(const float *x, uint64_t count) {
    double lanes[KERNEL_LANES];
    __m256d sum[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    uint64_t i = 0;
    for (; i + KERNEL_LANES <= count; i += KERNEL_LANES) {
        for (uint64_t j = 0; j < 4; j++) {
            __m256d value = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4 * j));
            sum[j] = _mm256_fmadd_pd(value, value, sum[j]); /* the product is exact */
        }
    }
    for (int j = 0; j < 4; j++) _mm256_storeu_pd(lanes + 4 * j, sum[j]);
    for (int lane = 0; i < count; i++, lane++) lanes[lane] += (double)x[i] * (double)x[i];
    for (int width = KERNEL_LANES / 2; width; width /= 2) {
        for (int j = 0; j < width; j++) lanes[j] += lanes[j + width];
    }
    return lanes[0];
}

static void scale(float *y, const float *x, float factor, const float *weight, float offset, uint64_t count) {
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(factor));
        _mm256_storeu_ps(y + i, _mm256_mul_ps(scaled, _mm256_add_ps(_mm256_loadu_ps(weight + i), _mm256_set1_ps(offset))));
    }
    for (; i < count; i++) y[i] = x[i] * factor * (weight[i] + offset);
}

static void multiply_by(float *y, const float *x, uint64_t count) {
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8) _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
    for (; i < count; i++) y[i] *= x[i];
}

static inline __m256 gate8(__m256 x, float linear, float cubic) {
    __m256 inner = _mm256_mul_ps(_mm256_set1_ps(cubic), _mm256_mul_ps(x, x));
    __m256 u = _mm256_mul_ps(x, _mm256_add_ps(_mm256_set1_ps(linear), inner));
    __m256 divisor = _mm256_add_ps(_mm256_set1_ps(1.0f), exp8(_mm256_sub_ps(_mm256_setzero_ps(), u)));
    return _mm256_div_ps(x, divisor);
}

static void gate(float *x, float linear, float cubic, uint64_t count) {
    float rest[8] = {0};
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8) _mm256_storeu_ps(x + i, gate8(_mm256_loadu_ps(x + i), linear, cubic));
    memcpy(rest, x + i, (count - i) * sizeof *x);
    _mm256_storeu_ps(rest, gate8(_mm256_loadu_ps(rest), linear, cubic));
    memcpy(x + i, rest, (count - i) * sizeof *x);
}

const struct kernels kernels_avx2 = {multiply, exponentials, add_scaled, squares, scale, multiply_by, gate};
#else
typedef int kernels_avx2_unused; /* ISO C wants something in the file */
#endif
