/* SPDX-License-Identifier: Apache-2.0
 *
 * Conversion of BF16 and F16 to and from F32, eight elements at a time. F16C quiets signalling NaNs and keeps the upper
 * bits of their payload; the scalar code in dtype.c does the same. */
#include "dtype_vector.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LANES 8

uint64_t dtype_avx2_bf16_to_f32(const void *src, uint64_t count, float *dst) {
    const uint16_t *from = src;
    uint64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(from + i));
        __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
        _mm256_storeu_ps(dst + i, _mm256_castsi256_ps(wide));
    }
    return i;
}

uint64_t dtype_avx2_f16_to_f32(const void *src, uint64_t count, float *dst) {
    const uint16_t *from = src;
    uint64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(from + i));
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(half));
    }
    return i;
}

/* Narrows eight 32-bit lanes, each below 2^16, to 16 bits. */
static inline __m128i narrow(__m256i wide) {
    __m256i packed = _mm256_packus_epi32(wide, wide);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
}

uint64_t dtype_avx2_f32_to_bf16(const float *src, uint64_t count, void *dst) {
    const __m256i infinity = _mm256_set1_epi32(0x7F800000), magnitude = _mm256_set1_epi32(0x7FFFFFFF);
    const __m256i largest = _mm256_set1_epi32(0x7F7F0000), half = _mm256_set1_epi32(0x7FFF);
    const __m256i one = _mm256_set1_epi32(1), quiet = _mm256_set1_epi32(0x00400000);
    uint16_t *to = dst;
    uint64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        __m256i bits = _mm256_loadu_si256((const __m256i *)(const void *)(src + i));
        __m256i size = _mm256_and_si256(bits, magnitude), sign = _mm256_andnot_si256(magnitude, bits);
        __m256i odd = _mm256_and_si256(_mm256_srli_epi32(size, 16), one);
        __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(size, half), odd);
        __m256i finite = _mm256_min_epu32(rounded, _mm256_or_si256(largest, half));
        __m256i is_finite = _mm256_cmpgt_epi32(infinity, size), is_nan = _mm256_cmpgt_epi32(size, infinity);
        __m256i special = _mm256_or_si256(size, _mm256_and_si256(is_nan, quiet));
        __m256i result = _mm256_or_si256(_mm256_blendv_epi8(special, finite, is_finite), sign);
        _mm_storeu_si128((__m128i *)(void *)(to + i), narrow(_mm256_srli_epi32(result, 16)));
    }
    return i;
}

uint64_t dtype_avx2_f32_to_f16(const float *src, uint64_t count, void *dst) {
    const __m256 infinity = _mm256_castsi256_ps(_mm256_set1_epi32(0x7F800000));
    const __m256 sign_bit = _mm256_set1_ps(-0.0f), largest = _mm256_set1_ps(65504.0f);
    uint16_t *to = dst;
    uint64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        __m256 value = _mm256_loadu_ps(src + i);
        __m256 size = _mm256_andnot_ps(sign_bit, value);
        __m256 clamped = _mm256_or_ps(_mm256_min_ps(size, largest), _mm256_and_ps(sign_bit, value));
        __m256 is_finite = _mm256_cmp_ps(size, infinity, _CMP_LT_OQ);
        __m128i half = _mm256_cvtps_ph(_mm256_blendv_ps(value, clamped, is_finite), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(void *)(to + i), half);
    }
    return i;
}

#else

uint64_t dtype_avx2_bf16_to_f32(const void *src, uint64_t count, float *dst) {
    (void)src;
    (void)count;
    (void)dst;
    return 0;
}

uint64_t dtype_avx2_f16_to_f32(const void *src, uint64_t count, float *dst) {
    (void)src;
    (void)count;
    (void)dst;
    return 0;
}

uint64_t dtype_avx2_f32_to_bf16(const float *src, uint64_t count, void *dst) {
    (void)src;
    (void)count;
    (void)dst;
    return 0;
}

uint64_t dtype_avx2_f32_to_f16(const float *src, uint64_t count, void *dst) {
    (void)src;
    (void)count;
    (void)dst;
    return 0;
}

#endif
