/* SPDX-License-Identifier: Apache-2.0
 *
 * From logits to a code, in the order of the official generation loop: repetition penalty over the set of codes chosen so
 * far, no end before two tokens, no control ids; then, when sampling, temperature, top-k and top-p. Ties go to the lowest
 * id. */
#include "graph.h"

#include <math.h>

#define SUPPRESSED 1024
#define MIN_TOKENS 2

void process_logits(const struct spec *spec, double penalty, const uint8_t *seen, uint64_t count, float *logits) {
    for (uint64_t i = 0; i < spec->vocabulary && penalty != 1; i++) {
        if (!seen[i]) continue;
        logits[i] = logits[i] < 0 ? logits[i] * (float)penalty : logits[i] / (float)penalty;
    }
    if (count < MIN_TOKENS) logits[spec->ids.eos] = -INFINITY;
    for (uint64_t i = spec->vocabulary - SUPPRESSED; i < spec->vocabulary; i++) {
        if (i != spec->ids.eos) logits[i] = -INFINITY;
    }
}

static uint32_t best_of(const float *logits, uint64_t count) {
    uint64_t best = 0;
    for (uint64_t i = 1; i < count; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return (uint32_t)best;
}

/* Uniform in [0, 1): splitmix64 (Steele, Lea, Flood 2014). */
static double next_real(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* Of equals the higher id is less probable. */
static bool is_less(const float *logits, uint32_t a, uint32_t b) {
    return logits[a] < logits[b] || (logits[a] == logits[b] && a > b);
}

/* Sinks order[at] in a heap of `count` whose root is the least probable. */
static void sink(const float *logits, uint32_t *order, uint64_t at, uint64_t count) {
    for (uint64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && is_less(logits, order[child + 1], order[child])) child++;
        if (!is_less(logits, order[child], order[at])) return;
        uint32_t swap = order[at];
        order[at] = order[child];
        order[child] = swap;
    }
}

/* Sorts order[count] from the most probable down. */
static void sort_down(const float *logits, uint32_t *order, uint64_t count) {
    for (uint64_t i = count / 2; i > 0; i--) sink(logits, order, i - 1, count);
    for (uint64_t end = count; end > 1; end--) {
        uint32_t swap = order[0];
        order[0] = order[end - 1];
        order[end - 1] = swap;
        sink(logits, order, 0, end - 1);
    }
}

/* Number of candidates that top-k leaves; ties with the last one stay, as in the official filter. */
static uint64_t cut_top_k(const float *logits, const uint32_t *order, uint64_t count, uint64_t top_k) {
    if (top_k == 0 || top_k >= count) return count;
    uint64_t kept = top_k;
    while (kept < count && logits[order[kept]] == logits[order[top_k - 1]]) kept++;
    return kept;
}

uint32_t choose(const struct chooser *chooser, const float *logits, uint64_t count, uint32_t *order, double *weights,
                uint64_t *state) {
    if (chooser->temperature <= 0) return best_of(logits, count);
    uint64_t kept = 0;
    double total = 0, sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (logits[i] > -INFINITY) order[kept++] = (uint32_t)i;
    }
    if (kept == 0) return best_of(logits, count);
    sort_down(logits, order, kept);
    kept = cut_top_k(logits, order, kept, chooser->top_k);
    for (uint64_t i = 0; i < kept; i++) {
        weights[i] = exp(((double)logits[order[i]] - (double)logits[order[0]]) / chooser->temperature);
        total += weights[i];
    }
    uint64_t nucleus = 0;
    for (; nucleus < kept && (nucleus == 0 || sum < chooser->top_p * total); nucleus++) sum += weights[nucleus];
    double at = next_real(state) * sum;
    for (uint64_t i = 0; i + 1 < nucleus; i++) {
        if ((at -= weights[i]) < 0) return order[i];
    }
    return order[nucleus - 1];
}
