/* SPDX-License-Identifier: Apache-2.0
 *
 * Portable form: widens a strip of the row, then sums in eight lanes. */
#include "dense_kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <format/dtype.h>
#include <pthread.h>
#include <stddef.h>

#define STRIP 256

static float dot_strip(const float *a, const float *b, uint64_t count, float sum[8]) {
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        for (int lane = 0; lane < 8; lane++) sum[lane] += a[i + (uint64_t)lane] * b[i + (uint64_t)lane];
    }
    for (int lane = 0; i < count; i++, lane++) sum[lane] += a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static void dot_rows(int32_t dtype, const uint8_t *data, uint64_t rows, uint64_t columns, const float *x, float *y) {
    uint64_t bytes = dtype_bits(dtype) / 8;
    float strip[STRIP];
    for (uint64_t r = 0; r < rows; r++) {
        float sum[8] = {0};
        y[r] = 0;
        for (uint64_t c = 0; c < columns; c += STRIP) {
            uint64_t count = columns - c < STRIP ? columns - c : STRIP;
            dtype_to_f32(dtype, data + (r * columns + c) * bytes, count, strip);
            y[r] = dot_strip(strip, x + c, count, sum);
        }
    }
}

const struct dense_kernels dense_kernels_scalar = {dot_rows, NULL, NULL};

static pthread_once_t best_once = PTHREAD_ONCE_INIT;
static const struct dense_kernels *best = &dense_kernels_scalar;

/* Asked once: under a hypervisor the question takes as long as a small product. */
static void find_best(void) {
#if defined(__x86_64__)
    /* clang 14 has no name for F16C. */
    unsigned a, b, c, d;
    bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    if (!f16c || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return;
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    best = avx512 ? &dense_kernels_avx512 : &dense_kernels_avx2;
#endif
}

const struct dense_kernels *dense_kernels_best(void) {
    pthread_once(&best_once, find_best);
    return best;
}
