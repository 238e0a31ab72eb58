/* SPDX-License-Identifier: Apache-2.0
 *
 * Scores for AVX2: the 16 lanes of score.c are four registers, and there is no fused multiply-add. */
#include "score.h"

#if defined(__x86_64__)

#include <immintrin.h>

/* Without -mavx2 too, as the tests compile it. */
#define AVX2 __attribute__((target("avx2")))

AVX2 static __m256d load(const float *x) {
    return _mm256_cvtps_pd(_mm_loadu_ps(x));
}

AVX2 static void store(double lanes[SCORE_LANES], const __m256d sums[4]) {
    for (int i = 0; i < 4; i++) _mm256_storeu_pd(lanes + 4 * i, sums[i]);
}

AVX2 static double inner(const float *row, const float *x, uint64_t count) {
    __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    double lanes[SCORE_LANES];
    uint64_t i = 0;
    for (; i + SCORE_LANES <= count; i += SCORE_LANES) {
        sums[0] = _mm256_add_pd(sums[0], _mm256_mul_pd(load(row + i), load(x + i)));
        sums[1] = _mm256_add_pd(sums[1], _mm256_mul_pd(load(row + i + 4), load(x + i + 4)));
        sums[2] = _mm256_add_pd(sums[2], _mm256_mul_pd(load(row + i + 8), load(x + i + 8)));
        sums[3] = _mm256_add_pd(sums[3], _mm256_mul_pd(load(row + i + 12), load(x + i + 12)));
    }
    store(lanes, sums);
    for (uint64_t j = 0; i < count; i++, j++) lanes[j] += (double)row[i] * (double)x[i];
    return score_sum(lanes);
}

AVX2 static __m256d square(const float *row, const float *x) {
    __m256d difference = _mm256_sub_pd(load(row), load(x));
    return _mm256_mul_pd(difference, difference);
}

AVX2 static double distance(const float *row, const float *x, uint64_t count) {
    __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    double lanes[SCORE_LANES];
    uint64_t i = 0;
    for (; i + SCORE_LANES <= count; i += SCORE_LANES) {
        for (int j = 0; j < 4; j++) sums[j] = _mm256_add_pd(sums[j], square(row + i + 4 * j, x + i + 4 * j));
    }
    store(lanes, sums);
    for (uint64_t j = 0; i < count; i++, j++) {
        double difference = (double)row[i] - (double)x[i];
        lanes[j] += difference * difference;
    }
    return score_sum(lanes);
}

const struct score_kernels score_avx2 = {inner, distance};

#else
typedef int score_avx2_is_empty;
#endif
