/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums from tables in plain C, and the choice at run time. */
#include "rvq_kernel.h"

static void fill_table(const float *words, uint64_t dim, const float *x, float *table) {
    for (uint64_t k = 0; k < 256; k++) {
        float sum = 0;
        for (uint64_t i = 0; i < dim; i++) sum += words[i * 256 + k] * x[i];
        table[k] = sum;
    }
}

static void add_run(const struct rvq_run *run, float *sums) {
    for (uint64_t r = 0; r < run->rows; r++) {
        const float *table = run->tables;
        const uint8_t *index = run->indices + r;
        float sum = sums[r];
        for (uint64_t s = 0; s < run->stages; s++, table += 256, index += run->stride) sum += table[*index];
        sums[r] = sum;
    }
}

const struct rvq_kernels rvq_kernels_portable = {fill_table, add_run};

const struct rvq_kernels *rvq_kernels_get(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        return &rvq_kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2")) return &rvq_kernels_avx2;
#endif
    return &rvq_kernels_portable;
}
