/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner loops in plain C: what the vector ones must equal bit for bit. No fused multiply-add (-ffp-contract=off). */
#include "scalar_kernel.h"

#include <math.h>

static double energy(const float *x, uint64_t count, float *largest) {
    double lanes[8] = {0};
    float most = 0;
    for (uint64_t i = 0; i < count; i++) {
        double value = (double)x[i];
        float magnitude = fabsf(x[i]);
        lanes[i % 8] += value * value;
        most = magnitude > most ? magnitude : most;
    }
    *largest = most;
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static double spread(const float *x, const float *gain, uint64_t count) {
    double lanes[8] = {0};
    for (uint64_t i = 0; i < count; i++) lanes[i % 8] += (double)x[i] * (double)x[i] * (double)gain[i];
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static void contexts(const int8_t *columns, uint64_t count, int32_t row, int32_t last, uint8_t *found) {
    for (uint64_t i = 0; i < count; i++) {
        const int32_t sum = row + columns[i];
        found[i] = (uint8_t)(sum < 0 ? 0 : sum > last ? last : sum);
    }
}

static uint64_t quantise(const float *x, uint64_t count, const struct scalar_quantiser *quantiser, uint16_t *symbols) {
    const uint32_t middle = quantiser->middle;
    uint64_t escapes = 0;
    for (uint64_t i = 0; i < count; i++) {
        float scaled = fabsf(x[i]) * quantiser->inverse;
        int32_t magnitude = (int32_t)(scaled + quantiser->rounding);
        int32_t index = x[i] < 0 ? -magnitude : magnitude;
        int escaped = magnitude > (int32_t)quantiser->limit;
        symbols[i] = (uint16_t)(escaped ? 2 * middle + 1 : middle + (uint32_t)index);
        escapes += (uint64_t)escaped;
    }
    return escapes;
}

static uint64_t reconstruct(const uint16_t *symbols, uint64_t count, const float *values, float step, uint32_t escape,
                            float *x) {
    uint64_t escapes = 0;
    for (uint64_t i = 0; i < count; i++) {
        x[i] = values[symbols[i]] * step;
        escapes += symbols[i] == escape;
    }
    return escapes;
}

const struct scalar_kernels scalar_kernels_portable = {energy, spread, contexts, quantise, reconstruct};

const struct scalar_kernels *scalar_kernels_get(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return &scalar_kernels_avx2;
#endif
    return &scalar_kernels_portable;
}
