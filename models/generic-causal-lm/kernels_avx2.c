/* SPDX-License-Identifier: Apache-2.0
 *
 * AVX2 + FMA forms of kernels.c. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

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

const struct kernels kernels_avx2 = {dot, add_scaled};
#else
typedef int kernels_avx2_unused; /* ISO C wants something in the file */
#endif
