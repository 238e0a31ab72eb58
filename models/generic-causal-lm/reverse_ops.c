/* SPDX-License-Identifier: Apache-2.0
 *
 * Reverses of ops.c: with f(x) a row's norm, and so on, J^T g for its Jacobian J. Sums in double, as on the way there. */
#include "reverse.h"

#include <math.h>

#define SQRT_HALF 0.7071067811865476f
#define INVERSE_SQRT_2PI 0.3989422804014327f
#define SQRT_2_OVER_PI 0.7978845608028654f
#define GELU_CUBIC 0.044715f

static double scaled_gradient(const struct norm_rule *rule, const struct norm *norm, const float *g, uint64_t i) {
    return norm->weight ? (double)g[i] * ((double)norm->weight[i] + rule->offset) : (double)g[i];
}

/* y = w x / rms: J^T g = (w g - x mean(w g x) / rms^2) / rms. */
static void reverse_rms(const struct norm_rule *rule, const struct norm *norm, const float *x, const float *g, float *to,
                        uint64_t width) {
    double factor = 1 / sqrt(rule->kernels->squares(x, width) / (double)width + rule->eps), along = 0;
    for (uint64_t i = 0; i < width; i++) along += scaled_gradient(rule, norm, g, i) * (double)x[i];
    along *= factor * factor / (double)width;
    for (uint64_t i = 0; i < width; i++) {
        to[i] = (float)(factor * (scaled_gradient(rule, norm, g, i) - (double)x[i] * along));
    }
}

/* y = w (x - mean) / deviation + b: with u = (x - mean) / deviation, J^T g = (w g - mean(w g) - u mean(w g u)) / deviation. */
static void reverse_layer_norm(const struct norm_rule *rule, const struct norm *norm, const float *x, const float *g,
                               float *to, uint64_t width) {
    double n = (double)width, mean = 0, squares = 0, level = 0, along = 0;
    for (uint64_t i = 0; i < width; i++) mean += (double)x[i] / n;
    for (uint64_t i = 0; i < width; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double factor = 1 / sqrt(squares / n + rule->eps);
    for (uint64_t i = 0; i < width; i++) {
        double value = scaled_gradient(rule, norm, g, i);
        level += value / n;
        along += value * ((double)x[i] - mean) * factor / n;
    }
    for (uint64_t i = 0; i < width; i++) {
        double u = ((double)x[i] - mean) * factor;
        to[i] = (float)(factor * (scaled_gradient(rule, norm, g, i) - level - u * along));
    }
}

void reverse_norm_row(const struct norm_rule *rule, const struct norm *norm, const float *x, const float *g, float *to,
                      uint64_t width) {
    if (rule->kind == NORM_RMS) {
        reverse_rms(rule, norm, x, g, to, width);
    } else {
        reverse_layer_norm(rule, norm, x, g, to, width);
    }
}

static float sigmoid_of(float x) {
    return 1 / (1 + expf(-x));
}

/* x s(u(x)) for the sigmoid s: SiLU and the fast forms of GELU. */
static void gate_slope(float x, float u, float u_slope, float *value, float *slope) {
    float s = sigmoid_of(u);
    *value = x * s;
    *slope = s + x * s * (1 - s) * u_slope;
}

void activation_slope(int32_t activation, float x, float *value, float *slope) {
    const float twice = 2 * SQRT_2_OVER_PI;
    switch (activation) {
    case ACT_SILU: gate_slope(x, x, 1, value, slope); return;
    case ACT_QUICK_GELU: gate_slope(x, 1.702f * x, 1.702f, value, slope); return;
    case ACT_GELU_TANH:
        gate_slope(x, twice * x * (1 + GELU_CUBIC * x * x), twice * (1 + 3 * GELU_CUBIC * x * x), value, slope);
        return;
    case ACT_GELU: {
        float part = 0.5f * (1 + erff(x * SQRT_HALF));
        *value = x * part;
        *slope = part + x * INVERSE_SQRT_2PI * expf(-0.5f * x * x);
        return;
    }
    case ACT_RELU: *value = x > 0 ? x : 0, *slope = x > 0 ? 1 : 0; return;
    case ACT_RELU2: *value = x > 0 ? x * x : 0, *slope = x > 0 ? 2 * x : 0; return;
    case ACT_TANH: *value = tanhf(x), *slope = 1 - *value * *value; return;
    case ACT_SIGMOID: *value = sigmoid_of(x), *slope = *value * (1 - *value); return;
    default: *value = x, *slope = 1;
    }
}

void reverse_rotate(const struct rope_table *table, int32_t kind, uint64_t row, float *head) {
    const float *cosines = table->cosines + row * table->pairs, *sines = table->sines + row * table->pairs;
    for (uint64_t i = 0; i < table->pairs; i++) {
        float *a = kind == ROPE_HALF ? head + i : head + 2 * i;
        float *b = kind == ROPE_HALF ? head + table->pairs + i : head + 2 * i + 1;
        float x = *a, y = *b;
        *a = x * cosines[i] + y * sines[i];
        *b = y * cosines[i] - x * sines[i];
    }
}
