/* SPDX-License-Identifier: Apache-2.0
 *
 * Scalar loops, and the choice between them and vector ones. */
#include "kernels.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static float fold(float sum[KERNEL_LANES]) {
    for (int width = KERNEL_LANES / 2; width; width /= 2) {
        for (int i = 0; i < width; i++) sum[i] += sum[i + width];
    }
    return sum[0];
}

static float exp_of(float x) {
    static const float terms[] = EXP_TERMS;
    if (isnan(x)) return x;
    x = x < EXP_LOWEST ? EXP_LOWEST : x > EXP_HIGHEST ? EXP_HIGHEST : x;
    float rounded = x * EXP_LOG2E + EXP_ROUND, n = rounded - EXP_ROUND;
    float r = (x - n * EXP_LN2_HIGH) - n * EXP_LN2_LOW, sum = terms[0];
    for (int i = 1; i < 6; i++) sum = sum * r + terms[i];
    float power = (sum * (r * r) + r) + 1.0f;
    uint32_t bits, exponent;
    memcpy(&bits, &power, sizeof bits);
    memcpy(&exponent, &rounded, sizeof exponent);
    bits += exponent << 23;
    memcpy(&power, &bits, sizeof power);
    return power;
}

static void multiply(const struct kernel_product *product) {
    for (uint64_t r = 0; r < product->rows; r++) {
        const float *a = product->a + r * product->a_stride;
        float *c = product->c + r * product->c_stride;
        memset(c, 0, product->columns * sizeof *c);
        for (uint64_t k = 0; k < product->depth; k++) {
            const float *b = product->b + k * product->b_stride;
            for (uint64_t j = 0; j < product->columns; j++) c[j] += a[k] * b[j];
        }
    }
}

static float exponentials(float *row, uint64_t first, uint64_t end, uint64_t width) {
    float sum[KERNEL_LANES] = {0}, largest = -INFINITY;
    for (uint64_t i = first; i < end; i++) largest = row[i] > largest ? row[i] : largest;
    for (uint64_t i = 0; i < width; i++) {
        row[i] = i >= first && i < end ? exp_of(row[i] - largest) : 0;
        sum[i % KERNEL_LANES] += row[i];
    }
    return fold(sum);
}

static void add_scaled(float *y, float scale, const float *x, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) y[i] += scale * x[i];
}

static double squares(const float *x, uint64_t count) {
    double sum[KERNEL_LANES] = {0};
    for (uint64_t i = 0; i < count; i++) sum[i % KERNEL_LANES] += (double)x[i] * (double)x[i];
    for (int width = KERNEL_LANES / 2; width; width /= 2) {
        for (int i = 0; i < width; i++) sum[i] += sum[i + width];
    }
    return sum[0];
}

static void scale(float *y, const float *x, float factor, const float *weight, float offset, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) y[i] = x[i] * factor * (weight[i] + offset);
}

static void multiply_by(float *y, const float *x, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) y[i] *= x[i];
}

static void gate(float *x, float linear, float cubic, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        float u = x[i] * (linear + cubic * (x[i] * x[i]));
        x[i] = x[i] / (1.0f + exp_of(0.0f - u));
    }
}

const struct kernels kernels_scalar = {multiply, exponentials, add_scaled, squares, scale, multiply_by, gate};

const struct kernels *kernels_best(void) {
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return &kernels_scalar;
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return avx512 ? &kernels_avx512 : &kernels_avx2;
#else
    return &kernels_scalar;
#endif
}
