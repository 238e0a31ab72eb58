/* SPDX-License-Identifier: Apache-2.0
 *
 * Feed-forward parts: gated, fused or plain MLP, and mixtures of experts. In a mixture the tokens of each expert are
 * gathered, so an expert's weights are read once a chunk; a token's result is summed in the order of its choices. */
#include "graph.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* The inner part of one MLP, by tokens. */
struct inner {
    float *gate, *up; /* fused: rows [gate | up] in `gate` */
    uint64_t width;
};

/* Rows [gate | up] of a fused projection: the gate half of each row becomes act(gate) * up. */
static void combine_fused(const struct pass *pass, const void *ctx, uint64_t first, uint64_t end) {
    const struct inner *inner = ctx;
    const struct kernels *kernels = pass->model->kernels;
    for (uint64_t t = first; t < end; t++) {
        float *gate = inner->gate + t * 2 * inner->width;
        activate(kernels, pass->model->spec.activation, gate, inner->width);
        kernels->multiply_by(gate, gate + inner->width, inner->width);
    }
}

static void combine(const struct pass *pass, const void *ctx, uint64_t first, uint64_t end) {
    const struct inner *inner = ctx;
    const struct kernels *kernels = pass->model->kernels;
    uint64_t at = first * inner->width, count = (end - first) * inner->width;
    bool gated = pass->model->spec.mlp == MLP_GATED;
    activate(kernels, pass->model->spec.activation, (gated ? inner->gate : inner->up) + at, count);
    if (gated) kernels->multiply_by(inner->up + at, inner->gate + at, count);
}

tsr_status run_one(struct pass *pass, const struct mlp_weights *mlp, const float *x, uint64_t tokens, float *out,
                   tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    struct workspace *work = pass->work;
    struct inner inner = {work->gate, work->up, mlp->down.columns};
    tsr_status st;
    if (spec->mlp == MLP_FUSED) {
        st = apply_linear(pass, &mlp->gate, x, tokens, work->gate, err);
        if (st == TSR_OK) st = for_tokens(pass, tokens, combine_fused, &inner, err);
        if (st != TSR_OK) return st;
        for (uint64_t t = 1; t < tokens; t++) { /* rows are packed in order: each moves down onto ones that have moved */
            memmove(work->gate + t * inner.width, work->gate + t * 2 * inner.width, inner.width * sizeof *work->gate);
        }
        return apply_linear(pass, &mlp->down, work->gate, tokens, out, err);
    }
    const struct linear *const linears[] = {&mlp->up, &mlp->gate};
    st = apply_linears(pass, linears, spec->mlp == MLP_GATED ? 2 : 1, x, tokens, (float *const[]){work->up, work->gate}, err);
    if (st == TSR_OK) st = for_tokens(pass, tokens, combine, &inner, err);
    if (st != TSR_OK) return st;
    return apply_linear(pass, &mlp->down, work->up, tokens, out, err);
}

/* ---- mixture of experts ---- */

static void sigmoid(float *row, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) row[i] = 1 / (1 + expf(-row[i]));
}

static void softmax(float *row, uint64_t count) {
    float largest = -INFINITY, sum = 0;
    for (uint64_t i = 0; i < count; i++) largest = fmaxf(largest, row[i]);
    for (uint64_t i = 0; i < count; i++) {
        row[i] = expf(row[i] - largest);
        sum += row[i];
    }
    for (uint64_t i = 0; i < count; i++) row[i] /= sum;
}

/* Index of the largest value, the first among equals, which becomes -infinity: "taken". Values must have passed
 * `comparable`, else one place could be taken twice. */
static uint64_t take_largest(float *values, uint64_t count) {
    uint64_t best = 0;
    for (uint64_t i = 1; i < count; i++) {
        if (values[i] > values[best]) best = i;
    }
    values[best] = -INFINITY;
    return best;
}

/* A score that is above "taken" and in order with others, whatever the weights made of it: NaN is the least. */
static float comparable(float score) {
    return fmaxf(score, -FLT_MAX);
}

/* Sum of the two best choices of each group (DeepSeek-V3), or the best one (DeepSeek-V2). */
static float group_score(const float *choice, uint64_t count, bool top2) {
    float best = -INFINITY, second = -INFINITY;
    for (uint64_t i = 0; i < count; i++) {
        if (choice[i] > best) {
            second = best;
            best = choice[i];
        } else if (choice[i] > second) {
            second = choice[i];
        }
    }
    return top2 && count > 1 ? best + second : best;
}

/* Experts outside the chosen groups get 0, as published: they can still be chosen if all others are below. */
static void mask_groups(const struct spec *spec, float *choice, float *scores) {
    uint64_t size = spec->experts / spec->expert_groups;
    for (uint64_t g = 0; g < spec->expert_groups; g++) {
        scores[g] = comparable(group_score(choice + g * size, size, spec->router_group_top2));
    }
    for (uint64_t kept = 0; kept < spec->expert_groups_chosen; kept++) (void)take_largest(scores, spec->expert_groups);
    for (uint64_t g = 0; g < spec->expert_groups; g++) {
        if (scores[g] != -INFINITY) memset(choice + g * size, 0, size * sizeof *choice);
    }
}

/* Chooses the experts of one token from its router logits; `choice` has room for experts + groups values. */
static void route_token(const struct spec *spec, const float *correction, float *logits, float *choice, uint32_t *chosen,
                        float *weights) {
    float sum = 0;
    if (spec->router == ROUTER_SIGMOID) {
        sigmoid(logits, spec->experts);
    } else {
        softmax(logits, spec->experts);
    }
    for (uint64_t e = 0; e < spec->experts; e++) choice[e] = comparable(logits[e] + (correction ? correction[e] : 0));
    if (spec->expert_groups > 1) mask_groups(spec, choice, choice + spec->experts);
    for (uint64_t i = 0; i < spec->experts_per_token; i++) {
        uint64_t best = take_largest(choice, spec->experts);
        chosen[i] = (uint32_t)best;
        weights[i] = logits[best];
        sum += weights[i];
    }
    if (spec->router == ROUTER_SIGMOID) sum += 1e-20f;
    for (uint64_t i = 0; i < spec->experts_per_token; i++) {
        if (spec->expert_normalise) weights[i] /= sum;
        weights[i] *= (float)spec->routed_scale;
    }
}

void route_tokens(struct pass *pass) {
    const struct spec *spec = &pass->model->spec;
    const float *correction = pass->model->weights.layer[pass->layer].router_correction;
    struct workspace *work = pass->work;
    float *choice = work->router + work->tokens * spec->experts;
    for (uint64_t t = 0; t < work->tokens; t++) {
        route_token(spec, correction, work->router + t * spec->experts, choice, work->chosen + t * spec->experts_per_token,
                    work->chosen_weight + t * spec->experts_per_token);
    }
}

/* At most one row of each token. */
uint64_t gather_tokens(struct pass *pass, uint32_t expert, const float *x) {
    const struct spec *spec = &pass->model->spec;
    struct workspace *work = pass->work;
    uint64_t count = 0;
    for (uint64_t at = 0; at < work->tokens * spec->experts_per_token; at++) {
        if (work->chosen[at] != expert) continue;
        memcpy(work->expert_in + count * spec->hidden, x + at / spec->experts_per_token * spec->hidden,
               spec->hidden * sizeof *x);
        work->gathered[count++] = (uint32_t)at;
    }
    return count;
}

tsr_status run_experts(struct pass *pass, const struct layer_weights *layer, const float *x, float *answer, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    struct workspace *work = pass->work;
    for (uint32_t e = 0; e < spec->experts; e++) {
        uint64_t count = gather_tokens(pass, e, x);
        if (count == 0) continue;
        tsr_status st = run_one(pass, &layer->experts[e], work->expert_in, count, answer, err);
        if (st != TSR_OK) return st;
        for (uint64_t i = 0; i < count; i++) {
            memcpy(work->routed + work->gathered[i] * spec->hidden, answer + i * spec->hidden, spec->hidden * sizeof *x);
        }
    }
    return TSR_OK;
}

static void sum_choices(const struct pass *pass, float *out) {
    const struct spec *spec = &pass->model->spec;
    const struct workspace *work = pass->work;
    memset(out, 0, work->tokens * spec->hidden * sizeof *out);
    for (uint64_t at = 0; at < work->tokens * spec->experts_per_token; at++) {
        pass->model->kernels->add_scaled(out + at / spec->experts_per_token * spec->hidden, work->chosen_weight[at],
                                         work->routed + at * spec->hidden, spec->hidden);
    }
}

/* Adds the expert that every token passes, behind its own sigmoid gate where there is one. */
static tsr_status add_shared(struct pass *pass, const struct layer_weights *layer, const float *x, float *out,
                             tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    struct workspace *work = pass->work;
    float *answer = work->expert_in, *gates = work->router;
    if (!layer->shared.down.op) return TSR_OK;
    tsr_status st = run_one(pass, &layer->shared, x, work->tokens, answer, err);
    if (st == TSR_OK && layer->shared_gate.op) {
        st = apply_linear(pass, &layer->shared_gate, x, work->tokens, gates, err);
        sigmoid(gates, work->tokens);
    }
    for (uint64_t t = 0; t < work->tokens && st == TSR_OK; t++) {
        float gate = layer->shared_gate.op ? gates[t] : 1;
        pass->model->kernels->add_scaled(out + t * spec->hidden, gate, answer + t * spec->hidden, spec->hidden);
    }
    return st;
}

static tsr_status run_mixture(struct pass *pass, const struct layer_weights *layer, const float *x, float *out,
                              tsr_error *err) {
    struct workspace *work = pass->work;
    tsr_status st = apply_linear(pass, &layer->router, x, work->tokens, work->router, err);
    if (st != TSR_OK) return st;
    route_tokens(pass);
    st = run_experts(pass, layer, x, out, err);
    if (st != TSR_OK) return st;
    sum_choices(pass, out);
    return add_shared(pass, layer, x, out, err);
}

tsr_status run_mlp(struct pass *pass, const float *x, float *out, tsr_error *err) {
    const struct layer_weights *layer = &pass->model->weights.layer[pass->layer];
    if (pass->model->spec.layer[pass->layer].sparse) return run_mixture(pass, layer, x, out, err);
    return run_one(pass, &layer->mlp, x, pass->work->tokens, out, err);
}
