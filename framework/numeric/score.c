/* SPDX-License-Identifier: Apache-2.0
 *
 * Scores in plain C: what the vector form must equal bit for bit. */
#include "score.h"

double score_sum(double lanes[SCORE_LANES]) {
    for (unsigned half = SCORE_LANES / 2; half; half /= 2) {
        for (unsigned i = 0; i < half; i++) lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

static double inner(const float *row, const float *x, uint64_t count) {
    double lanes[SCORE_LANES] = {0};
    for (uint64_t i = 0; i < count; i++) lanes[i % SCORE_LANES] += (double)row[i] * (double)x[i];
    return score_sum(lanes);
}

static double distance(const float *row, const float *x, uint64_t count) {
    double lanes[SCORE_LANES] = {0};
    for (uint64_t i = 0; i < count; i++) {
        double difference = (double)row[i] - (double)x[i];
        lanes[i % SCORE_LANES] += difference * difference;
    }
    return score_sum(lanes);
}

const struct score_kernels score_portable = {inner, distance};

const struct score_kernels *score_kernels(void) {
#if defined(__x86_64__)
    static int has_avx2 = -1; /* asking the processor is slow under virtualisation; a race asks twice */
    int known = __atomic_load_n(&has_avx2, __ATOMIC_RELAXED);
    if (known < 0) {
        known = __builtin_cpu_supports("avx2") != 0;
        __atomic_store_n(&has_avx2, known, __ATOMIC_RELAXED);
    }
    if (known) return &score_avx2;
#endif
    return &score_portable;
}
