/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths for AVX2, a lane a column. The additions and comparisons of trellis_path.c in the same order: the same bits. */
#include "trellis_path.h"

#if defined(__x86_64__)

#include <immintrin.h>

/* Without -mavx2 too, as the tests compile it. */
#define AVX2 __attribute__((target("avx2")))

/* at: of magnitude 0 in costs, for each lane. */
AVX2 static inline __m256 cost_of(const float *costs, __m256i at, __m256i magnitude) {
    magnitude = _mm256_min_epi32(magnitude, _mm256_set1_epi32(TRELLIS_COSTS - 1));
    return _mm256_i32gather_ps(costs, _mm256_add_epi32(at, magnitude), 4);
}

/* Squared distance to the point of a magnitude, which is 0 for 0 in both quantisers. */
AVX2 static inline __m256 error_of(__m256 a, __m256i magnitude, __m256i quantiser) {
    __m256i point = _mm256_sub_epi32(_mm256_slli_epi32(magnitude, 1), quantiser);
    point = _mm256_and_si256(point, _mm256_cmpgt_epi32(magnitude, _mm256_setzero_si256()));
    __m256 distance = _mm256_sub_ps(a, _mm256_cvtepi32_ps(point));
    return _mm256_mul_ps(distance, distance);
}

AVX2 static inline __m256 choose(const float *costs, __m256i at, int32_t quantiser, int32_t parity, __m256 a,
                                 int32_t *choice) {
    const __m256i q = _mm256_set1_epi32(quantiser), p = _mm256_set1_epi32(parity), one = _mm256_set1_epi32(1);
    __m256 half = _mm256_mul_ps(_mm256_add_ps(a, _mm256_set1_ps((float)quantiser)), _mm256_set1_ps(0.5f));
    __m256i whole = _mm256_cvttps_epi32(half);
    __m256i below = _mm256_sub_epi32(whole, _mm256_and_si256(_mm256_xor_si256(whole, p), one));
    below = _mm256_max_epi32(below, p);
    __m256i above = _mm256_add_epi32(below, _mm256_set1_epi32(2));
    __m256 near = _mm256_add_ps(error_of(a, below, q), cost_of(costs, at, below));
    __m256 far = _mm256_add_ps(error_of(a, above, q), cost_of(costs, at, above));
    __m256 closer = _mm256_cmp_ps(far, near, _CMP_LT_OQ);
    __m256i magnitude = _mm256_blendv_epi8(below, above, _mm256_castps_si256(closer));
    _mm256_storeu_si256((__m256i *)(void *)choice, magnitude);
    return _mm256_blendv_ps(near, far, closer);
}

AVX2 static inline void advance(const struct trellis_code *code, const __m256 branch[4], const __m256 *metric,
                                __m256 *next, uint8_t *before) {
    for (uint32_t s = 0; s < code->states; s++) {
        const uint32_t a = code->from[2 * s], b = code->from[2 * s + 1];
        __m256 first = _mm256_add_ps(metric[a], branch[2 * (a & 1) + code->with[2 * s]]);
        __m256 second = _mm256_add_ps(metric[b], branch[2 * (b & 1) + code->with[2 * s + 1]]);
        __m256 better = _mm256_cmp_ps(second, first, _CMP_LT_OQ);
        before[s] = (uint8_t)_mm256_movemask_ps(better);
        next[s] = _mm256_blendv_ps(first, second, better);
    }
}

AVX2 static __m256 least_of(const __m256 *metric, uint32_t states, __m256i *where) {
    __m256 least = metric[0];
    *where = _mm256_setzero_si256();
    for (uint32_t s = 1; s < states; s++) {
        __m256 lower = _mm256_cmp_ps(metric[s], least, _CMP_LT_OQ);
        least = _mm256_blendv_ps(least, metric[s], lower);
        *where = _mm256_blendv_epi8(*where, _mm256_set1_epi32((int32_t)s), _mm256_castps_si256(lower));
    }
    return least;
}

AVX2 static void begin(const struct trellis_strip *strip, __m256 *metric) {
    for (uint32_t s = 0; s < strip->code->states; s++) {
        float lanes[TRELLIS_LANES];
        for (uint32_t i = 0; i < TRELLIS_LANES; i++) lanes[i] = s == strip->states[i] ? 0 : TRELLIS_NEVER;
        metric[s] = _mm256_loadu_ps(lanes);
    }
}

/* Where the costs of each lane's scale begin. */
AVX2 static inline __m256i costs_at(const struct trellis_strip *strip, int32_t row) {
    __m256i scale = _mm256_loadu_si256((const __m256i *)(const void *)strip->columns);
    scale = _mm256_add_epi32(scale, _mm256_set1_epi32(row));
    scale = _mm256_max_epi32(scale, _mm256_setzero_si256());
    scale = _mm256_min_epi32(scale, _mm256_set1_epi32(strip->scales - 1));
    return _mm256_mullo_epi32(scale, _mm256_set1_epi32(2 * TRELLIS_COSTS));
}

AVX2 void trellis_find_avx2(struct trellis_strip *strip) {
    const struct trellis_code *code = strip->code;
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 metrics[2][TRELLIS_STATES_MAX], branch[4];
    __m256i where;
    int32_t ends[TRELLIS_LANES];
    begin(strip, metrics[0]);
    for (uint64_t r = 0; r < strip->count; r++) {
        __m256 *metric = metrics[r % 2];
        __m256 a = _mm256_andnot_ps(sign, _mm256_loadu_ps(strip->u + r * TRELLIS_LANES));
        int32_t *choices = strip->choices + r * 4 * TRELLIS_LANES;
        const __m256i at = costs_at(strip, strip->rows[r]);
        for (int32_t i = 0; i < 4; i++) {
            const float *costs = strip->costs + i / 2 * TRELLIS_COSTS;
            branch[i] = choose(costs, at, i / 2, i % 2, a, choices + i * TRELLIS_LANES);
        }
        if (r % TRELLIS_RENORMALISE == TRELLIS_RENORMALISE - 1) {
            __m256 least = least_of(metric, code->states, &where);
            for (uint32_t s = 0; s < code->states; s++) metric[s] = _mm256_sub_ps(metric[s], least);
        }
        advance(code, branch, metric, metrics[(r + 1) % 2], strip->before + r * code->states);
    }
    (void)least_of(metrics[strip->count % 2], code->states, &where);
    _mm256_storeu_si256((__m256i *)(void *)ends, where);
    for (uint32_t i = 0; i < TRELLIS_LANES; i++) strip->states[i] = (uint8_t)ends[i];
    trellis_trace(strip);
}

#else
typedef int trellis_path_avx2_is_empty;
#endif
