/* SPDX-License-Identifier: Apache-2.0
 *
 * Scalar loops, and the choice between them and vector ones. */
#include "kernels.h"

#include <math.h>

#include "sine.h"

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

/* sin^2 has the period pi: x - round(x / pi) pi in three steps (Cody and Waite 1980), then an odd polynomial. Arguments
 * beyond SINE_LIMIT, where the steps lose bits, go to libm. */
static float sine_squared(float x) {
    if (!(fabsf(x) < SINE_LIMIT)) {
        float sine = sinf(x);
        return sine * sine;
    }
    float turns = rintf(x * SINE_INVERSE_PI);
    float r = ((x - turns * SINE_PI_1) - turns * SINE_PI_2) - turns * SINE_PI_3, s = r * r;
    float sine = r + r * s * (SINE_C3 + s * (SINE_C5 + s * (SINE_C7 + s * (SINE_C9 + s * SINE_C11))));
    return sine * sine;
}

static void snake(const float *x, const float *frequency, const float *factor, float *y, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) y[i] = x[i] + factor[i] * sine_squared(frequency[i] * x[i]);
}

static const struct kernels SCALAR = {dot, add_scaled, snake};

const struct kernels *speech_kernels_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &speech_kernels_avx2;
#endif
    return &SCALAR;
}
