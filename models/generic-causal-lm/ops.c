/* SPDX-License-Identifier: Apache-2.0
 *
 * Norms and activations of one row. */
#include "ops.h"

#include <math.h>

static float norm_weight(const struct norm_rule *rule, const struct norm *norm, uint64_t i) {
    return norm->weight ? (float)(norm->weight[i] + rule->offset) : 1.0f;
}

static void rms_norm(const struct norm_rule *rule, const struct norm *norm, const float *x, float *y, uint64_t width) {
    float factor = (float)(1 / sqrt(rule->kernels->squares(x, width) / (double)width + rule->eps));
    if (norm->weight) {
        rule->kernels->scale(y, x, factor, norm->weight, (float)rule->offset, width);
        return;
    }
    for (uint64_t i = 0; i < width; i++) y[i] = x[i] * factor;
}

static void layer_norm(const struct norm_rule *rule, const struct norm *norm, const float *x, float *y, uint64_t width) {
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < width; i++) sum += (double)x[i];
    double mean = sum / (double)width;
    for (uint64_t i = 0; i < width; i++) {
        double distance = (double)x[i] - mean;
        squares += distance * distance;
    }
    double factor = 1 / sqrt(squares / (double)width + rule->eps);
    for (uint64_t i = 0; i < width; i++) {
        float value = (float)(((double)x[i] - mean) * factor) * norm_weight(rule, norm, i);
        y[i] = norm->bias ? value + norm->bias[i] : value;
    }
}

void norm_row(const struct norm_rule *rule, const struct norm *norm, const float *x, float *y, uint64_t width) {
    if (rule->kind == NORM_RMS) {
        rms_norm(rule, norm, x, y, width);
    } else {
        layer_norm(rule, norm, x, y, width);
    }
}

static float activate_one(int32_t activation, float x) {
    switch (activation) {
    case ACT_GELU: return 0.5f * x * (1 + erff(x * 0.7071067811865476f));
    case ACT_RELU: return x > 0 ? x : 0;
    case ACT_RELU2: return x > 0 ? x * x : 0;
    case ACT_TANH: return tanhf(x);
    case ACT_SIGMOID: return 1 / (1 + expf(-x));
    default: return x;
    }
}

/* GELU's fast form is 0.5 x (1 + tanh u) = x / (1 + exp(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3). */
void activate(const struct kernels *kernels, int32_t activation, float *x, uint64_t count) {
    const float twice = 2 * 0.7978845608028654f;
    switch (activation) {
    case ACT_SILU: kernels->gate(x, 1, 0, count); return;
    case ACT_QUICK_GELU: kernels->gate(x, 1.702f, 0, count); return;
    case ACT_GELU_TANH: kernels->gate(x, twice, twice * 0.044715f, count); return;
    default:
        for (uint64_t i = 0; i < count; i++) x[i] = activate_one(activation, x[i]);
    }
}

void alibi_slopes(uint64_t heads, float *slopes) {
    uint64_t power = 1;
    while (power * 2 <= heads) power *= 2;
    double base = pow(2, -8.0 / (double)power), extra = pow(2, -4.0 / (double)power);
    for (uint64_t i = 0; i < heads; i++) {
        bool beyond = i >= power;
        double exponent = beyond ? (double)(2 * (i - power) + 1) : (double)(i + 1);
        slopes[i] = (float)pow(beyond ? extra : base, exponent);
    }
}
