/* SPDX-License-Identifier: Apache-2.0
 *
 * Ties go to the smaller magnitude and to the lower state, in F32 with a fixed order: the same path on every machine.
 */
#include "trellis_path.h"

#include <math.h>

enum { RENORMALISE = 128 }; /* rows between subtractions of the least metric, which keep sums exact enough */

static float cost_of(const struct trellis_costs *costs, uint32_t quantiser, uint32_t negative, uint32_t magnitude) {
    if (magnitude <= costs->limit) return costs->cost[quantiser][negative][magnitude];
    float cost = costs->escape[quantiser];
    for (; magnitude >= 64; magnitude >>= 1) cost += costs->escape_slope;
    return cost;
}

/* The better of the two points of one parity around a, and its cost. */
static float choose(const struct trellis_costs *costs, uint32_t quantiser, uint32_t parity, float a, uint32_t negative,
                    uint32_t *magnitude) {
    uint32_t whole = (uint32_t)((a + (float)quantiser) * 0.5f);
    uint32_t low = whole - ((whole ^ parity) & 1);
    if (whole == 0 && parity == 1) low = 1;
    const uint32_t high = low + 2;
    float near = a - (float)trellis_point(quantiser, low), far = a - (float)trellis_point(quantiser, high);
    float near_cost = near * near + cost_of(costs, quantiser, negative, low);
    float far_cost = far * far + cost_of(costs, quantiser, negative, high);
    *magnitude = far_cost < near_cost ? high : low;
    return far_cost < near_cost ? far_cost : near_cost;
}

/* branch[quantiser][parity], and the indices that it is for. */
static void branches(const struct trellis_costs *costs, float u, float branch[4], int32_t choices[4]) {
    const uint32_t negative = u < 0;
    const float a = fabsf(u);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t magnitude;
        branch[i] = choose(costs, i / 2, i % 2, a, negative, &magnitude);
        choices[i] = negative ? -(int32_t)magnitude : (int32_t)magnitude;
    }
}

static void advance(const struct trellis_code *code, const float branch[4], const float *metric, float *next,
                    uint8_t *before) {
    for (uint32_t s = 0; s < code->states; s++) {
        const uint32_t a = code->from[2 * s], b = code->from[2 * s + 1];
        float first = metric[a] + branch[2 * (a & 1) + code->with[2 * s]];
        float second = metric[b] + branch[2 * (b & 1) + code->with[2 * s + 1]];
        before[s] = second < first;
        next[s] = second < first ? second : first;
    }
}

static float least_of(const float *metric, uint32_t states, uint32_t *where) {
    *where = 0;
    for (uint32_t s = 1; s < states; s++) {
        if (metric[s] < metric[*where]) *where = s;
    }
    return metric[*where];
}

void trellis_path_find(const struct trellis_column *column) {
    const struct trellis_code *code = column->code;
    const uint32_t states = code->states;
    float metrics[2][TRELLIS_STATES_MAX];
    uint32_t state;
    for (uint32_t s = 0; s < states; s++) metrics[0][s] = s == 0 ? 0 : 1e30f;
    for (uint64_t r = 0; r < column->count; r++) {
        float branch[4], *metric = metrics[r % 2];
        branches(column->costs[r], column->u[r], branch, column->choices[r]);
        if (r % RENORMALISE == RENORMALISE - 1) {
            float least = least_of(metric, states, &state);
            for (uint32_t s = 0; s < states; s++) metric[s] -= least;
        }
        advance(code, branch, metric, metrics[(r + 1) % 2], column->before + r * states);
    }
    (void)least_of(metrics[column->count % 2], states, &state);
    for (uint64_t r = column->count; r-- > 0;) {
        uint32_t way = 2 * state + column->before[r * states + state];
        uint32_t parity = code->with[way];
        state = code->from[way];
        column->indices[r] = column->choices[r][2 * (state & 1) + parity];
    }
}
