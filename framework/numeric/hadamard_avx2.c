/* SPDX-License-Identifier: Apache-2.0
 *
 * The Hadamard transform for AVX2. The first three stages stay inside a register, the others go two at a time to halve
 * the traffic. Each value sees the additions of hadamard.c in the same order: the same bits. */
#include "hadamard.h"

#if defined(__x86_64__)

#include <base/rng.h>
#include <immintrin.h>

/* Eight sign bits as masks of the eight lanes' signs. */
static __m256 signs_of(uint64_t word) {
    const __m256i lane_bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i set = _mm256_and_si256(_mm256_set1_epi32((int32_t)(word & 255)), lane_bit);
    __m256i mask = _mm256_cmpeq_epi32(set, lane_bit);
    return _mm256_castsi256_ps(_mm256_slli_epi32(mask, 31));
}

static void scale(float *x, uint64_t count, float factor, uint64_t seed) {
    const __m256 factors = _mm256_set1_ps(factor);
    struct rng rng = {seed};
    uint64_t word = 0, i = 0;
    for (; i + 8 <= count; i += 8, word >>= 8) {
        if (i % 64 == 0) word = rng_next(&rng);
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_xor_ps(factors, signs_of(word)));
        _mm256_storeu_ps(x + i, v);
    }
    for (; i < count; i++, word >>= 1) {
        if (i % 64 == 0) word = rng_next(&rng);
        x[i] *= word & 1 ? -factor : factor;
    }
}

static void flip(float *x, uint64_t count, uint64_t seed) {
    scale(x, count, 1, seed);
}

/* Distances 1, 2 and 4: each lane gets its partner plus itself, or its partner minus itself in the upper half. */
static __m256 within(__m256 v) {
    const __m256 odd = _mm256_setr_ps(0, -0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f);
    const __m256 pairs = _mm256_setr_ps(0, 0, -0.0f, -0.0f, 0, 0, -0.0f, -0.0f);
    const __m256 upper = _mm256_setr_ps(0, 0, 0, 0, -0.0f, -0.0f, -0.0f, -0.0f);
    v = _mm256_add_ps(_mm256_permute_ps(v, 0xB1), _mm256_xor_ps(v, odd));
    v = _mm256_add_ps(_mm256_permute_ps(v, 0x4E), _mm256_xor_ps(v, pairs));
    return _mm256_add_ps(_mm256_permute2f128_ps(v, v, 1), _mm256_xor_ps(v, upper));
}

/* Distances half and 2 * half on four runs of `half` values. */
static void two_stages(float *x, uint64_t half) {
    for (uint64_t j = 0; j < half; j += 8) {
        float *at = x + j;
        __m256 a = _mm256_loadu_ps(at), b = _mm256_loadu_ps(at + half);
        __m256 c = _mm256_loadu_ps(at + 2 * half), d = _mm256_loadu_ps(at + 3 * half);
        __m256 ab = _mm256_add_ps(a, b), a_b = _mm256_sub_ps(a, b);
        __m256 cd = _mm256_add_ps(c, d), c_d = _mm256_sub_ps(c, d);
        _mm256_storeu_ps(at, _mm256_add_ps(ab, cd));
        _mm256_storeu_ps(at + half, _mm256_add_ps(a_b, c_d));
        _mm256_storeu_ps(at + 2 * half, _mm256_sub_ps(ab, cd));
        _mm256_storeu_ps(at + 3 * half, _mm256_sub_ps(a_b, c_d));
    }
}

static void last_stage(float *x, uint64_t half) {
    for (uint64_t j = 0; j < half; j += 8) {
        __m256 a = _mm256_loadu_ps(x + j), b = _mm256_loadu_ps(x + j + half);
        _mm256_storeu_ps(x + j, _mm256_add_ps(a, b));
        _mm256_storeu_ps(x + j + half, _mm256_sub_ps(a, b));
    }
}

static void transform(float *x, uint64_t block) {
    uint64_t half = 8;
    if (block < 8) {
        hadamard_portable.transform(x, block);
        return;
    }
    for (uint64_t i = 0; i < block; i += 8) _mm256_storeu_ps(x + i, within(_mm256_loadu_ps(x + i)));
    for (; 4 * half <= block; half *= 4) {
        for (uint64_t i = 0; i < block; i += 4 * half) two_stages(x + i, half);
    }
    if (2 * half <= block) last_stage(x, half);
}

const struct hadamard_kernels hadamard_avx2 = {scale, flip, transform};

#else
typedef int hadamard_avx2_is_empty;
#endif
