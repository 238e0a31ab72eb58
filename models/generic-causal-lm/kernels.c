/* SPDX-License-Identifier: Apache-2.0
 *
 * Scalar loops, and the choice between them and vector ones. */
#include "kernels.h"

static float dot(const float *a, const float *b, uint64_t count) {
    float sum[8] = {0};
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        for (int lane = 0; lane < 8; lane++) sum[lane] += a[i + (uint64_t)lane] * b[i + (uint64_t)lane];
    }
    for (int lane = 0; i < count; i++, lane++) sum[lane] += a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static void add_scaled(float *y, float scale, const float *x, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) y[i] += scale * x[i];
}

static const struct kernels SCALAR = {dot, add_scaled};

const struct kernels *kernels_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kernels_avx2;
#endif
    return &SCALAR;
}
