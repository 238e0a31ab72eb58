/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums from tables by gathers, eight rows at a time. */
#include "rvq_kernel.h"

#if defined(__x86_64__)

#include <immintrin.h>

/* Without -mavx2 too, as the tests compile it. */
__attribute__((target("avx2"))) static void fill_table(const float *words, uint64_t dim, const float *x, float *table) {
    for (uint64_t k = 0; k < 256; k += 8) {
        __m256 sum = _mm256_setzero_ps();
        for (uint64_t i = 0; i < dim; i++) {
            sum = _mm256_add_ps(sum, _mm256_mul_ps(_mm256_loadu_ps(words + i * 256 + k), _mm256_set1_ps(x[i])));
        }
        _mm256_storeu_ps(table + k, sum);
    }
}

__attribute__((target("avx2"))) static void add_run(const struct rvq_run *run, float *sums) {
    uint64_t r = 0;
    for (; r + 8 <= run->rows; r += 8) {
        const float *table = run->tables;
        const uint8_t *index = run->indices + r;
        __m256 sum = _mm256_loadu_ps(sums + r);
        for (uint64_t s = 0; s < run->stages; s++, table += 256, index += run->stride) {
            __m256i at = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)index));
            sum = _mm256_add_ps(sum, _mm256_i32gather_ps(table, at, 4));
        }
        _mm256_storeu_ps(sums + r, sum);
    }
    struct rvq_run rest = *run;
    rest.indices += r;
    rest.rows -= r;
    rvq_kernels_portable.add_run(&rest, sums + r);
}

const struct rvq_kernels rvq_kernels_avx2 = {fill_table, add_run};

#else
typedef int rvq_kernel_avx2_is_empty;
#endif
