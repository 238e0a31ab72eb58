/* SPDX-License-Identifier: Apache-2.0
 *
 * Codebook search in plain C: the specification of the others, and the choice among them at run time. */
#include "kmeans_body.h"

const struct kmeans_kernels *kmeans_kernels_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        return &kmeans_kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2")) return &kmeans_kernels_avx2;
#endif
    return &kmeans_kernels_portable;
}
