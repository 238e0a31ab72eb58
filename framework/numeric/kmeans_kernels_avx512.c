/* SPDX-License-Identifier: Apache-2.0
 *
 * Codebook search for AVX-512: a group of words in one register. */
#if defined(__x86_64__)

#include <immintrin.h>
#include <stdint.h>

static inline uint32_t below_avx512(const float *scores, float limit) {
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(scores), _mm512_set1_ps(limit), _CMP_LT_OQ);
}

static inline uint32_t nearest_of_avx512(__m512 low, __m512i at) {
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i word = _mm512_or_si512(_mm512_slli_epi32(at, 4), lane);
    const __mmask16 best = _mm512_cmp_ps_mask(low, _mm512_set1_ps(_mm512_reduce_min_ps(low)), _CMP_EQ_OQ);
    return _mm512_mask_reduce_min_epu32(best, word);
}

#define WIDTH 16
#define KEEP_LOWER(low, at, score, slot)                                                                               \
    do {                                                                                                               \
        const __mmask16 lower = _mm512_cmp_ps_mask((__m512)(score), (__m512)(low), _CMP_LT_OQ);                        \
        low = (lanes)_mm512_mask_mov_ps((__m512)(low), lower, (__m512)(score));                                        \
        at = (mask)_mm512_mask_mov_epi32((__m512i)(at), lower, (__m512i)(slot));                                       \
    } while (0)
#define NEAREST_OF(kept) nearest_of_avx512((__m512)(kept)->low, (__m512i)(kept)->at)
#define LOWER(a, b) ((lanes)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define KERNELS kmeans_kernels_avx512
#define BELOW below_avx512
#include "kmeans_body.h"

#else
typedef int kmeans_kernels_avx512_is_empty;
#endif
