/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths in plain C, one lane after the other: what the vector form must equal bit for bit. */
#include "trellis_path.h"

#include "shape.h"

#include <math.h>
#include <string.h>

/* The better of the two points of one parity around a, and its cost. */
static float choose(const float *costs, uint32_t quantiser, uint32_t parity, float a, int32_t *magnitude) {
    const uint32_t whole = (uint32_t)((a + (float)quantiser) * 0.5f);
    const uint32_t below = whole == 0 ? parity : whole - ((whole ^ parity) & 1), above = below + 2;
    float near = a - (float)index_point(quantiser, below), far = a - (float)index_point(quantiser, above);
    float near_cost = near * near + costs[below < TRELLIS_COSTS ? below : TRELLIS_COSTS - 1];
    float far_cost = far * far + costs[above < TRELLIS_COSTS ? above : TRELLIS_COSTS - 1];
    *magnitude = (int32_t)(far_cost < near_cost ? above : below);
    return far_cost < near_cost ? far_cost : near_cost;
}

static void advance(const struct trellis_code *code, const float branch[4], const float *metric, float *next,
                    uint8_t *before, uint32_t lane) {
    for (uint32_t s = 0; s < code->states; s++) {
        const uint32_t a = code->from[2 * s], b = code->from[2 * s + 1];
        float first = metric[a] + branch[2 * (a & 1) + code->with[2 * s]];
        float second = metric[b] + branch[2 * (b & 1) + code->with[2 * s + 1]];
        if (second < first) before[s] = (uint8_t)(before[s] | 1u << lane);
        next[s] = second < first ? second : first;
    }
}

static uint32_t least_of(const float *metric, uint32_t states) {
    uint32_t where = 0;
    for (uint32_t s = 1; s < states; s++) {
        if (metric[s] < metric[where]) where = s;
    }
    return where;
}

static int32_t scale_of(const struct trellis_strip *strip, uint64_t row, uint32_t lane) {
    const int32_t sum = strip->rows[row] + strip->columns[lane];
    return sum < 0 ? 0 : sum >= strip->scales ? strip->scales - 1 : sum;
}

static void find_lane(struct trellis_strip *strip, uint32_t lane) {
    const struct trellis_code *code = strip->code;
    float metrics[2][TRELLIS_STATES_MAX];
    for (uint32_t s = 0; s < code->states; s++) metrics[0][s] = s == strip->states[lane] ? 0 : TRELLIS_NEVER;
    for (uint64_t r = 0; r < strip->count; r++) {
        const float a = fabsf(strip->u[r * TRELLIS_LANES + lane]);
        const float *costs = strip->costs + 2 * TRELLIS_COSTS * scale_of(strip, r, lane);
        float branch[4], *metric = metrics[r % 2];
        for (uint32_t i = 0; i < 4; i++) {
            int32_t *choice = &strip->choices[(r * 4 + i) * TRELLIS_LANES + lane];
            branch[i] = choose(costs + i / 2 * TRELLIS_COSTS, i / 2, i % 2, a, choice);
        }
        if (r % TRELLIS_RENORMALISE == TRELLIS_RENORMALISE - 1) {
            float least = metric[least_of(metric, code->states)];
            for (uint32_t s = 0; s < code->states; s++) metric[s] -= least;
        }
        advance(code, branch, metric, metrics[(r + 1) % 2], strip->before + r * code->states, lane);
    }
    strip->states[lane] = (uint8_t)least_of(metrics[strip->count % 2], code->states);
}

void trellis_trace(struct trellis_strip *strip) {
    const struct trellis_code *code = strip->code;
    uint32_t states[TRELLIS_LANES];
    for (uint32_t lane = 0; lane < TRELLIS_LANES; lane++) states[lane] = strip->states[lane];
    for (uint64_t r = strip->count; r-- > 0;) {
        const uint8_t *before = strip->before + r * code->states;
        const int32_t *choices = strip->choices + r * 4 * TRELLIS_LANES;
        for (uint32_t lane = 0; lane < TRELLIS_LANES; lane++) {
            const uint32_t way = 2 * states[lane] + (before[states[lane]] >> lane & 1u);
            const uint32_t from = code->from[way];
            const int32_t magnitude = choices[(2 * (from & 1) + code->with[way]) * TRELLIS_LANES + lane];
            states[lane] = from;
            strip->indices[r * TRELLIS_LANES + lane] = strip->u[r * TRELLIS_LANES + lane] < 0 ? -magnitude : magnitude;
        }
    }
}

void trellis_find_portable(struct trellis_strip *strip) {
    memset(strip->before, 0, (size_t)(strip->count * strip->code->states));
    for (uint32_t lane = 0; lane < TRELLIS_LANES; lane++) find_lane(strip, lane);
    trellis_trace(strip);
}

trellis_find *trellis_find_get(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return trellis_find_avx2;
#endif
    return trellis_find_portable;
}
