/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner loops for AVX2, eight values a turn; the tail goes through the portable ones. Same bits as scalar_kernel.c:
 * the lanes of `energy` and `spread` are the same eight, and there is no fused multiply-add. */
#include "scalar_kernel.h"

#if defined(__x86_64__)

#include <immintrin.h>

/* Without -mavx2 too, as the tests compile it. */
#define AVX2 __attribute__((target("avx2")))

/* The tail of fewer than eight values belongs to lanes 0, 1, .. */
AVX2 static double energy(const float *x, uint64_t count, float *largest) {
    const __m256 absolute = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
    __m256 most = _mm256_setzero_ps();
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
        __m256d b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
        low = _mm256_add_pd(low, _mm256_mul_pd(a, a));
        high = _mm256_add_pd(high, _mm256_mul_pd(b, b));
        most = _mm256_max_ps(most, _mm256_and_ps(v, absolute));
    }
    double lanes[8];
    float peaks[8], peak = 0;
    _mm256_storeu_pd(lanes, low);
    _mm256_storeu_pd(lanes + 4, high);
    _mm256_storeu_ps(peaks, most);
    for (uint64_t j = 0; i < count; i++, j++) {
        float magnitude = x[i] < 0 ? -x[i] : x[i];
        lanes[j] += (double)x[i] * (double)x[i];
        peaks[j] = magnitude > peaks[j] ? magnitude : peaks[j];
    }
    for (int j = 0; j < 8; j++) peak = peaks[j] > peak ? peaks[j] : peak;
    *largest = peak;
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

AVX2 static double spread(const float *x, const float *gain, uint64_t count) {
    __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(x + i)), b = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4));
        __m256d g = _mm256_cvtps_pd(_mm_loadu_ps(gain + i)), h = _mm256_cvtps_pd(_mm_loadu_ps(gain + i + 4));
        low = _mm256_add_pd(low, _mm256_mul_pd(_mm256_mul_pd(a, a), g));
        high = _mm256_add_pd(high, _mm256_mul_pd(_mm256_mul_pd(b, b), h));
    }
    double lanes[8];
    _mm256_storeu_pd(lanes, low);
    _mm256_storeu_pd(lanes + 4, high);
    for (uint64_t j = 0; i < count; i++, j++) lanes[j] += (double)x[i] * (double)x[i] * (double)gain[i];
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/* Sums that leave int8_t are beyond 0 and `last`, and saturation keeps them there. */
AVX2 static void contexts(const int8_t *columns, uint64_t count, int32_t row, int32_t last, uint8_t *found) {
    const __m256i rows = _mm256_set1_epi8((int8_t)row), most = _mm256_set1_epi8((int8_t)last);
    uint64_t i = 0;
    for (; i + 32 <= count; i += 32) {
        __m256i sum = _mm256_adds_epi8(rows, _mm256_loadu_si256((const __m256i *)(const void *)(columns + i)));
        sum = _mm256_min_epi8(_mm256_max_epi8(sum, _mm256_setzero_si256()), most);
        _mm256_storeu_si256((__m256i *)(void *)(found + i), sum);
    }
    scalar_kernels_portable.contexts(columns + i, count - i, row, last, found + i);
}

AVX2 static uint64_t quantise(const float *x, uint64_t count, const struct scalar_quantiser *quantiser,
                              uint16_t *symbols) {
    const __m256 absolute = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    const __m256 scale = _mm256_set1_ps(quantiser->inverse), offset = _mm256_set1_ps(quantiser->rounding);
    const __m256i bound = _mm256_set1_epi32((int32_t)quantiser->limit);
    const __m256i middle = _mm256_set1_epi32((int32_t)quantiser->middle);
    const __m256i escape = _mm256_set1_epi32((int32_t)(2 * quantiser->middle + 1));
    uint64_t escapes = 0, i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        __m256 scaled = _mm256_mul_ps(_mm256_and_ps(v, absolute), scale);
        __m256i magnitude = _mm256_cvttps_epi32(_mm256_add_ps(scaled, offset));
        __m256i negative = _mm256_srai_epi32(_mm256_castps_si256(v), 31);
        __m256i index = _mm256_sub_epi32(_mm256_xor_si256(magnitude, negative), negative);
        __m256i escaped = _mm256_cmpgt_epi32(magnitude, bound);
        __m256i symbol = _mm256_blendv_epi8(_mm256_add_epi32(index, middle), escape, escaped);
        __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(symbol), _mm256_extracti128_si256(symbol, 1));
        _mm_storeu_si128((__m128i *)(void *)(symbols + i), packed);
        escapes += (uint64_t)__builtin_popcount((unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(escaped)));
    }
    return escapes + scalar_kernels_portable.quantise(x + i, count - i, quantiser, symbols + i);
}

AVX2 static uint64_t reconstruct(const uint16_t *symbols, uint64_t count, const float *values, float step,
                                 uint32_t escape, float *x) {
    const __m256 scale = _mm256_set1_ps(step);
    const __m256i last = _mm256_set1_epi32((int32_t)escape);
    uint64_t escapes = 0, i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256i symbol = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(symbols + i)));
        _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_i32gather_ps(values, symbol, 4), scale));
        __m256 hit = _mm256_castsi256_ps(_mm256_cmpeq_epi32(symbol, last));
        escapes += (uint64_t)__builtin_popcount((unsigned)_mm256_movemask_ps(hit));
    }
    return escapes + scalar_kernels_portable.reconstruct(symbols + i, count - i, values, step, escape, x + i);
}

const struct scalar_kernels scalar_kernels_avx2 = {energy, spread, contexts, quantise, reconstruct};

#else
typedef int scalar_kernel_avx2_is_empty;
#endif
