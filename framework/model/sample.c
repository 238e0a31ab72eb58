/* SPDX-License-Identifier: Apache-2.0
 *
 * Candidates stand in a binary heap, the most probable on top (ties: the lower id first), and are taken off it only as
 * far as a rule needs them sorted. */
#include "sample.h"

#include <base/alloc.h>
#include <math.h>
#include <string.h>

/* A candidate e^-50 below the best has a probability below 2^-72: all of them together, be there 2^18, stay below the
 * 2^-53 that the random numbers resolve. */
#define NEGLIGIBLE 50.0

static tsr_status check_rules(const struct sampling *rules, tsr_error *err) {
    if (!(rules->temperature >= 0) || !isfinite(rules->temperature)) {
        return tsr_fail(err, TSR_E_CONFIG, "temperature: %g, expected 0 or more", rules->temperature);
    }
    if (!(rules->top_p >= 0 && rules->top_p <= 1)) {
        return tsr_fail(err, TSR_E_CONFIG, "top-p: %g, expected 0 to 1", rules->top_p);
    }
    if (!(rules->min_p >= 0 && rules->min_p <= 1)) {
        return tsr_fail(err, TSR_E_CONFIG, "min-p: %g, expected 0 to 1", rules->min_p);
    }
    if (!(rules->repetition_penalty >= 0) || !isfinite(rules->repetition_penalty)) {
        return tsr_fail(err, TSR_E_CONFIG, "repetition penalty: %g, expected more than 0", rules->repetition_penalty);
    }
    return TSR_OK;
}

tsr_status sampler_init(struct sampler *sampler, const struct sampling *rules, uint64_t vocabulary, tsr_error *err) {
    tsr_status st = check_rules(rules, err);
    if (st != TSR_OK) return st;
    *sampler = (struct sampler){.rules = *rules, .vocabulary = vocabulary};
    sampler->seen = mem_alloc_zero(vocabulary, sizeof *sampler->seen);
    sampler->candidates = mem_alloc_array(vocabulary, sizeof *sampler->candidates);
    sampler->weights = mem_alloc_array(vocabulary, sizeof *sampler->weights);
    if (!sampler->seen || !sampler->candidates || !sampler->weights) {
        return tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu candidates", (unsigned long long)vocabulary);
    }
    sampler->rng.state = rules->seed;
    return TSR_OK;
}

void sampler_clear(struct sampler *sampler) {
    mem_free(sampler->seen);
    mem_free(sampler->candidates);
    mem_free(sampler->weights);
    *sampler = (struct sampler){0};
}

void sampler_see(struct sampler *sampler, uint32_t token) {
    if (token < sampler->vocabulary) sampler->seen[token] = 1;
}

void sampler_forget(struct sampler *sampler) {
    memset(sampler->seen, 0, (size_t)sampler->vocabulary);
}

/* Keskar et al. 2019 (arXiv:1909.05858), section 4.1, with the sign rule that everyone added since. */
static void penalise(const struct sampler *sampler, float *logits) {
    float penalty = (float)sampler->rules.repetition_penalty;
    if (penalty == 0 || penalty == 1) return;
    for (uint64_t i = 0; i < sampler->vocabulary; i++) {
        if (sampler->seen[i]) logits[i] = logits[i] > 0 ? logits[i] / penalty : logits[i] * penalty;
    }
}

uint64_t sample_best(const float *logits, uint64_t count) {
    uint64_t best = count;
    for (uint64_t i = 0; i < count; i++) {
        if (!isnan(logits[i]) && (best == count || logits[i] > logits[best])) best = i;
    }
    return best;
}

/* ---- the heap ---- */

static bool is_before(const struct candidate *a, const struct candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

static void sift_down(struct candidate *heap, uint64_t count, uint64_t at) {
    struct candidate moving = heap[at];
    for (uint64_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && is_before(&heap[child + 1], &heap[child])) child++;
        if (!is_before(&heap[child], &moving)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

/* Moves the top behind the heap's end: after n calls the last n places hold the n best, the best last. */
static void take_top(struct candidate *heap, uint64_t *count) {
    struct candidate top = heap[0];
    heap[0] = heap[--*count];
    if (*count) sift_down(heap, *count, 0);
    heap[*count] = top;
}

/* Sorts the best `wanted` of `count` to the front. */
static void sort_best(struct candidate *heap, uint64_t count, uint64_t wanted) {
    uint64_t left = count;
    for (uint64_t i = count / 2; i-- > 0;) sift_down(heap, count, i);
    while (count - left < wanted) take_top(heap, &left);
    for (uint64_t i = 0, j = count - 1; i < j; i++, j--) {
        struct candidate held = heap[i];
        heap[i] = heap[j];
        heap[j] = held;
    }
}

/* ---- choosing ---- */

static double sum_of(const double *weights, uint64_t count) {
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += weights[i];
    return sum;
}

static void weigh(struct sampler *sampler, float best, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        sampler->weights[i] = exp(((double)sampler->candidates[i].logit - (double)best) / sampler->rules.temperature);
    }
}

/* How many of the sorted candidates top-p and min-p leave. Weights are relative to the best one's. */
static uint64_t cut(const struct sampler *sampler, uint64_t count) {
    double target = sampler->rules.top_p * sum_of(sampler->weights, count), reached = 0;
    uint64_t kept = 0;
    while (kept < count && (sampler->rules.top_p == 0 || reached < target)) reached += sampler->weights[kept++];
    while (kept > 1 && sampler->weights[kept - 1] < sampler->rules.min_p) kept--;
    return kept ? kept : 1;
}

static uint32_t draw(struct sampler *sampler, uint64_t count) {
    double target = rng_real(&sampler->rng) * sum_of(sampler->weights, count), reached = 0;
    uint64_t i = 0;
    for (; i + 1 < count; i++) {
        reached += sampler->weights[i];
        if (target < reached) break;
    }
    return sampler->candidates[i].token;
}

tsr_status sampler_next(struct sampler *sampler, float *logits, uint32_t *token, tsr_error *err) {
    const struct sampling *rules = &sampler->rules;
    uint64_t count = 0;
    penalise(sampler, logits);
    uint64_t best = sample_best(logits, sampler->vocabulary);
    if (best == sampler->vocabulary || !isfinite(logits[best])) {
        return tsr_fail(err, TSR_E_INPUT, "the model's logits are not finite");
    }
    *token = (uint32_t)best;
    if (rules->temperature == 0) return TSR_OK;
    double floor = (double)logits[best] - NEGLIGIBLE * rules->temperature;
    for (uint64_t i = 0; i < sampler->vocabulary; i++) {
        if ((double)logits[i] >= floor) sampler->candidates[count++] = (struct candidate){logits[i], (uint32_t)i};
    }
    uint64_t wanted = rules->top_k && rules->top_k < count ? rules->top_k : count;
    bool sorted = wanted < count || (rules->top_p > 0 && rules->top_p < 1) || rules->min_p > 0;
    if (sorted) sort_best(sampler->candidates, count, wanted);
    weigh(sampler, logits[best], wanted);
    *token = draw(sampler, sorted ? cut(sampler, wanted) : wanted);
    return TSR_OK;
}
