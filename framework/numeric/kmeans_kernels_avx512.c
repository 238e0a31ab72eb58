/* SPDX-License-Identifier: Apache-2.0
 *
 * Codebook search for AVX-512: a group of words in one register. */
#if defined(__x86_64__)

#include <immintrin.h>
#include <stdint.h>

static inline uint32_t below_avx512(const float *scores, float limit) {
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(scores), _mm512_set1_ps(limit), _CMP_LT_OQ);
}

static inline uint32_t at_most_avx512(const float *scores, float limit) {
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(scores), _mm512_set1_ps(limit), _CMP_LE_OQ);
}

#define WIDTH 16
#define AT_MOST at_most_avx512
#define KERNELS kmeans_kernels_avx512
#define BELOW below_avx512
#include "kmeans_body.h"

#else
typedef int kmeans_kernels_avx512_is_empty;
#endif
