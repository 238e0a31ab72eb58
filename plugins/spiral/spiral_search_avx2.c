/* SPDX-License-Identifier: Apache-2.0
 *
 * The ring search for AVX2: eight tickets at a time. A first window wide enough for nearly all queries is reduced once,
 * then the rings within reach are finished. Distances are those of spiral_search.c, bit for bit. */
#include "spiral_search.h"

#if defined(__x86_64__)

#include <immintrin.h>

/* Without -mavx2 too, as the tests compile it. */
#define AVX2 __attribute__((target("avx2")))

struct lanes {
    __m256 best;
    __m256i tickets;
};

struct query {
    __m256 x, y;
    float rho;
};

/* `closer` is < for tickets above those seen so far and <= for those below: the lowest wins. */
#define TRY_LANE(name, comparison)                                                                                     \
    AVX2 static inline void name(const struct spiral_rings *rings, uint32_t lane, const struct query *query,           \
                                 struct lanes *lanes) {                                                                \
        const __m256i within = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);                                              \
        __m256 dx = _mm256_sub_ps(_mm256_loadu_ps(rings->x + lane * SPIRAL_LANES), query->x);                          \
        __m256 dy = _mm256_sub_ps(_mm256_loadu_ps(rings->y + lane * SPIRAL_LANES), query->y);                          \
        __m256 square = _mm256_add_ps(_mm256_mul_ps(dx, dx), _mm256_mul_ps(dy, dy));                                   \
        __m256 closer = _mm256_cmp_ps(square, lanes->best, comparison);                                                \
        __m256i tickets = _mm256_add_epi32(_mm256_set1_epi32((int32_t)(lane * SPIRAL_LANES)), within);                 \
        lanes->best = _mm256_blendv_ps(lanes->best, square, closer);                                                   \
        lanes->tickets = _mm256_blendv_epi8(lanes->tickets, tickets, _mm256_castps_si256(closer));                     \
    }
TRY_LANE(try_above, _CMP_LT_OQ)
TRY_LANE(try_below, _CMP_LE_OQ)

AVX2 static inline __m256 least_of(__m256 v) {
    v = _mm256_min_ps(v, _mm256_permute2f128_ps(v, v, 1));
    v = _mm256_min_ps(v, _mm256_permute_ps(v, 0x4E));
    return _mm256_min_ps(v, _mm256_permute_ps(v, 0xB1));
}

AVX2 static inline uint32_t lowest_ticket(const struct lanes *lanes) {
    __m256 at_least = _mm256_cmp_ps(lanes->best, least_of(lanes->best), _CMP_EQ_OQ);
    __m256i t = _mm256_blendv_epi8(_mm256_set1_epi32(INT32_MAX), lanes->tickets, _mm256_castps_si256(at_least));
    t = _mm256_min_epi32(t, _mm256_permute2x128_si256(t, t, 1));
    t = _mm256_min_epi32(t, _mm256_shuffle_epi32(t, 0x4E));
    t = _mm256_min_epi32(t, _mm256_shuffle_epi32(t, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(t));
}

AVX2 static inline float root_of_least(const struct lanes *lanes) {
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm256_castps256_ps128(least_of(lanes->best))));
}

AVX2 static uint32_t search_one(const struct spiral_rings *rings, float x, float y) {
    const __m128 square = _mm_set_ss(x * x + y * y);
    const struct query query = {_mm256_set1_ps(x), _mm256_set1_ps(y), _mm_cvtss_f32(_mm_sqrt_ss(square))};
    uint32_t start = spiral_rings_start(rings, query.rho), low = start, high = start + 1;
    float window = 0.85f * (rings->uniform ? 1 : rings->cell[spiral_rings_index(rings, query.rho)]);
    struct lanes lanes = {_mm256_set1_ps(__builtin_inff()), _mm256_setzero_si256()};
    try_above(rings, start, &query, &lanes);
    for (int pass = 0; pass < 2; pass++) {
        float reach = spiral_rings_reach(query.rho, window);
        while (high < rings->lanes && rings->radius[high * SPIRAL_LANES] <= query.rho + reach) {
            try_above(rings, high++, &query, &lanes);
        }
        while (low > 0 && rings->radius[low * SPIRAL_LANES - 1] >= query.rho - reach) {
            try_below(rings, --low, &query, &lanes);
        }
        window = root_of_least(&lanes);
    }
    return lowest_ticket(&lanes);
}

AVX2 void spiral_search_avx2(const struct spiral_rings *rings, const float *x, const float *y, uint64_t count,
                             uint16_t *tickets) {
    for (uint64_t i = 0; i < count; i++) tickets[i] = (uint16_t)search_one(rings, x[i], y[i]);
}

#else
typedef int spiral_search_avx2_is_empty;
#endif
