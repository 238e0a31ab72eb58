/* SPDX-License-Identifier: Apache-2.0
 *
 * Causal attention over the cache. Projections are made for the whole chunk, rotated, and stored: keys as panels of
 * KEY_BLOCK columns, values as rows. Then blocks of queries are multiplied with all keys they may see. What a query gets is
 * a chain over its own keys in order, whatever stands beside it, so the result does not depend on chunks or workers. */
#include "graph.h"

#include <math.h>
#include <string.h>

#define ROWS_A_TASK 48 /* queries times the heads that share keys */

/* ---- projections ---- */

static void move_values(float *part, float *fused, uint64_t count, bool join) {
    memcpy(join ? fused : part, join ? part : fused, count * sizeof *part);
}

/* A row holds all q then all k then all v, or group by group [q of the group, k, v] (one query head a group: head by
 * head). */
void move_fused(const struct pass *pass, const struct fused_parts *parts) {
    const struct spec *spec = &pass->model->spec;
    uint64_t dim = spec->head_dim, v_dim = spec->v_head_dim, share = spec->heads / spec->kv_heads;
    uint64_t groups = spec->qkv == QKV_GROUPED ? spec->kv_heads : 1, per_group = spec->kv_heads / groups;
    uint64_t q_count = per_group * share * dim, k_count = per_group * dim, v_count = per_group * v_dim;
    for (uint64_t at = 0; at < pass->work->tokens * groups; at++) {
        float *fused = parts->qkv + at * (q_count + k_count + v_count);
        move_values(parts->q + at * q_count, fused, q_count, parts->join);
        move_values(parts->k + at * k_count, fused + q_count, k_count, parts->join);
        move_values(parts->v + at * v_count, fused + q_count + k_count, v_count, parts->join);
    }
}

static void clip(float *values, uint64_t count, float limit) {
    for (uint64_t i = 0; i < count; i++) values[i] = fminf(fmaxf(values[i], -limit), limit);
}

static tsr_status project_heads(struct pass *pass, const float *x, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    const struct layer_weights *layer = &pass->model->weights.layer[pass->layer];
    struct workspace *work = pass->work;
    uint64_t tokens = work->tokens;
    tsr_status st;
    if (layer->qkv.op) {
        st = apply_linear(pass, &layer->qkv, x, tokens, work->qkv, err);
        if (st == TSR_OK) move_fused(pass, &(struct fused_parts){work->qkv, work->q, work->k, work->v, false});
    } else {
        const struct linear *const linears[] = {&layer->q, &layer->k, &layer->v};
        st = apply_linears(pass, linears, 3, x, tokens, (float *const[]){work->q, work->k, work->v}, err);
    }
    if (st == TSR_OK && spec->clip_qkv > 0) {
        clip(work->q, tokens * spec->heads * spec->head_dim, (float)spec->clip_qkv);
        clip(work->k, tokens * spec->kv_heads * spec->head_dim, (float)spec->clip_qkv);
        clip(work->v, tokens * spec->kv_heads * spec->v_head_dim, (float)spec->clip_qkv);
    }
    return st;
}

static void norm_heads(const struct pass *pass, const struct norm *norm, float *rows, uint64_t heads, uint64_t first,
                       uint64_t end) {
    const struct spec *spec = &pass->model->spec;
    uint64_t dim = spec->head_dim;
    bool together = spec->qk_norm == QK_NORM_ALL;
    if (!norm->present) return;
    for (uint64_t t = first; t < end; t++) {
        float *row = rows + t * heads * dim;
        if (together) {
            norm_row(&pass->model->qk_rule, norm, row, row, heads * dim);
            continue;
        }
        for (uint64_t h = 0; h < heads; h++) {
            struct norm own = *norm;
            if (spec->qk_norm == QK_NORM_HEADS && own.weight) own.weight += h * dim;
            norm_row(&pass->model->qk_rule, &own, row + h * dim, row + h * dim, dim);
        }
    }
}

static void rotate_heads(const struct pass *pass, float *rows, uint64_t heads, uint64_t first,
                         uint64_t end) {
    const struct spec *spec = &pass->model->spec;
    const struct layer_spec *layer = &spec->layer[pass->layer];
    const struct rope_table *table = layer->local_rope ? &pass->work->rope_local : &pass->work->rope;
    if (!layer->rope) return;
    for (uint64_t t = first; t < end; t++) {
        for (uint64_t h = 0; h < heads; h++) {
            rope_rotate(table, spec->rope, t, rows + (t * heads + h) * spec->head_dim);
        }
    }
}

/* For the way back, which cannot tell from normed heads what they were. */
static void keep_raw(const struct pass *pass, uint64_t first, uint64_t end) {
    const struct spec *spec = &pass->model->spec;
    const struct workspace *work = pass->work;
    uint64_t q_width = spec->heads * spec->head_dim, k_width = spec->kv_heads * spec->head_dim;
    if (!work->raw_q) return;
    memcpy(work->raw_q + first * q_width, work->q + first * q_width, (end - first) * q_width * sizeof *work->q);
    memcpy(work->raw_k + first * k_width, work->k + first * k_width, (end - first) * k_width * sizeof *work->k);
}

static void prepare_heads(const struct pass *pass, const void *ctx, uint64_t first, uint64_t end) {
    const struct spec *spec = &pass->model->spec;
    const struct layer_weights *layer = &pass->model->weights.layer[pass->layer];
    (void)ctx;
    keep_raw(pass, first, end);
    norm_heads(pass, &layer->q_norm, pass->work->q, spec->heads, first, end);
    norm_heads(pass, &layer->k_norm, pass->work->k, spec->kv_heads, first, end);
    rotate_heads(pass, pass->work->q, spec->heads, first, end);
    rotate_heads(pass, pass->work->k, spec->kv_heads, first, end);
}

/* ---- the cache ---- */

/* Keys [KEY_BLOCK * block, + KEY_BLOCK) of one head as a panel [head_dim][KEY_BLOCK]. */
static float *key_panel(const struct pass *pass, uint64_t group, uint64_t block) {
    uint64_t blocks = key_blocks(pass->sequence->capacity);
    return pass->sequence->keys[pass->layer] + (group * blocks + block) * pass->model->spec.head_dim * KEY_BLOCK;
}

static float *value_row(const struct pass *pass, uint64_t group, uint64_t position) {
    uint64_t width = value_width(&pass->model->spec);
    return pass->sequence->values[pass->layer] + (group * pass->sequence->capacity + position) * width;
}

/* One head for one block of positions, so that no panel has two writers. A panel is zero before its first key. */
static tsr_status store_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct pass *pass = ctx;
    const struct spec *spec = &pass->model->spec;
    const struct workspace *work = pass->work;
    uint64_t group = index % spec->kv_heads, block = work->first / KEY_BLOCK + index / spec->kv_heads;
    uint64_t from = block * KEY_BLOCK, end = from + KEY_BLOCK, dim = spec->head_dim, v_dim = spec->v_head_dim;
    float *panel = key_panel(pass, group, block);
    (void)worker;
    (void)err;
    if (from >= work->first) memset(panel, 0, dim * KEY_BLOCK * sizeof *panel);
    if (from < work->first) from = work->first;
    if (end > work->first + work->tokens) end = work->first + work->tokens;
    for (uint64_t at = from; at < end; at++) {
        uint64_t row = (at - work->first) * spec->kv_heads + group;
        float *value = value_row(pass, group, at);
        for (uint64_t d = 0; d < dim; d++) panel[d * KEY_BLOCK + at % KEY_BLOCK] = work->k[row * dim + d];
        memcpy(value, work->v + row * v_dim, v_dim * sizeof *value);
        memset(value + v_dim, 0, (value_width(spec) - v_dim) * sizeof *value);
    }
    return TSR_OK;
}

/* ---- the core ---- */

static float round_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000u;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Bias of a key at `position`. Falcon keeps its table in BF16 and scales it with the scores; the official eager code
 * (transformers 4.57) adds it twice, once to the scores and once in the mask, and that is what its goldens hold. */
float alibi_bias(const struct model *model, uint64_t head, uint64_t position, float scale) {
    float slope = model->slopes[head];
    if (model->spec.alibi == ALIBI_ADDED) return slope * (float)position;
    return 2 * round_to_bf16(round_to_bf16(slope) * (float)position) * scale;
}

/* Some queries of the heads that share one key head, and the keys that any of them sees, from a block's start on. */
struct block {
    const struct pass *pass;
    uint64_t group, share;
    uint64_t first, count; /* tokens of the chunk */
    uint64_t base, width;  /* first key, keys in whole blocks */
    float *q, *scores, *out, *sums; /* [count * share][head_dim], [width], [value_width], 1 */
};

uint64_t first_key(const struct pass *pass, uint64_t position) {
    uint64_t window = pass->model->spec.layer[pass->layer].window;
    return window && position + 1 > window ? position + 1 - window : 0;
}

/* Queries times the scale; one row a query and head. */
static void load_queries(const struct block *block) {
    const struct pass *pass = block->pass;
    const struct spec *spec = &pass->model->spec;
    float scale = spec->layer[pass->layer].attn_scale;
    uint64_t dim = spec->head_dim, width = block->share * dim;
    for (uint64_t t = 0; t < block->count; t++) {
        const float *from = pass->work->q + ((block->first + t) * spec->heads + block->group * block->share) * dim;
        for (uint64_t i = 0; i < width; i++) block->q[t * width + i] = from[i] * scale;
    }
}

static void score_keys(const struct block *block) {
    uint64_t dim = block->pass->model->spec.head_dim;
    struct kernel_product product = {.a = block->q,
                                     .a_stride = dim,
                                     .b_stride = KEY_BLOCK,
                                     .c_stride = block->width,
                                     .rows = block->count * block->share,
                                     .columns = KEY_BLOCK,
                                     .depth = dim};
    for (uint64_t at = 0; at < block->width; at += KEY_BLOCK) {
        product.b = key_panel(block->pass, block->group, (block->base + at) / KEY_BLOCK);
        product.c = block->scores + at;
        block->pass->model->kernels->multiply(&product);
    }
}

/* What some families do to scores before the softmax. */
static void bend_scores(const struct block *block, uint64_t head, float *row, uint64_t from, uint64_t end) {
    const struct model *model = block->pass->model;
    float cap = (float)model->spec.attn_softcap, scale = model->spec.layer[block->pass->layer].attn_scale;
    for (uint64_t i = from; i < end && cap > 0; i++) row[i] = cap * tanhf(row[i] / cap);
    for (uint64_t i = from; i < end && model->spec.alibi != ALIBI_NONE; i++) {
        row[i] += alibi_bias(model, head, block->base + i, scale);
    }
}

/* Exponentials in place of scores, 0 where a query does not look, and their sums. */
static void weigh_keys(const struct block *block) {
    const struct pass *pass = block->pass;
    for (uint64_t t = 0; t < block->count; t++) {
        uint64_t position = pass->work->first + block->first + t;
        uint64_t from = first_key(pass, position) - block->base, end = position + 1 - block->base;
        for (uint64_t h = 0; h < block->share; h++) {
            float *row = block->scores + (t * block->share + h) * block->width;
            bend_scores(block, block->group * block->share + h, row, from, end);
            block->sums[t * block->share + h] = pass->model->kernels->exponentials(row, from, end, block->width);
        }
    }
}

/* Each result is one chain over the keys in order; weights of 0 at its ends change nothing. */
static void mix_values(const struct block *block) {
    const struct pass *pass = block->pass;
    const struct spec *spec = &pass->model->spec;
    uint64_t start = pass->work->first + block->first, from = first_key(pass, start), width = value_width(spec);
    struct kernel_product product = {.a = block->scores + (from - block->base),
                                     .b = value_row(pass, block->group, from),
                                     .c = block->out,
                                     .a_stride = block->width,
                                     .b_stride = width,
                                     .c_stride = width,
                                     .rows = block->count * block->share,
                                     .columns = width,
                                     .depth = start + block->count - from};
    pass->model->kernels->multiply(&product);
    for (uint64_t t = 0; t < block->count; t++) {
        float *to = pass->work->heads + ((block->first + t) * spec->heads + block->group * block->share) * spec->v_head_dim;
        for (uint64_t h = 0; h < block->share; h++) {
            const float *row = block->out + (t * block->share + h) * width;
            float factor = 1 / block->sums[t * block->share + h];
            for (uint64_t i = 0; i < spec->v_head_dim; i++) to[h * spec->v_head_dim + i] = row[i] * factor;
        }
    }
}

static uint64_t queries_a_task(const struct spec *spec) {
    uint64_t share = spec->heads / spec->kv_heads;
    return share < ROWS_A_TASK ? ROWS_A_TASK / share : 1;
}

static uint64_t block_floats(const struct spec *spec, uint64_t rows, uint64_t width) {
    return rows * (width + spec->head_dim + value_width(spec) + 1);
}

uint64_t attention_scratch_floats(const struct spec *spec, uint64_t positions) {
    return block_floats(spec, queries_a_task(spec) * (spec->heads / spec->kv_heads), key_blocks(positions) * KEY_BLOCK);
}

/* The last queries see most keys, so they come first. */
static tsr_status attend_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct pass *pass = ctx;
    const struct spec *spec = &pass->model->spec;
    const tsr_host *host = pass->model->host;
    uint64_t queries = queries_a_task(spec), blocks = (pass->work->tokens + queries - 1) / queries;
    struct block block = {.pass = pass, .group = index % spec->kv_heads, .share = spec->heads / spec->kv_heads};
    block.first = (blocks - 1 - index / spec->kv_heads) * queries;
    block.count = pass->work->tokens - block.first < queries ? pass->work->tokens - block.first : queries;
    uint64_t start = pass->work->first + block.first, rows = block.count * block.share;
    block.base = first_key(pass, start) / KEY_BLOCK * KEY_BLOCK;
    block.width = key_blocks(start + block.count - block.base) * KEY_BLOCK;
    block.scores = host->scratch(host, worker, block_floats(spec, rows, block.width) * sizeof(float));
    if (!block.scores) return tsr_fail(err, TSR_E_NOMEM, "out of memory for attention scores");
    block.out = block.scores + rows * block.width;
    block.q = block.out + rows * value_width(spec);
    block.sums = block.q + rows * spec->head_dim;
    load_queries(&block);
    score_keys(&block);
    weigh_keys(&block);
    mix_values(&block);
    return TSR_OK;
}

/* Queries, keys and values of the chunk; keys and values go to the cache. */
static tsr_status project(struct pass *pass, const float *x, tsr_error *err) {
    const struct workspace *work = pass->work;
    const tsr_host *host = pass->model->host;
    bool latent = pass->model->spec.attention == ATTENTION_LATENT;
    tsr_status st = latent ? project_latent(pass, x, err) : project_heads(pass, x, err);
    if (st == TSR_OK && !latent) st = for_tokens(pass, work->tokens, prepare_heads, NULL, err);
    uint64_t blocks = (work->first + work->tokens - 1) / KEY_BLOCK - work->first / KEY_BLOCK + 1;
    if (st == TSR_OK) st = host->parallel_for(host, blocks * pass->model->spec.kv_heads, store_task, pass, err);
    return st;
}

tsr_status run_attention(struct pass *pass, const float *x, float *out, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    const struct layer_weights *layer = &pass->model->weights.layer[pass->layer];
    const tsr_host *host = pass->model->host;
    uint64_t queries = queries_a_task(spec), blocks = (pass->work->tokens + queries - 1) / queries;
    tsr_status st = project(pass, x, err);
    if (st == TSR_OK) st = host->parallel_for(host, blocks * spec->kv_heads, attend_task, pass, err);
    if (st == TSR_OK) st = apply_linear(pass, &layer->o, pass->work->heads, pass->work->tokens, out, err);
    return st;
}
