/* SPDX-License-Identifier: Apache-2.0
 *
 * The form for any processor, and the choice. */
#include "divergence.h"

#include <math.h>
#include <pthread.h>

#include "divergence_lanes.h"

void divergence_scalar(const float *p, const float *q, uint64_t count, struct divergence *result) {
    divergence_loops(p, q, count, result);
}

static pthread_once_t best_once = PTHREAD_ONCE_INIT;
static divergence_loop best = divergence_scalar;
static int level;

/* Asked once: under a hypervisor the question is not cheap. */
static void find_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        best = divergence_avx2;
        level = 1;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        best = divergence_avx512;
        level = 2;
    }
#endif
}

void divergence_of(const float *p, const float *q, uint64_t count, struct divergence *result) {
    pthread_once(&best_once, find_best);
    best(p, q, count, result);
}

int divergence_level(void) {
    pthread_once(&best_once, find_best);
    return level;
}

bool divergence_agrees(const struct divergence *divergence) {
    return isfinite(divergence->p_norm) && isfinite(divergence->q_norm) && divergence->p_best == divergence->q_best;
}
