/* SPDX-License-Identifier: Apache-2.0
 *
 * From tokens to logits: embedding, layers in one of three residual arrangements, final norm, output matrix. */
#include "graph.h"

#include <math.h>
#include <string.h>

#define LOGIT_TOKENS 64 /* positions whose logits are in memory at once */

/* ---- shared by the parts ---- */

tsr_status apply_linear(struct pass *pass, const struct linear *linear, const float *x, uint64_t tokens, float *y,
                        tsr_error *err) {
    const tsr_weights *table = pass->model->weights.table;
    tsr_status st = TSR_OK;
    if (pass->hooks && pass->hooks->linear_input) {
        st = pass->hooks->linear_input(pass->hooks->ctx, linear->tensor, x, tokens, linear->columns, err);
    }
    if (st != TSR_OK) return st;
    if (pass->work->single) {
        for (uint64_t t = 0; t < tokens && st == TSR_OK; t++) {
            st = table->apply_one(table->ctx, linear->op, x + t * linear->columns, y + t * linear->rows, err);
        }
    } else {
        st = table->apply(table->ctx, linear->op, x, tokens, y, err);
    }
    for (uint64_t t = 0; linear->bias && t < tokens; t++) {
        for (uint64_t r = 0; r < linear->rows; r++) y[t * linear->rows + r] += linear->bias[r];
    }
    return st;
}

void apply_norm(const struct pass *pass, const struct norm *norm, const float *x, float *y) {
    uint64_t width = pass->model->spec.hidden;
    for (uint64_t t = 0; t < pass->work->tokens; t++) {
        if (norm->present) {
            norm_row(&pass->model->norm_rule, norm, x + t * width, y + t * width, width);
        } else if (x != y) {
            memcpy(y + t * width, x + t * width, width * sizeof *x);
        }
    }
}

/* x += scale * y for all tokens. */
static void add_rows(const struct pass *pass, float *x, const float *y) {
    uint64_t count = pass->work->tokens * pass->model->spec.hidden;
    float scale = (float)pass->model->spec.residual_scale;
    for (uint64_t i = 0; i < count; i++) x[i] += scale * y[i];
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
    apply_norm(pass, &layer->attn_norm, work->x, work->normed);
    tsr_status st = run_attention(pass, work->normed, work->branch, err);
    if (st != TSR_OK) return st;
    apply_norm(pass, &layer->attn_post_norm, work->branch, work->branch);
    if (after_norm) memcpy(work->x, work->normed, bytes);
    add_rows(pass, work->x, work->branch);
    apply_norm(pass, &layer->mlp_norm, work->x, work->normed);
    st = run_mlp(pass, work->normed, work->branch, err);
    if (st != TSR_OK) return st;
    apply_norm(pass, &layer->mlp_post_norm, work->branch, work->branch);
    if (after_norm) memcpy(work->x, work->normed, bytes);
    add_rows(pass, work->x, work->branch);
    return TSR_OK;
}

/* x = x + attention(norm x) + mlp(norm' x); norm' is norm where the family has one only. */
static tsr_status run_parallel(struct pass *pass, const struct layer_weights *layer, tsr_error *err) {
    struct workspace *work = pass->work;
    apply_norm(pass, &layer->attn_norm, work->x, work->normed);
    tsr_status st = run_attention(pass, work->normed, work->attn, err);
    if (st != TSR_OK) return st;
    if (layer->mlp_norm.present) apply_norm(pass, &layer->mlp_norm, work->x, work->normed);
    st = run_mlp(pass, work->normed, work->branch, err);
    if (st != TSR_OK) return st;
    add_rows(pass, work->x, work->attn);
    add_rows(pass, work->x, work->branch);
    return TSR_OK;
}

/* x = norm(x + attention(x)); x = norm(x + mlp(x)). */
static tsr_status run_post_norm(struct pass *pass, const struct layer_weights *layer, tsr_error *err) {
    struct workspace *work = pass->work;
    tsr_status st = run_attention(pass, work->x, work->branch, err);
    if (st != TSR_OK) return st;
    add_rows(pass, work->x, work->branch);
    apply_norm(pass, &layer->attn_norm, work->x, work->x);
    st = run_mlp(pass, work->x, work->branch, err);
    if (st != TSR_OK) return st;
    add_rows(pass, work->x, work->branch);
    apply_norm(pass, &layer->mlp_norm, work->x, work->x);
    return TSR_OK;
}

static tsr_status run_layer(struct pass *pass, tsr_error *err) {
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

static tsr_status run_embedding(struct pass *pass, const uint32_t *tokens, tsr_error *err) {
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
    if (st == TSR_OK) apply_norm(pass, &weights->embed_norm, work->x, work->x);
    return st;
}

static void finish_logits(const struct spec *spec, float *logits, uint64_t count) {
    float scale = (float)spec->logit_scale, divisor = (float)spec->logit_divisor, cap = (float)spec->logit_softcap;
    for (uint64_t i = 0; i < count; i++) {
        float value = logits[i] * scale / divisor;
        logits[i] = cap > 0 ? cap * tanhf(value / cap) : value;
    }
}

/* Final hidden states of the chunk in work->normed, [tokens][embed_width]. */
static tsr_status run_final(struct pass *pass, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    const struct weights *weights = &pass->model->weights;
    struct workspace *work = pass->work;
    apply_norm(pass, &weights->final_norm, work->x, work->normed);
    if (weights->project_out.op) {
        tsr_status st = apply_linear(pass, &weights->project_out, work->normed, work->tokens, work->branch, err);
        if (st != TSR_OK) return st;
        memcpy(work->normed, work->branch, work->tokens * spec->embed_width * sizeof *work->normed);
    }
    return report_hidden(pass, spec->layers + 1, work->normed, spec->embed_width, err);
}

static tsr_status report_logits(struct pass *pass, float *logits, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    struct workspace *work = pass->work;
    tsr_status st = TSR_OK;
    for (uint64_t t = 0; t < work->tokens && st == TSR_OK; t += LOGIT_TOKENS) {
        uint64_t count = work->tokens - t < LOGIT_TOKENS ? work->tokens - t : LOGIT_TOKENS;
        st = apply_linear(pass, &pass->model->weights.lm_head, work->normed + t * spec->embed_width, count, logits, err);
        if (st != TSR_OK) return st;
        finish_logits(spec, logits, count * spec->vocabulary);
        st = pass->hooks->logits(pass->hooks->ctx, work->first + t, logits, count, spec->vocabulary, err);
    }
    return st;
}

static tsr_status last_logits(struct pass *pass, float *logits, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    const float *row = pass->work->normed + (pass->work->tokens - 1) * spec->embed_width;
    tsr_status st = apply_linear(pass, &pass->model->weights.lm_head, row, 1, logits, err);
    if (st == TSR_OK) finish_logits(spec, logits, spec->vocabulary);
    return st;
}

static tsr_status run_chunk(struct pass *pass, const uint32_t *tokens, float *all_logits, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    tsr_status st = run_embedding(pass, tokens, err);
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

static tsr_status fill_rope(const struct model *model, struct workspace *work, uint64_t length, tsr_error *err) {
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
    uint64_t experts_in = spec->experts ? spec->hidden * (chosen > 1 ? 1 : 1) : 0;
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
        uint64_t rows = chunk < LOGIT_TOKENS ? chunk : LOGIT_TOKENS;
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
