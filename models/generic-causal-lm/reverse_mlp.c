/* SPDX-License-Identifier: Apache-2.0
 *
 * The way back through feed-forward parts. The choice of experts is taken as fixed; gradients do pass through the weights of
 * the chosen. A token's gradient is summed in the order of the experts. */
#include "reverse.h"

#include <string.h>

/* ---- one MLP ---- */

/* Gradients of gate and up from that of their product; fused: rows [gate | up] in work->gate and g_gate. */
static void reverse_combine(const struct pass *pass, const void *ctx, uint64_t first, uint64_t end) {
    const struct reverse *reverse = ctx;
    const struct spec *spec = &pass->model->spec;
    const struct workspace *work = pass->work;
    uint64_t width = reverse->width;
    bool fused = spec->mlp == MLP_FUSED;
    for (uint64_t t = first; t < end; t++) {
        float *g = reverse->g_up + t * width, value, slope;
        const float *gate = work->gate + (fused ? 2 : 1) * t * width, *up = fused ? gate + width : work->up + t * width;
        float *g_gate = reverse->g_gate + (fused ? 2 : 1) * t * width;
        for (uint64_t i = 0; i < width; i++) {
            activation_slope(spec->activation, spec->mlp == MLP_PLAIN ? up[i] : gate[i], &value, &slope);
            if (spec->mlp == MLP_PLAIN) {
                g[i] *= slope;
                continue;
            }
            g_gate[i] = g[i] * up[i] * slope;
            if (fused) g_gate[width + i] = g[i] * value;
            g[i] *= value;
        }
    }
}

static tsr_status project_in(struct reverse *reverse, struct mlp_weights *mlp, const float *x, uint64_t tokens, tsr_error *err) {
    struct pass *pass = &reverse->pass;
    tsr_status st = TSR_OK;
    if (mlp->gate.op) st = apply_linear(pass, &mlp->gate, x, tokens, reverse->work.gate, err);
    if (st == TSR_OK && mlp->up.op) st = apply_linear(pass, &mlp->up, x, tokens, reverse->work.up, err);
    return st;
}

/* to [tokens][hidden] = gradient of x from g, that of the MLP's answer. */
static tsr_status reverse_one(struct reverse *reverse, struct mlp_weights *mlp, const float *x, uint64_t tokens, const float *g,
                              float *to, tsr_error *err) {
    bool fused = reverse->pass.model->spec.mlp == MLP_FUSED;
    tsr_status st = project_in(reverse, mlp, x, tokens, err);
    reverse->width = mlp->down.columns;
    if (st == TSR_OK) st = reverse_linear(reverse, &mlp->down, g, tokens, reverse->g_up, false, err);
    if (st == TSR_OK) st = for_tokens(&reverse->pass, tokens, reverse_combine, reverse, err);
    if (st == TSR_OK && !fused) st = reverse_linear(reverse, &mlp->up, reverse->g_up, tokens, to, false, err);
    if (st == TSR_OK && mlp->gate.op) st = reverse_linear(reverse, &mlp->gate, reverse->g_gate, tokens, to, !fused, err);
    return st;
}

/* ---- mixture of experts ---- */

static float dot(const float *x, const float *y, uint64_t count) {
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += (double)x[i] * (double)y[i];
    return (float)sum;
}

/* Gradients of an expert's answers, and those of the weights of its choices. work->routed has the answers. */
static void weigh_gradients(struct reverse *reverse, uint64_t count) {
    const struct spec *spec = &reverse->pass.model->spec;
    const struct workspace *work = &reverse->work;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = work->gathered[i];
        const float *g = reverse->g_part + at / spec->experts_per_token * spec->hidden;
        float *to = reverse->g_answer + i * spec->hidden, weight = work->chosen_weight[at];
        for (uint64_t c = 0; c < spec->hidden; c++) to[c] = g[c] * weight;
        reverse->g_chosen[at] = dot(g, work->routed + at * spec->hidden, spec->hidden);
    }
}

static void scatter_gradients(struct reverse *reverse, uint64_t count) {
    const struct spec *spec = &reverse->pass.model->spec;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t token = reverse->work.gathered[i] / spec->experts_per_token;
        reverse->pass.model->kernels->add_scaled(reverse->g_inner + token * spec->hidden, 1, reverse->g_rows + i * spec->hidden,
                                                 spec->hidden);
    }
}

static tsr_status reverse_experts(struct reverse *reverse, struct layer_weights *layer, const float *x, tsr_error *err) {
    uint64_t experts = reverse->pass.model->spec.experts;
    tsr_status st = TSR_OK;
    for (uint32_t e = 0; e < experts && st == TSR_OK; e++) {
        uint64_t count = gather_tokens(&reverse->pass, e, x);
        if (count == 0) continue;
        weigh_gradients(reverse, count);
        st = reverse_one(reverse, &layer->experts[e], reverse->work.expert_in, count, reverse->g_answer, reverse->g_rows, err);
        if (st == TSR_OK) scatter_gradients(reverse, count);
    }
    return st;
}

/* Router logits of one token from the gradients of its choices' weights. probabilities [experts]: of all of them. */
static void reverse_route(const struct spec *spec, const float *probabilities, const uint32_t *chosen, const float *g_chosen,
                          float *g_logits) {
    double sum = spec->router == ROUTER_SIGMOID ? 1e-20 : 0, along = 0, scale = spec->routed_scale;
    for (uint64_t i = 0; i < spec->experts_per_token; i++) sum += (double)probabilities[chosen[i]];
    for (uint64_t i = 0; i < spec->experts_per_token && spec->expert_normalise; i++) {
        along += scale * (double)g_chosen[i] * (double)probabilities[chosen[i]] / (sum * sum);
    }
    memset(g_logits, 0, spec->experts * sizeof *g_logits);
    for (uint64_t i = 0; i < spec->experts_per_token; i++) {
        double share = spec->expert_normalise ? scale / sum : scale;
        g_logits[chosen[i]] = (float)((double)g_chosen[i] * share - along);
    }
    double level = 0;
    for (uint64_t e = 0; e < spec->experts && spec->router != ROUTER_SIGMOID; e++) {
        level += (double)g_logits[e] * (double)probabilities[e];
    }
    for (uint64_t e = 0; e < spec->experts; e++) {
        double p = (double)probabilities[e], g = (double)g_logits[e];
        g_logits[e] = (float)(spec->router == ROUTER_SIGMOID ? g * p * (1 - p) : p * (g - level));
    }
}

static tsr_status reverse_router(struct reverse *reverse, struct layer_weights *layer, tsr_error *err) {
    const struct spec *spec = &reverse->pass.model->spec;
    const struct workspace *work = &reverse->work;
    uint64_t choices = spec->experts_per_token;
    for (uint64_t t = 0; t < work->tokens; t++) {
        uint64_t at = t * spec->experts, choice = t * choices;
        reverse_route(spec, reverse->probabilities + at, work->chosen + choice, reverse->g_chosen + choice, reverse->g_router + at);
    }
    return reverse_linear(reverse, &layer->router, reverse->g_router, work->tokens, reverse->g_inner, true, err);
}

/* g_answer becomes the gradient of the shared expert's answer, g_router [tokens] that of its gate before the sigmoid. */
static tsr_status reverse_shared_gate(struct reverse *reverse, struct layer_weights *layer, const float *x, tsr_error *err) {
    const struct spec *spec = &reverse->pass.model->spec;
    struct workspace *work = &reverse->work;
    float value, slope;
    tsr_status st = apply_linear(&reverse->pass, &layer->shared_gate, x, work->tokens, work->router, err);
    for (uint64_t t = 0; t < work->tokens && st == TSR_OK; t++) {
        float *g = reverse->g_answer + t * spec->hidden;
        activation_slope(ACT_SIGMOID, work->router[t], &value, &slope);
        reverse->g_router[t] = dot(g, reverse->answer + t * spec->hidden, spec->hidden) * slope;
        for (uint64_t c = 0; c < spec->hidden; c++) g[c] *= value;
    }
    return st;
}

static tsr_status reverse_shared(struct reverse *reverse, struct layer_weights *layer, const float *x, tsr_error *err) {
    uint64_t tokens = reverse->work.tokens, count = tokens * reverse->pass.model->spec.hidden;
    bool gated = layer->shared_gate.op != NULL;
    tsr_status st = TSR_OK;
    if (!layer->shared.down.op) return TSR_OK;
    memcpy(reverse->g_answer, reverse->g_part, count * sizeof(float));
    if (gated) st = run_one(&reverse->pass, &layer->shared, x, tokens, reverse->answer, err);
    if (st == TSR_OK && gated) st = reverse_shared_gate(reverse, layer, x, err);
    if (st == TSR_OK) st = reverse_one(reverse, &layer->shared, x, tokens, reverse->g_answer, reverse->g_rows, err);
    if (st != TSR_OK) return st;
    reverse->pass.model->kernels->add_scaled(reverse->g_inner, 1, reverse->g_rows, count);
    if (!gated) return TSR_OK;
    return reverse_linear(reverse, &layer->shared_gate, reverse->g_router, tokens, reverse->g_inner, true, err);
}

/* The answers of all experts and the probabilities of all choices must be there before the way back begins. */
static tsr_status reverse_mixture(struct reverse *reverse, struct layer_weights *layer, const float *x, tsr_error *err) {
    const struct spec *spec = &reverse->pass.model->spec;
    struct workspace *work = &reverse->work;
    tsr_status st = apply_linear(&reverse->pass, &layer->router, x, work->tokens, work->router, err);
    if (st != TSR_OK) return st;
    route_tokens(&reverse->pass);
    memcpy(reverse->probabilities, work->router, work->tokens * spec->experts * sizeof(float));
    st = run_experts(&reverse->pass, layer, x, reverse->answer, err);
    if (st != TSR_OK) return st;
    memset(reverse->g_inner, 0, work->tokens * spec->hidden * sizeof(float));
    st = reverse_experts(reverse, layer, x, err);
    if (st == TSR_OK) st = reverse_router(reverse, layer, err);
    return st == TSR_OK ? reverse_shared(reverse, layer, x, err) : st;
}

tsr_status reverse_mlp(struct reverse *reverse, const float *x, tsr_error *err) {
    struct model *model = reverse->pass.model;
    struct layer_weights *layer = &model->weights.layer[reverse->pass.layer];
    if (model->spec.layer[reverse->pass.layer].sparse) return reverse_mixture(reverse, layer, x, err);
    return reverse_one(reverse, &layer->mlp, x, reverse->work.tokens, reverse->g_part, reverse->g_inner, err);
}
