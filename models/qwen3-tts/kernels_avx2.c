/* SPDX-License-Identifier: Apache-2.0
 *
 * AVX2 + FMA forms of kernels.c. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>

#include "sine.h"

static float dot(const float *a, const float *b, uint64_t count) {
    __m256 sum = _mm256_setzero_ps(), sum2 = _mm256_setzero_ps();
    uint64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        sum = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), sum);
        sum2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), sum2);
    }
    float lanes[8];
    _mm256_storeu_ps(lanes, _mm256_add_ps(sum, sum2));
    for (int lane = 0; i < count; i++, lane = (lane + 1) & 7) lanes[lane] += a[i] * b[i];
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static void add_scaled(float *y, float scale, const float *x, uint64_t count) {
    __m256 factor = _mm256_set1_ps(scale);
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(factor, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    }
    for (; i < count; i++) y[i] += scale * x[i];
}

static __m256 sine_squared(__m256 x) {
    __m256 turns = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(SINE_INVERSE_PI)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(turns, _mm256_set1_ps(SINE_PI_1), x);
    r = _mm256_fnmadd_ps(turns, _mm256_set1_ps(SINE_PI_2), r);
    r = _mm256_fnmadd_ps(turns, _mm256_set1_ps(SINE_PI_3), r);
    __m256 s = _mm256_mul_ps(r, r), p = _mm256_set1_ps(SINE_C11);
    p = _mm256_fmadd_ps(p, s, _mm256_set1_ps(SINE_C9));
    p = _mm256_fmadd_ps(p, s, _mm256_set1_ps(SINE_C7));
    p = _mm256_fmadd_ps(p, s, _mm256_set1_ps(SINE_C5));
    p = _mm256_fmadd_ps(p, s, _mm256_set1_ps(SINE_C3));
    __m256 sine = _mm256_fmadd_ps(_mm256_mul_ps(r, s), p, r);
    return _mm256_mul_ps(sine, sine);
}

static float snake_one(float x, float frequency, float factor) {
    float sine = sinf(frequency * x);
    return x + factor * (sine * sine);
}

static void snake_block(const float *x, const float *frequency, const float *factor, float *y) {
    __m256 value = _mm256_loadu_ps(x), angle = _mm256_mul_ps(_mm256_loadu_ps(frequency), value);
    __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), angle);
    if (_mm256_movemask_ps(_mm256_cmp_ps(size, _mm256_set1_ps(SINE_LIMIT), _CMP_LT_OQ)) != 0xFF) {
        for (int i = 0; i < 8; i++) y[i] = snake_one(x[i], frequency[i], factor[i]);
        return;
    }
    _mm256_storeu_ps(y, _mm256_fmadd_ps(_mm256_loadu_ps(factor), sine_squared(angle), value));
}

/* The rest of a row goes through the same code, padded. */
static void snake(const float *x, const float *frequency, const float *factor, float *y, uint64_t count) {
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8) snake_block(x + i, frequency + i, factor + i, y + i);
    if (i == count) return;
    float padded[4][8] = {{0}};
    for (uint64_t j = i; j < count; j++) {
        padded[0][j - i] = x[j];
        padded[1][j - i] = frequency[j];
        padded[2][j - i] = factor[j];
    }
    snake_block(padded[0], padded[1], padded[2], padded[3]);
    for (uint64_t j = i; j < count; j++) y[j] = padded[3][j - i];
}

const struct kernels speech_kernels_avx2 = {dot, add_scaled, snake};
#else
typedef int kernels_avx2_unused; /* ISO C wants something in the file */
#endif
