/* SPDX-License-Identifier: Apache-2.0
 *
 * From tokens to logits: embedding, layers in one of three residual arrangements, final norm, output matrix. */
#include "graph.h"

#include <math.h>
#include <string.h>

#define TOKENS_A_TASK 16
#define LOGIT_TOKENS 64
#define LOGIT_FLOATS ((uint64_t)8 << 20)

/* ---- shared by the parts ---- */

static tsr_status report_input(const struct pass *pass, const struct linear *linear, const float *x, uint64_t tokens,
                               tsr_error *err) {
    if (!pass->hooks || !pass->hooks->linear_input) return TSR_OK;
    return pass->hooks->linear_input(pass->hooks->ctx, linear->tensor, x, tokens, linear->columns, err);
}

static void add_bias(const struct linear *linear, uint64_t tokens, float *y) {
    for (uint64_t t = 0; linear->bias && t < tokens; t++) {
        for (uint64_t r = 0; r < linear->rows; r++) y[t * linear->rows + r] += linear->bias[r];
    }
}

tsr_status apply_linear(struct pass *pass, const struct linear *linear, const float *x, uint64_t tokens, float *y,
                        tsr_error *err) {
    const tsr_weights *table = pass->model->weights.table;
    tsr_status st = report_input(pass, linear, x, tokens, err);
    if (st != TSR_OK) return st;
    if (pass->work->single) {
        for (uint64_t t = 0; t < tokens && st == TSR_OK; t++) {
            st = table->apply_one(table->ctx, linear->op, x + t * linear->columns, y + t * linear->rows, err);
        }
    } else {
        st = table->apply(table->ctx, linear->op, x, tokens, y, err);
    }
    add_bias(linear, tokens, y);
    return st;
}

tsr_status apply_linears(struct pass *pass, const struct linear *const *linears, uint64_t count, const float *x, uint64_t tokens,
                         float *const *y, tsr_error *err) {
    const tsr_weights *table = pass->model->weights.table;
    tsr_linear *ops[TSR_TOGETHER_MAX];
    tsr_status st = TSR_OK;
    if (!pass->work->single || tokens != 1 || !TSR_HAS(table, tsr_weights, apply_ones)) {
        for (uint64_t i = 0; i < count && st == TSR_OK; i++) st = apply_linear(pass, linears[i], x, tokens, y[i], err);
        return st;
    }
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        ops[i] = linears[i]->op;
        st = report_input(pass, linears[i], x, 1, err);
    }
    if (st == TSR_OK) st = table->apply_ones(table->ctx, ops, count, x, y, err);
    for (uint64_t i = 0; i < count; i++) add_bias(linears[i], 1, y[i]);
    return st;
}

struct token_loop {
    const struct pass *pass;
    token_part part;
    const void *ctx;
    uint64_t tokens;
};

static tsr_status token_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct token_loop *loop = ctx;
    uint64_t first = index * TOKENS_A_TASK, rest = loop->tokens - first;
    (void)worker;
    (void)err;
    loop->part(loop->pass, loop->ctx, first, first + (rest < TOKENS_A_TASK ? rest : TOKENS_A_TASK));
    return TSR_OK;
}

tsr_status for_tokens(const struct pass *pass, uint64_t tokens, token_part part, const void *ctx, tsr_error *err) {
    struct token_loop loop = {pass, part, ctx, tokens};
    const tsr_host *host = pass->model->host;
    if (tokens <= TOKENS_A_TASK) return tokens ? token_task(&loop, 0, 0, err) : TSR_OK;
    return host->parallel_for(host, (tokens + TOKENS_A_TASK - 1) / TOKENS_A_TASK, token_task, &loop, err);
}

/* x = x + scale * y where there is y, then to = norm(x) where there is a norm; rows of hidden width. */
struct step {
    float *x;
    const float *y;
    const struct norm *norm;
    float *to;
};

static void step_part(const struct pass *pass, const void *ctx, uint64_t first, uint64_t end) {
    const struct step *step = ctx;
    const struct model *model = pass->model;
    uint64_t width = model->spec.hidden;
    for (uint64_t t = first; t < end; t++) {
        float *x = step->x + t * width;
        if (step->y) model->kernels->add_scaled(x, (float)model->spec.residual_scale, step->y + t * width, width);
        if (step->norm && step->norm->present) {
            norm_row(&model->norm_rule, step->norm, x, step->to + t * width, width);
        } else if (step->norm && step->to != step->x) {
            memcpy(step->to + t * width, x, width * sizeof *x);
        }
    }
}

tsr_status apply_norm(const struct pass *pass, const struct norm *norm, float *x, float *to, tsr_error *err) {
    const struct step step = {x, NULL, norm, to};
    return for_tokens(pass, pass->work->tokens, step_part, &step, err);
}

tsr_status add_and_norm(const struct pass *pass, const float *y, const struct norm *norm, float *to, tsr_error *err) {
    const struct step step = {pass->work->x, y, norm, to};
    return for_tokens(pass, pass->work->tokens, step_part, &step, err);
}

static tsr_status report_hidden(const struct pass *pass, uint64_t layer, const float *x, uint64_t width, tsr_error *err) {
    if (!pass->hooks || !pass->hooks->hidden) return TSR_OK;
    return pass->hooks->hidden(pass->hooks->ctx, layer, x, pass->work->tokens, width, err);
}

/* ---- layers ---- */

/* x = x + attention(norm x); x = x + mlp(norm x); with norms behind either part where the family has them. */
static tsr_status run_sequential(struct pass *pass, const struct layer_weights *layer, tsr_error *err) {
    struct workspace *work = pass->work;
    bool after_norm = pass->model->spec.residual_after_norm;
    uint64_t bytes = work->tokens * pass->model->spec.hidden * sizeof *work->x;
    tsr_status st = apply_norm(pass, &layer->attn_norm, work->x, work->normed, err);
    if (st == TSR_OK) st = run_attention(pass, work->normed, work->branch, err);
    if (st == TSR_OK && layer->attn_post_norm.present) st = apply_norm(pass, &layer->attn_post_norm, work->branch, work->branch, err);
    if (st != TSR_OK) return st;
    if (after_norm) memcpy(work->x, work->normed, bytes);
    st = add_and_norm(pass, work->branch, &layer->mlp_norm, work->normed, err);
    if (st == TSR_OK) st = run_mlp(pass, work->normed, work->branch, err);
    if (st == TSR_OK && layer->mlp_post_norm.present) st = apply_norm(pass, &layer->mlp_post_norm, work->branch, work->branch, err);
    if (st != TSR_OK) return st;
    if (after_norm) memcpy(work->x, work->normed, bytes);
    return add_and_norm(pass, work->branch, NULL, NULL, err);
}

/* x = x + attention(norm x) + mlp(norm' x); norm' is norm where the family has one only. */
static tsr_status run_parallel(struct pass *pass, const struct layer_weights *layer, tsr_error *err) {
    struct workspace *work = pass->work;
    tsr_status st = apply_norm(pass, &layer->attn_norm, work->x, work->normed, err);
    if (st == TSR_OK) st = run_attention(pass, work->normed, work->attn, err);
    if (st == TSR_OK && layer->mlp_norm.present) st = apply_norm(pass, &layer->mlp_norm, work->x, work->normed, err);
    if (st == TSR_OK) st = run_mlp(pass, work->normed, work->branch, err);
    if (st == TSR_OK) st = add_and_norm(pass, work->attn, NULL, NULL, err);
    if (st == TSR_OK) st = add_and_norm(pass, work->branch, NULL, NULL, err);
    return st;
}

/* x = norm(x + attention(x)); x = norm(x + mlp(x)). */
static tsr_status run_post_norm(struct pass *pass, const struct layer_weights *layer, tsr_error *err) {
    struct workspace *work = pass->work;
    tsr_status st = run_attention(pass, work->x, work->branch, err);
    if (st == TSR_OK) st = add_and_norm(pass, work->branch, &layer->attn_norm, work->x, err);
    if (st == TSR_OK) st = run_mlp(pass, work->x, work->branch, err);
    if (st == TSR_OK) st = add_and_norm(pass, work->branch, &layer->mlp_norm, work->x, err);
    return st;
}

tsr_status run_layer(struct pass *pass, tsr_error *err) {
    const struct layer_weights *layer = &pass->model->weights.layer[pass->layer];
    switch (pass->model->spec.residual) {
    case RESIDUAL_PARALLEL: return run_parallel(pass, layer, err);
    case RESIDUAL_POST_NORM: return run_post_norm(pass, layer, err);
    default: return run_sequential(pass, layer, err);
    }
}

/* ---- embedding and head ---- */

static tsr_status embed_token(struct pass *pass, uint32_t token, uint64_t t, float *row, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    const struct weights *weights = &pass->model->weights;
    const tsr_weights *table = weights->table;
    if (token >= spec->vocabulary) {
        return tsr_fail(err, TSR_E_ARGUMENT, "token %u is outside the vocabulary of %llu", token,
                        (unsigned long long)spec->vocabulary);
    }
    tsr_status st = table->read_rows(table->ctx, weights->embed, token, 1, row, err);
    for (uint64_t i = 0; i < spec->embed_width && spec->embed_scale != 1; i++) row[i] *= (float)spec->embed_scale;
    (void)t;
    return st;
}

static tsr_status add_position(struct pass *pass, uint64_t t, float *row, float *position, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    const struct weights *weights = &pass->model->weights;
    const tsr_weights *table = weights->table;
    uint64_t at = pass->work->first + t + spec->position_offset;
    if (at >= table->tensor(table->ctx, weights->positions)->shape[0]) {
        return tsr_fail(err, TSR_E_LIMIT, "position %llu is beyond the %llu that the model has learned",
                        (unsigned long long)(pass->work->first + t),
                        (unsigned long long)(table->tensor(table->ctx, weights->positions)->shape[0] - spec->position_offset));
    }
    tsr_status st = table->read_rows(table->ctx, weights->positions, at, 1, position, err);
    for (uint64_t i = 0; i < spec->hidden && st == TSR_OK; i++) row[i] += position[i];
    return st;
}

tsr_status embed_tokens(struct pass *pass, const uint32_t *tokens, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    const struct weights *weights = &pass->model->weights;
    struct workspace *work = pass->work;
    float *rows = weights->project_in.op ? work->normed : work->x;
    tsr_status st = TSR_OK;
    for (uint64_t t = 0; t < work->tokens && st == TSR_OK; t++) {
        st = embed_token(pass, tokens[t], t, rows + t * spec->embed_width, err);
    }
    if (st == TSR_OK && weights->project_in.op) st = apply_linear(pass, &weights->project_in, rows, work->tokens, work->x, err);
    for (uint64_t t = 0; t < work->tokens && st == TSR_OK && spec->learned_positions; t++) {
        st = add_position(pass, t, work->x + t * spec->hidden, work->branch, err);
    }
    return st;
}

bool plain_logits(const struct spec *spec) {
    return spec->logit_scale == 1 && spec->logit_divisor == 1 && !(spec->logit_softcap > 0);
}

/* ctx: logits [tokens][vocabulary]. */
static void finish_logits(const struct pass *pass, const void *ctx, uint64_t first, uint64_t end) {
    const struct spec *spec = &pass->model->spec;
    float *logits = *(float *const *)ctx + first * spec->vocabulary;
    uint64_t count = (end - first) * spec->vocabulary;
    float scale = (float)spec->logit_scale, divisor = (float)spec->logit_divisor, cap = (float)spec->logit_softcap;
    for (uint64_t i = 0; i < count; i++) {
        float value = logits[i] * scale / divisor;
        logits[i] = cap > 0 ? cap * tanhf(value / cap) : value;
    }
}

tsr_status run_final(struct pass *pass, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    const struct weights *weights = &pass->model->weights;
    struct workspace *work = pass->work;
    tsr_status st = apply_norm(pass, &weights->final_norm, work->x, work->normed, err);
    if (st != TSR_OK) return st;
    if (weights->project_out.op) {
        st = apply_linear(pass, &weights->project_out, work->normed, work->tokens, work->branch, err);
        if (st != TSR_OK) return st;
        memcpy(work->normed, work->branch, work->tokens * spec->embed_width * sizeof *work->normed);
    }
    return report_hidden(pass, spec->layers + 1, work->normed, spec->embed_width, err);
}

/* The output matrix is read and widened once for each such block. */
uint64_t logit_rows(const struct spec *spec) {
    uint64_t fitting = LOGIT_FLOATS / spec->vocabulary / LOGIT_TOKENS * LOGIT_TOKENS;
    return fitting < LOGIT_TOKENS ? LOGIT_TOKENS : fitting < CHUNK_TOKENS ? fitting : CHUNK_TOKENS;
}

tsr_status apply_head(struct pass *pass, const float *states, uint64_t tokens, float *logits, tsr_error *err) {
    tsr_status st = apply_linear(pass, &pass->model->weights.lm_head, states, tokens, logits, err);
    if (st == TSR_OK && !plain_logits(&pass->model->spec)) st = for_tokens(pass, tokens, finish_logits, &logits, err);
    return st;
}

tsr_status run_head(struct model *model, const float *states, uint64_t tokens, float *logits, tsr_error *err) {
    struct workspace work = {.tokens = tokens};
    struct pass pass = {.model = model, .work = &work};
    return apply_head(&pass, states, tokens, logits, err);
}

static tsr_status report_logits(struct pass *pass, float *logits, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    struct workspace *work = pass->work;
    tsr_status st = TSR_OK;
    uint64_t rows = logit_rows(spec);
    for (uint64_t t = 0; t < work->tokens && st == TSR_OK; t += rows) {
        uint64_t count = work->tokens - t < rows ? work->tokens - t : rows;
        st = apply_head(pass, work->normed + t * spec->embed_width, count, logits, err);
        if (st == TSR_OK) st = pass->hooks->logits(pass->hooks->ctx, work->first + t, logits, count, spec->vocabulary, err);
    }
    return st;
}

static tsr_status last_logits(struct pass *pass, float *logits, tsr_error *err) {
    return apply_head(pass, pass->work->normed + (pass->work->tokens - 1) * pass->model->spec.embed_width, 1, logits, err);
}

static tsr_status run_chunk(struct pass *pass, const uint32_t *tokens, float *all_logits, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    tsr_status st = embed_tokens(pass, tokens, err);
    if (st == TSR_OK) st = apply_norm(pass, &pass->model->weights.embed_norm, pass->work->x, pass->work->x, err);
    if (st == TSR_OK) st = report_hidden(pass, 0, pass->work->x, spec->hidden, err);
    for (pass->layer = 0; pass->layer < spec->layers && st == TSR_OK; pass->layer++) {
        if (pass->model->host->cancelled(pass->model->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
        st = run_layer(pass, err);
        if (st == TSR_OK) st = report_hidden(pass, pass->layer + 1, pass->work->x, spec->hidden, err);
    }
    if (st == TSR_OK) st = run_final(pass, err);
    if (st == TSR_OK && all_logits) st = report_logits(pass, all_logits, err);
    return st;
}

/* ---- tables and buffers ---- */

tsr_status fill_rope(const struct model *model, struct workspace *work, uint64_t length, tsr_error *err) {
    const struct spec *spec = &model->spec;
    double attention_factor;
    if (!spec->rotary_dim) return TSR_OK;
    double *inverse = model->host->alloc(model->host, spec->rotary_dim / 2 * sizeof *inverse);
    if (!inverse) return tsr_fail(err, TSR_E_NOMEM, "out of memory for rope tables");
    rope_frequencies(spec, false, length, inverse, &attention_factor);
    rope_fill(inverse, attention_factor, work->first, work->tokens, &work->rope);
    if (spec->rope_local_theta > 0) {
        rope_frequencies(spec, true, length, inverse, &attention_factor);
        rope_fill(inverse, attention_factor, work->first, work->tokens, &work->rope_local);
    }
    model->host->free(model->host, inverse);
    return TSR_OK;
}

/* Where each buffer begins in the one allocation, in floats. */
static uint64_t lay_out(const struct spec *spec, uint64_t n, struct workspace *work) {
    uint64_t heads_width = spec->heads * spec->head_dim, kv_width = spec->kv_heads * spec->head_dim;
    uint64_t v_width = spec->kv_heads * spec->v_head_dim, width = spec->hidden > spec->embed_width ? spec->hidden : spec->embed_width;
    uint64_t mlp = spec->intermediate, fused = heads_width + kv_width + v_width, pairs = spec->rotary_dim / 2;
    if (spec->experts && spec->expert_intermediate > mlp) mlp = spec->expert_intermediate;
    if (spec->shared_intermediate > mlp) mlp = spec->shared_intermediate;
    uint64_t expanded = spec->heads * (spec->nope_dim + spec->v_head_dim), chosen = spec->experts_per_token;
    if (expanded > fused) fused = expanded;
    uint64_t latent = spec->q_rank + 2 * (spec->kv_rank + spec->rope_dim);
    uint64_t experts_in = spec->experts ? spec->hidden : 0;
    struct {
        float **place;
        uint64_t floats;
    } parts[] = {
        {&work->x, n * width},          {&work->normed, n * width},      {&work->attn, n * width},
        {&work->branch, n * width},     {&work->q, n * heads_width},     {&work->k, n * kv_width},
        {&work->v, n * v_width},        {&work->qkv, n * fused},         {&work->heads, n * spec->heads * spec->v_head_dim},
        {&work->gate, n * 2 * mlp},     {&work->up, n * mlp},            {&work->latent, n * latent},
        {&work->routed, n * chosen * (spec->experts ? spec->hidden : 0)}, {&work->expert_in, n * experts_in},
        {&work->router, (n + 2) * spec->experts}, {&work->chosen_weight, n * chosen},
        {(float **)&work->chosen, n * chosen}, {(float **)&work->gathered, n * chosen},
        {&work->rope.cosines, n * pairs}, {&work->rope.sines, n * pairs},
        {&work->rope_local.cosines, n * pairs}, {&work->rope_local.sines, n * pairs},
    };
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (work->memory) *parts[i].place = work->memory + total;
        total += (parts[i].floats + 15) / 16 * 16;
    }
    return total;
}

uint64_t workspace_floats(const struct spec *spec, uint64_t tokens) {
    struct workspace none = {0};
    return lay_out(spec, tokens, &none);
}

tsr_status workspace_create(const struct model *model, uint64_t tokens, struct workspace *work, tsr_error *err) {
    *work = (struct workspace){0};
    uint64_t floats = lay_out(&model->spec, tokens, work);
    work->memory = model->host->alloc(model->host, floats * sizeof(float));
    if (!work->memory) return tsr_fail(err, TSR_E_NOMEM, "out of memory for activations");
    (void)lay_out(&model->spec, tokens, work);
    work->rope.pairs = work->rope_local.pairs = model->spec.rotary_dim / 2;
    return TSR_OK;
}

void workspace_clear(const struct model *model, struct workspace *work) {
    model->host->free(model->host, work->memory);
    *work = (struct workspace){0};
}

static tsr_status check_call(const struct sequence *sequence, uint64_t count, tsr_error *err) {
    if (count == 0) return tsr_fail(err, TSR_E_ARGUMENT, "no tokens to run");
    if (count > sequence->capacity - sequence->length) {
        return tsr_fail(err, TSR_E_LIMIT, "%llu tokens after %llu do not fit a sequence of %llu", (unsigned long long)count,
                        (unsigned long long)sequence->length, (unsigned long long)sequence->capacity);
    }
    return TSR_OK;
}

tsr_status run_forward(struct model *model, struct sequence *sequence, const uint32_t *tokens, uint64_t count,
                       const tsr_hooks *hooks, float *logits, tsr_error *err) {
    const struct spec *spec = &model->spec;
    struct workspace work;
    uint64_t chunk = count < CHUNK_TOKENS ? count : CHUNK_TOKENS, end = sequence->length + count;
    float *all_logits = NULL;
    tsr_status st = check_call(sequence, count, err);
    if (st == TSR_OK) st = workspace_create(model, chunk, &work, err);
    if (st != TSR_OK) return st;
    struct pass pass = {.model = model, .sequence = sequence, .work = &work, .hooks = hooks};
    work.single = count == 1;
    if (hooks && hooks->logits) {
        uint64_t rows = chunk < logit_rows(spec) ? chunk : logit_rows(spec);
        all_logits = model->host->alloc(model->host, rows * spec->vocabulary * sizeof *all_logits);
        if (!all_logits) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for logits");
    }
    while (sequence->length < end && st == TSR_OK) {
        work.first = sequence->length;
        work.tokens = end - sequence->length < chunk ? end - sequence->length : chunk;
        st = fill_rope(model, &work, end, err);
        if (st == TSR_OK) st = run_chunk(&pass, tokens, all_logits, err);
        tokens += work.tokens;
        sequence->length += work.tokens;
    }
    if (st == TSR_OK && logits) st = last_logits(&pass, logits, err);
    model->host->free(model->host, all_logits);
    workspace_clear(model, &work);
    return st;
}
