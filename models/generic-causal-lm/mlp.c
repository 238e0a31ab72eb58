/* SPDX-License-Identifier: Apache-2.0
 *
 * Feed-forward parts: gated, fused or plain MLP, and mixtures of experts. In a mixture the tokens of each expert are
 * gathered, so an expert's weights are read once a chunk; a token's result is summed in the order of its choices. */
#include "graph.h"

#include <math.h>
#include <string.h>

static void multiply(float *a, const float *b, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) a[i] *= b[i];
}

/* Rows [gate | up] of a fused projection, in place: the gate half becomes act(gate) * up, rows are packed. */
static void combine_fused(const struct spec *spec, float *rows, uint64_t tokens, uint64_t width) {
    for (uint64_t t = 0; t < tokens; t++) {
        float *gate = rows + t * 2 * width;
        activate(spec->activation, gate, width);
        multiply(gate, gate + width, width);
        memmove(rows + t * width, gate, width * sizeof *gate);
    }
}

/* out [tokens][hidden] = one MLP applied to x [tokens][hidden]. */
static tsr_status run_one(struct pass *pass, const struct mlp_weights *mlp, const float *x, uint64_t tokens, float *out,
                          tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    struct workspace *work = pass->work;
    uint64_t width = mlp->down.columns;
    float *inner = work->up;
    tsr_status st;
    if (spec->mlp == MLP_FUSED) {
        st = apply_linear(pass, &mlp->gate, x, tokens, work->gate, err);
        if (st != TSR_OK) return st;
        combine_fused(spec, work->gate, tokens, width);
        inner = work->gate;
    } else {
        st = apply_linear(pass, &mlp->up, x, tokens, work->up, err);
        if (st == TSR_OK && spec->mlp == MLP_GATED) st = apply_linear(pass, &mlp->gate, x, tokens, work->gate, err);
        if (st != TSR_OK) return st;
        activate(spec->activation, spec->mlp == MLP_GATED ? work->gate : work->up, tokens * width);
        if (spec->mlp == MLP_GATED) multiply(work->up, work->gate, tokens * width);
    }
    return apply_linear(pass, &mlp->down, inner, tokens, out, err);
}

/* ---- mixture of experts ---- */

static void softmax(float *row, uint64_t count) {
    float largest = -INFINITY, sum = 0;
    for (uint64_t i = 0; i < count; i++) largest = fmaxf(largest, row[i]);
    for (uint64_t i = 0; i < count; i++) {
        row[i] = expf(row[i] - largest);
        sum += row[i];
    }
    for (uint64_t i = 0; i < count; i++) row[i] /= sum;
}

/* Index of the largest value that is not -infinity; the first among equals. */
static uint64_t largest_of(const float *values, uint64_t count) {
    uint64_t best = 0;
    for (uint64_t i = 1; i < count; i++) {
        if (values[i] > values[best]) best = i;
    }
    return best;
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
        scores[g] = group_score(choice + g * size, size, spec->router_group_top2);
    }
    for (uint64_t kept = 0; kept < spec->expert_groups_chosen; kept++) {
        scores[largest_of(scores, spec->expert_groups)] = -INFINITY;
    }
    for (uint64_t g = 0; g < spec->expert_groups; g++) {
        if (scores[g] != -INFINITY) memset(choice + g * size, 0, size * sizeof *choice);
    }
}

/* Chooses the experts of one token from its router logits; `choice` has room for experts + groups values. */
static void route_token(const struct spec *spec, const float *correction, float *logits, float *choice, uint32_t *chosen,
                        float *weights) {
    float sum = 0;
    if (spec->router == ROUTER_SIGMOID) {
        activate(ACT_SIGMOID, logits, spec->experts);
    } else {
        softmax(logits, spec->experts);
    }
    for (uint64_t e = 0; e < spec->experts; e++) choice[e] = logits[e] + (correction ? correction[e] : 0);
    if (spec->expert_groups > 1) mask_groups(spec, choice, choice + spec->experts);
    for (uint64_t i = 0; i < spec->experts_per_token; i++) {
        uint64_t best = largest_of(choice, spec->experts);
        chosen[i] = (uint32_t)best;
        weights[i] = logits[best];
        choice[best] = -INFINITY;
        sum += weights[i];
    }
    if (spec->router == ROUTER_SIGMOID) sum += 1e-20f;
    for (uint64_t i = 0; i < spec->experts_per_token; i++) {
        if (spec->expert_normalise) weights[i] /= sum;
        weights[i] *= (float)spec->routed_scale;
    }
}

/* Rows of x whose token chose the expert; positions (token * choices + rank) in work->gathered. */
static uint64_t gather(struct pass *pass, uint32_t expert, const float *x) {
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

/* routed [tokens * choices][hidden] gets each expert's answer in the place of the choice. */
static tsr_status run_experts(struct pass *pass, const struct layer_weights *layer, const float *x, float *answer,
                              tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    struct workspace *work = pass->work;
    for (uint32_t e = 0; e < spec->experts; e++) {
        uint64_t count = gather(pass, e, x);
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
        activate(ACT_SIGMOID, gates, work->tokens);
    }
    for (uint64_t t = 0; t < work->tokens && st == TSR_OK; t++) {
        float gate = layer->shared_gate.op ? gates[t] : 1;
        pass->model->kernels->add_scaled(out + t * spec->hidden, gate, answer + t * spec->hidden, spec->hidden);
    }
    return st;
}

static tsr_status run_mixture(struct pass *pass, const struct layer_weights *layer, const float *x, float *out,
                              tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    struct workspace *work = pass->work;
    tsr_status st = apply_linear(pass, &layer->router, x, work->tokens, work->router, err);
    if (st != TSR_OK) return st;
    float *choice = work->router + work->tokens * spec->experts;
    for (uint64_t t = 0; t < work->tokens; t++) {
        route_token(spec, layer->router_correction, work->router + t * spec->experts, choice,
                    work->chosen + t * spec->experts_per_token, work->chosen_weight + t * spec->experts_per_token);
    }
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
