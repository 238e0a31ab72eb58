/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner products in plain C: what the vector ones must equal bit for bit. No fused multiply-add (-ffp-contract=off). */
#include "products.h"

float products_sum(float lanes[PRODUCTS_LANES]) {
    for (unsigned half = PRODUCTS_LANES / 2; half; half /= 2) {
        for (unsigned i = 0; i < half; i++) lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

static float dot(const float *a, const float *b, uint64_t count) {
    float lanes[PRODUCTS_LANES] = {0};
    for (uint64_t i = 0; i < count; i++) lanes[i % PRODUCTS_LANES] += a[i] * b[i];
    return products_sum(lanes);
}

static float dot_codes(const int8_t *codes, const float *x, uint64_t count) {
    float lanes[PRODUCTS_LANES] = {0};
    for (uint64_t i = 0; i < count; i++) lanes[i % PRODUCTS_LANES] += (float)codes[i] * x[i];
    return products_sum(lanes);
}

const tsr_products products_portable = {sizeof(tsr_products), dot, dot_codes};

const tsr_products *products_services(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return &products_avx2;
#endif
    return &products_portable;
}
