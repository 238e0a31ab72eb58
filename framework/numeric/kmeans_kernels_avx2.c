/* SPDX-License-Identifier: Apache-2.0
 *
 * Codebook search for AVX2: a group of words in two registers. */
#if defined(__x86_64__)

#include <immintrin.h>
#include <stdint.h>

static inline uint32_t below_avx2(const float *scores, float limit) {
    const __m256 bound = _mm256_set1_ps(limit);
    int low = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(scores), bound, _CMP_LT_OQ));
    int high = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(scores + 8), bound, _CMP_LT_OQ));
    return (uint32_t)low | (uint32_t)high << 8;
}

#define WIDTH 8
#define KEEP_LOWER(low, at, score, slot)                                                                               \
    do {                                                                                                               \
        const __m256 lower = _mm256_cmp_ps((__m256)(score), (__m256)(low), _CMP_LT_OQ);                                \
        low = (lanes)_mm256_blendv_ps((__m256)(low), (__m256)(score), lower);                                          \
        at = (mask)_mm256_blendv_ps((__m256)(at), (__m256)(slot), lower);                                              \
    } while (0)
#define LOWER(a, b) ((lanes)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define KERNELS kmeans_kernels_avx2
#define BELOW below_avx2
#include "kmeans_body.h"

#else
typedef int kmeans_kernels_avx2_is_empty;
#endif
