/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner products in plain C: what the vector ones must equal bit for bit. No fused multiply-add (-ffp-contract=off). */
#include "hhtld_kernel.h"

float hhtld_kernel_sum(float lanes[HHTLD_KERNEL_LANES]) {
    for (unsigned half = HHTLD_KERNEL_LANES / 2; half; half /= 2) {
        for (unsigned i = 0; i < half; i++) lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

static float dot(const float *a, const float *b, uint64_t count) {
    float lanes[HHTLD_KERNEL_LANES] = {0};
    for (uint64_t i = 0; i < count; i++) lanes[i % HHTLD_KERNEL_LANES] += a[i] * b[i];
    return hhtld_kernel_sum(lanes);
}

static float dot_codes(const int8_t *codes, const float *x, uint64_t count) {
    float lanes[HHTLD_KERNEL_LANES] = {0};
    for (uint64_t i = 0; i < count; i++) lanes[i % HHTLD_KERNEL_LANES] += (float)codes[i] * x[i];
    return hhtld_kernel_sum(lanes);
}

const struct hhtld_kernels hhtld_kernels_portable = {dot, dot_codes};

const struct hhtld_kernels *hhtld_kernels_get(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return &hhtld_kernels_avx2;
#endif
    return &hhtld_kernels_portable;
}
