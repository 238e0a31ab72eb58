/* SPDX-License-Identifier: Apache-2.0
 *
 * There and back over one sequence: logits to the host, its gradient through head, layers and embedding. */
#include "reverse.h"

#include <string.h>

tsr_status reverse_linear(struct reverse *reverse, struct linear *linear, const float *g, uint64_t tokens, float *to,
                          bool add, tsr_error *err) {
    const struct model *model = reverse->pass.model;
    const tsr_weights *table = model->weights.table;
    const tsr_reverse_hooks *hooks = reverse->hooks;
    tsr_status st = TSR_OK;
    if (hooks->linear_output) st = hooks->linear_output(hooks->ctx, linear->tensor, g, tokens, linear->rows, err);
    if (st == TSR_OK && !linear->back) {
        st = table->linear(table->ctx, linear->tensor, 0, linear->columns, !linear->turned, &linear->back, err);
    }
    if (st == TSR_OK) st = table->apply(table->ctx, linear->back, g, tokens, add ? reverse->spare : to, err);
    if (st == TSR_OK && add) model->kernels->add_scaled(to, 1, reverse->spare, tokens * linear->columns);
    return st;
}

/* to = gradient of a norm's input x from g; a norm that is not there passes g on. */
struct norm_step {
    const struct norm *norm;
    const float *x, *g;
    float *to;
};

static void reverse_norm_part(const struct pass *pass, const void *ctx, uint64_t first, uint64_t end) {
    const struct norm_step *step = ctx;
    uint64_t width = pass->model->spec.hidden;
    for (uint64_t at = first * width; at < end * width; at += width) {
        if (step->norm->present) {
            reverse_norm_row(&pass->model->norm_rule, step->norm, step->x + at, step->g + at, step->to + at, width);
        } else if (step->to != step->g) {
            memcpy(step->to + at, step->g + at, width * sizeof(float));
        }
    }
}

static tsr_status reverse_norm(struct reverse *reverse, const struct norm_step *step, tsr_error *err) {
    return for_tokens(&reverse->pass, reverse->work.tokens, reverse_norm_part, step, err);
}

/* ---- layers ---- */

static uint64_t stream_bytes(const struct reverse *reverse) {
    return reverse->work.tokens * reverse->pass.model->spec.hidden * sizeof(float);
}

/* g_part = residual scale * g, and back through the norm behind a part that gave `answer`. */
static tsr_status begin_part(struct reverse *reverse, const struct norm *post_norm, const float *answer, tsr_error *err) {
    const struct spec *spec = &reverse->pass.model->spec;
    const struct norm_step step = {post_norm, answer, reverse->g_part, reverse->g_part};
    float scale = (float)spec->residual_scale;
    for (uint64_t i = 0; i < reverse->work.tokens * spec->hidden; i++) reverse->g_part[i] = reverse->g[i] * scale;
    return post_norm && post_norm->present ? reverse_norm(reverse, &step, err) : TSR_OK;
}

/* g = gradient of what entered a part: through the norm before it, which got x, and past it. Where the residual stream
 * takes the normed values, both ways pass the norm. */
static tsr_status end_part(struct reverse *reverse, const struct norm *norm, const float *x, tsr_error *err) {
    const struct model *model = reverse->pass.model;
    uint64_t count = reverse->work.tokens * model->spec.hidden;
    bool after_norm = model->spec.residual_after_norm;
    const struct norm_step step = {norm, x, reverse->g_inner, after_norm ? reverse->g : reverse->work.branch};
    if (after_norm) model->kernels->add_scaled(reverse->g_inner, 1, reverse->g, count);
    tsr_status st = reverse_norm(reverse, &step, err);
    if (st == TSR_OK && !after_norm) model->kernels->add_scaled(reverse->g, 1, reverse->work.branch, count);
    return st;
}

static tsr_status run_part_attention(struct reverse *reverse, const struct norm *norm, tsr_error *err) {
    struct workspace *work = &reverse->work;
    tsr_status st = apply_norm(&reverse->pass, norm, work->x, reverse->attn_in, err);
    return st == TSR_OK ? run_attention(&reverse->pass, reverse->attn_in, work->branch, err) : st;
}

/* Attention, and what the MLP gets, into work->normed; the stream between them into `middle`. */
static tsr_status remake_sequential(struct reverse *reverse, const struct layer_weights *layer, tsr_error *err) {
    struct workspace *work = &reverse->work;
    tsr_status st = run_part_attention(reverse, &layer->attn_norm, err);
    if (st != TSR_OK) return st;
    memcpy(reverse->attn_out, work->branch, stream_bytes(reverse));
    if (layer->attn_post_norm.present) st = apply_norm(&reverse->pass, &layer->attn_post_norm, work->branch, work->branch, err);
    if (reverse->pass.model->spec.residual_after_norm) memcpy(work->x, reverse->attn_in, stream_bytes(reverse));
    if (st == TSR_OK) st = add_and_norm(&reverse->pass, work->branch, &layer->mlp_norm, work->normed, err);
    if (st == TSR_OK) memcpy(reverse->middle, work->x, stream_bytes(reverse));
    return st;
}

static tsr_status reverse_sequential(struct reverse *reverse, const struct layer_weights *layer, const float *x, tsr_error *err) {
    struct workspace *work = &reverse->work;
    tsr_status st = remake_sequential(reverse, layer, err);
    if (st == TSR_OK && layer->mlp_post_norm.present) st = run_mlp(&reverse->pass, work->normed, work->branch, err);
    if (st == TSR_OK) st = begin_part(reverse, &layer->mlp_post_norm, work->branch, err);
    if (st == TSR_OK) st = reverse_mlp(reverse, work->normed, err);
    if (st == TSR_OK) st = end_part(reverse, &layer->mlp_norm, reverse->middle, err);
    if (st == TSR_OK) st = begin_part(reverse, &layer->attn_post_norm, reverse->attn_out, err);
    if (st == TSR_OK) st = reverse_attention(reverse, err);
    return st == TSR_OK ? end_part(reverse, &layer->attn_norm, x, err) : st;
}

/* Both parts see what entered the layer; g_part is the same for both. */
static tsr_status reverse_parallel(struct reverse *reverse, const struct layer_weights *layer, const float *x, tsr_error *err) {
    struct workspace *work = &reverse->work;
    const struct norm *mlp_norm = layer->mlp_norm.present ? &layer->mlp_norm : &layer->attn_norm;
    tsr_status st = run_part_attention(reverse, &layer->attn_norm, err);
    if (st == TSR_OK) st = apply_norm(&reverse->pass, mlp_norm, work->x, work->normed, err);
    if (st == TSR_OK) st = begin_part(reverse, NULL, NULL, err);
    if (st == TSR_OK) st = reverse_attention(reverse, err);
    if (st == TSR_OK) st = end_part(reverse, &layer->attn_norm, x, err);
    if (st == TSR_OK) st = reverse_mlp(reverse, work->normed, err);
    return st == TSR_OK ? end_part(reverse, mlp_norm, x, err) : st;
}

/* x = norm(x + part(x)), twice: the norms lie on the stream itself. */
static tsr_status reverse_post_norm(struct reverse *reverse, const struct layer_weights *layer, tsr_error *err) {
    static const struct norm none = {0};
    struct workspace *work = &reverse->work;
    const struct norm_step mlp = {&layer->mlp_norm, work->x, reverse->g, reverse->g};
    const struct norm_step attention = {&layer->attn_norm, reverse->middle, reverse->g, reverse->g};
    tsr_status st = run_part_attention(reverse, &none, err);
    if (st == TSR_OK) st = add_and_norm(&reverse->pass, work->branch, &none, reverse->middle, err);
    if (st == TSR_OK) st = apply_norm(&reverse->pass, &layer->attn_norm, work->x, work->x, err);
    if (st == TSR_OK) memcpy(work->normed, work->x, stream_bytes(reverse));
    if (st == TSR_OK) st = run_mlp(&reverse->pass, work->normed, work->branch, err);
    if (st == TSR_OK) st = add_and_norm(&reverse->pass, work->branch, NULL, NULL, err);
    if (st == TSR_OK) st = reverse_norm(reverse, &mlp, err);
    if (st == TSR_OK) st = begin_part(reverse, NULL, NULL, err);
    if (st == TSR_OK) st = reverse_mlp(reverse, work->normed, err);
    if (st == TSR_OK) st = end_part(reverse, &none, NULL, err);
    if (st == TSR_OK) st = reverse_norm(reverse, &attention, err);
    if (st == TSR_OK) st = begin_part(reverse, NULL, NULL, err);
    if (st == TSR_OK) st = reverse_attention(reverse, err);
    return st == TSR_OK ? end_part(reverse, &none, NULL, err) : st;
}

tsr_status reverse_layer(struct reverse *reverse, uint64_t index, const float *x, tsr_error *err) {
    const struct model *model = reverse->pass.model;
    const struct layer_weights *layer = &model->weights.layer[index];
    reverse->pass.layer = index;
    memcpy(reverse->work.x, x, stream_bytes(reverse));
    switch (model->spec.residual) {
    case RESIDUAL_PARALLEL: return reverse_parallel(reverse, layer, x, err);
    case RESIDUAL_POST_NORM: return reverse_post_norm(reverse, layer, err);
    default: return reverse_sequential(reverse, layer, x, err);
    }
}

/* ---- head ---- */

/* Logits as they leave the model, and the gradient of them, which becomes that of the product with the output matrix. */
struct bent_logits {
    const float *logits;
    float *g;
};

static void reverse_finish(const struct pass *pass, const void *ctx, uint64_t first, uint64_t end) {
    const struct bent_logits *bent = ctx;
    const struct spec *spec = &pass->model->spec;
    float factor = (float)(spec->logit_scale / spec->logit_divisor), cap = (float)spec->logit_softcap;
    for (uint64_t i = first * spec->vocabulary; i < end * spec->vocabulary; i++) {
        float bounded = cap > 0 ? bent->logits[i] / cap : 0;
        bent->g[i] *= factor * (1 - bounded * bounded);
    }
}

/* Positions [first, first + count): logits, their gradient by the host, and the gradient of final states into `to`. */
static tsr_status reverse_logits(struct reverse *reverse, uint64_t first, uint64_t count, float *logits, float *g, float *to,
                                 tsr_error *err) {
    struct model *model = reverse->pass.model;
    const struct spec *spec = &model->spec;
    const struct bent_logits bent = {logits, g};
    const tsr_reverse_hooks *hooks = reverse->hooks;
    uint64_t at = first * spec->embed_width;
    tsr_status st = apply_head(&reverse->pass, reverse->work.normed + at, count, logits, err);
    if (st == TSR_OK) st = hooks->gradient(hooks->ctx, first, logits, count, spec->vocabulary, g, err);
    if (st == TSR_OK && !plain_logits(spec)) st = for_tokens(&reverse->pass, count, reverse_finish, &bent, err);
    return st == TSR_OK ? reverse_linear(reverse, &model->weights.lm_head, g, count, to + at, false, err) : st;
}

static tsr_status reverse_all_logits(struct reverse *reverse, float *to, tsr_error *err) {
    struct model *model = reverse->pass.model;
    const struct spec *spec = &model->spec;
    uint64_t tokens = reverse->work.tokens, rows = logit_rows(spec) < tokens ? logit_rows(spec) : tokens;
    float *logits = model->host->alloc(model->host, 2 * rows * spec->vocabulary * sizeof *logits);
    if (!logits) return tsr_fail(err, TSR_E_NOMEM, "out of memory for logits and their gradient");
    tsr_status st = TSR_OK;
    for (uint64_t t = 0; t < tokens && st == TSR_OK; t += rows) {
        uint64_t count = tokens - t < rows ? tokens - t : rows;
        st = reverse_logits(reverse, t, count, logits, logits + rows * spec->vocabulary, to, err);
    }
    model->host->free(model->host, logits);
    return st;
}

/* Final states, and from them to g, the gradient of what leaves the last layer. */
tsr_status reverse_head(struct reverse *reverse, const float *x, tsr_error *err) {
    struct model *model = reverse->pass.model;
    const struct norm_step step = {&model->weights.final_norm, x, reverse->g_inner, reverse->g};
    float *to = model->weights.project_out.op ? reverse->g_part : reverse->g_inner;
    memcpy(reverse->work.x, x, stream_bytes(reverse));
    tsr_status st = run_final(&reverse->pass, err);
    if (st == TSR_OK) st = reverse_all_logits(reverse, to, err);
    if (st == TSR_OK && model->weights.project_out.op) {
        st = reverse_linear(reverse, &model->weights.project_out, to, reverse->work.tokens, reverse->g_inner, false, err);
    }
    return st == TSR_OK ? reverse_norm(reverse, &step, err) : st;
}

/* ---- embedding ---- */

static tsr_status report_rows(struct reverse *reverse, uint64_t index, const uint64_t *rows, const float *g, uint64_t width,
                              tsr_error *err) {
    const tsr_reverse_hooks *hooks = reverse->hooks;
    return hooks->look_up ? hooks->look_up(hooks->ctx, index, rows, g, reverse->work.tokens, width, err) : TSR_OK;
}

static tsr_status report_positions(struct reverse *reverse, uint64_t *rows, tsr_error *err) {
    const struct model *model = reverse->pass.model;
    if (!model->spec.learned_positions) return TSR_OK;
    for (uint64_t t = 0; t < reverse->work.tokens; t++) rows[t] = t + model->spec.position_offset;
    return report_rows(reverse, model->weights.positions, rows, reverse->g, model->spec.hidden, err);
}

static tsr_status report_tokens(struct reverse *reverse, const uint32_t *tokens, uint64_t *rows, tsr_error *err) {
    struct model *model = reverse->pass.model;
    const struct spec *spec = &model->spec;
    float *g = reverse->g;
    tsr_status st = TSR_OK;
    if (model->weights.project_in.op) {
        g = reverse->g_inner;
        st = reverse_linear(reverse, &model->weights.project_in, reverse->g, reverse->work.tokens, g, false, err);
    }
    for (uint64_t i = 0; i < reverse->work.tokens * spec->embed_width; i++) g[i] *= (float)spec->embed_scale;
    for (uint64_t t = 0; t < reverse->work.tokens; t++) rows[t] = tokens[t];
    return st == TSR_OK ? report_rows(reverse, model->weights.embed, rows, g, spec->embed_width, err) : st;
}

tsr_status reverse_embedding(struct reverse *reverse, const uint32_t *tokens, tsr_error *err) {
    struct model *model = reverse->pass.model;
    const struct norm_step step = {&model->weights.embed_norm, reverse->work.x, reverse->g, reverse->g};
    uint64_t *rows = model->host->alloc(model->host, reverse->work.tokens * sizeof *rows);
    if (!rows) return tsr_fail(err, TSR_E_NOMEM, "out of memory for rows of the embedding");
    tsr_status st = TSR_OK;
    if (model->weights.embed_norm.present) st = embed_tokens(&reverse->pass, tokens, err);
    if (st == TSR_OK) st = reverse_norm(reverse, &step, err);
    if (st == TSR_OK) st = report_positions(reverse, rows, err);
    if (st == TSR_OK) st = report_tokens(reverse, tokens, rows, err);
    model->host->free(model->host, rows);
    return st;
}

/* ---- the whole ---- */

static uint64_t most(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* Where each buffer begins in the one allocation, in floats. */
static uint64_t lay_out(struct reverse *reverse, const struct spec *spec, uint64_t n) {
    uint64_t hidden = spec->hidden, width = most(hidden, spec->embed_width);
    uint64_t mlp = most(spec->intermediate, spec->shared_intermediate);
    uint64_t q = spec->heads * spec->head_dim, k = spec->kv_heads * spec->head_dim, v = spec->kv_heads * spec->v_head_dim;
    uint64_t head_values = spec->heads * spec->v_head_dim, expanded = spec->heads * (spec->nope_dim + spec->v_head_dim);
    uint64_t latent = most(spec->q_rank, spec->kv_rank + spec->rope_dim), experts = spec->experts ? n * hidden : 0;
    if (spec->experts) mlp = most(mlp, spec->expert_intermediate);
    struct {
        float **place;
        uint64_t floats;
    } parts[] = {
        {&reverse->g, n * width}, {&reverse->g_part, n * width},
        {&reverse->g_inner, n * width}, {&reverse->middle, n * hidden}, {&reverse->attn_in, n * hidden},
        {&reverse->attn_out, n * hidden}, {&reverse->spare, n * most(most(width, mlp), most(head_values, latent))},
        {&reverse->work.raw_q, n * q}, {&reverse->work.raw_k, n * k},
        {&reverse->g_heads, n * head_values}, {&reverse->g_q, n * q}, {&reverse->g_k, n * k}, {&reverse->g_v, n * v},
        {&reverse->g_qkv, n * most(q + k + v, expanded)}, {&reverse->g_head_k, n * q}, {&reverse->g_head_v, n * head_values},
        {&reverse->g_gate, n * 2 * mlp}, {&reverse->g_up, n * mlp}, {&reverse->g_latent, n * latent},
        {&reverse->answer, experts}, {&reverse->g_answer, experts}, {&reverse->g_rows, experts},
        {&reverse->g_router, n * most(spec->experts, 1)}, {&reverse->probabilities, n * spec->experts},
        {&reverse->g_chosen, n * spec->experts_per_token},
    };
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (reverse->memory) *parts[i].place = reverse->memory + total;
        total += (parts[i].floats + 15) / 16 * 16;
    }
    return total;
}

uint64_t reverse_memory(const struct spec *spec, uint64_t capacity, uint64_t workers) {
    struct reverse none = {0};
    uint64_t rows = logit_rows(spec) < capacity ? logit_rows(spec) : capacity;
    uint64_t floats = lay_out(&none, spec, capacity) + workspace_floats(spec, capacity) + sequence_layer_floats(spec, capacity);
    return (floats + 2 * rows * spec->vocabulary + workers * reverse_head_floats(spec, capacity)) * sizeof(float);
}

tsr_status reverse_open(struct model *model, uint64_t capacity, struct reverse *reverse, tsr_error *err) {
    *reverse = (struct reverse){.pass = {.model = model, .work = &reverse->work}, .capacity = capacity};
    tsr_status st = sequence_open(model, capacity, true, &reverse->pass.sequence, err);
    if (st == TSR_OK) st = workspace_create(model, capacity, &reverse->work, err);
    if (st != TSR_OK) return st;
    reverse->memory = model->host->alloc(model->host, lay_out(reverse, &model->spec, capacity) * sizeof(float));
    if (!reverse->memory) {
        return tsr_fail(err, TSR_E_NOMEM, "out of memory for gradients of %llu tokens", (unsigned long long)capacity);
    }
    (void)lay_out(reverse, &model->spec, capacity);
    return TSR_OK;
}

void reverse_close(struct reverse *reverse) {
    const struct model *model = reverse->pass.model;
    if (!model) return;
    model->host->free(model->host, reverse->memory);
    workspace_clear(model, &reverse->work);
    sequence_close(model, reverse->pass.sequence);
    *reverse = (struct reverse){0};
}

tsr_status reverse_begin(struct reverse *reverse, uint64_t count, tsr_error *err) {
    if (reverse->work.tokens == count) return TSR_OK;
    reverse->work.tokens = count;
    return fill_rope(reverse->pass.model, &reverse->work, count, err);
}

/* Keeps what enters each layer, and what leaves the last, in states [layers + 1][tokens][hidden]. */
static tsr_status run_there(struct reverse *reverse, const uint32_t *tokens, float *states, tsr_error *err) {
    struct pass *pass = &reverse->pass;
    const struct model *model = pass->model;
    tsr_status st = embed_tokens(pass, tokens, err);
    if (st == TSR_OK) st = apply_norm(pass, &model->weights.embed_norm, reverse->work.x, reverse->work.x, err);
    for (pass->layer = 0; pass->layer < model->spec.layers && st == TSR_OK; pass->layer++) {
        if (model->host->cancelled(model->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
        memcpy(states, reverse->work.x, stream_bytes(reverse));
        states += reverse->work.tokens * model->spec.hidden;
        st = run_layer(pass, err);
    }
    if (st == TSR_OK) memcpy(states, reverse->work.x, stream_bytes(reverse));
    return st;
}

static tsr_status run_back(struct reverse *reverse, const uint32_t *tokens, const float *states, tsr_error *err) {
    const struct spec *spec = &reverse->pass.model->spec;
    const tsr_host *host = reverse->pass.model->host;
    uint64_t size = reverse->work.tokens * spec->hidden;
    tsr_status st = reverse_head(reverse, states + spec->layers * size, err);
    for (uint64_t layer = spec->layers; layer-- > 0 && st == TSR_OK;) {
        if (host->cancelled(host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
        st = reverse_layer(reverse, layer, states + layer * size, err);
    }
    return st == TSR_OK ? reverse_embedding(reverse, tokens, err) : st;
}

tsr_status reverse_check(const struct model *model, tsr_error *err) {
    const tsr_weights *table = model->weights.table;
    const tsr_tensor *embed = table->tensor(table->ctx, model->weights.embed);
    if (!model->spec.tied || embed->shape[0] == model->spec.vocabulary) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED,
                    "no reverse pass for an output matrix that is a part of the embedding (%llu of %llu rows)",
                    (unsigned long long)model->spec.vocabulary, (unsigned long long)embed->shape[0]);
}

tsr_status reverse_run(struct model *model, const uint32_t *tokens, uint64_t count, const tsr_reverse_hooks *hooks,
                       tsr_error *err) {
    struct reverse reverse = {0};
    float *states = NULL;
    tsr_status st = reverse_check(model, err);
    if (st == TSR_OK) st = reverse_open(model, count, &reverse, err);
    if (st == TSR_OK) st = reverse_begin(&reverse, count, err);
    if (st == TSR_OK) {
        states = model->host->alloc(model->host, (model->spec.layers + 1) * count * model->spec.hidden * sizeof *states);
        if (!states) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for the states of %llu tokens", (unsigned long long)count);
    }
    reverse.hooks = hooks;
    if (st == TSR_OK) st = run_there(&reverse, tokens, states, err);
    if (st == TSR_OK) st = run_back(&reverse, tokens, states, err);
    model->host->free(model->host, states);
    reverse_close(&reverse);
    return st;
}
