/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner products for AVX2: the 32 lanes of products.c are four registers, and there is no fused multiply-add. */
#include "products.h"

#if defined(__x86_64__)

#include <immintrin.h>

/* Without -mavx2 too, as the tests compile it. */
#define AVX2 __attribute__((target("avx2")))

AVX2 static void store(float lanes[PRODUCTS_LANES], __m256 s0, __m256 s1, __m256 s2, __m256 s3) {
    _mm256_storeu_ps(lanes, s0);
    _mm256_storeu_ps(lanes + 8, s1);
    _mm256_storeu_ps(lanes + 16, s2);
    _mm256_storeu_ps(lanes + 24, s3);
}

AVX2 static __m256 product(const float *a, const float *b) {
    return _mm256_mul_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b));
}

AVX2 static float dot(const float *a, const float *b, uint64_t count) {
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    float lanes[PRODUCTS_LANES];
    uint64_t i = 0;
    for (; i + PRODUCTS_LANES <= count; i += PRODUCTS_LANES) {
        s0 = _mm256_add_ps(s0, product(a + i, b + i));
        s1 = _mm256_add_ps(s1, product(a + i + 8, b + i + 8));
        s2 = _mm256_add_ps(s2, product(a + i + 16, b + i + 16));
        s3 = _mm256_add_ps(s3, product(a + i + 24, b + i + 24));
    }
    store(lanes, s0, s1, s2, s3);
    for (uint64_t j = 0; i < count; i++, j++) lanes[j] += a[i] * b[i];
    return products_sum(lanes);
}

AVX2 static __m256 product_codes(const int8_t *codes, const float *x) {
    __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)codes));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_loadu_ps(x));
}

AVX2 static float dot_codes(const int8_t *codes, const float *x, uint64_t count) {
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    float lanes[PRODUCTS_LANES];
    uint64_t i = 0;
    for (; i + PRODUCTS_LANES <= count; i += PRODUCTS_LANES) {
        s0 = _mm256_add_ps(s0, product_codes(codes + i, x + i));
        s1 = _mm256_add_ps(s1, product_codes(codes + i + 8, x + i + 8));
        s2 = _mm256_add_ps(s2, product_codes(codes + i + 16, x + i + 16));
        s3 = _mm256_add_ps(s3, product_codes(codes + i + 24, x + i + 24));
    }
    store(lanes, s0, s1, s2, s3);
    for (uint64_t j = 0; i < count; i++, j++) lanes[j] += (float)codes[i] * x[i];
    return products_sum(lanes);
}

const tsr_products products_avx2 = {sizeof(tsr_products), dot, dot_codes};

#else
typedef int products_avx2_is_empty;
#endif
