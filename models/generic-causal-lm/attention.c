/* SPDX-License-Identifier: Apache-2.0
 *
 * Causal attention over the cache. Projections are made for the whole chunk, rotated, and stored; then each head of each
 * token is a task of its own that reads the cache, so the result does not depend on chunks or workers. */
#include "graph.h"

#include <math.h>
#include <string.h>

#define QUERIES_A_TASK 16

/* ---- projections ---- */

/* Splits rows of a fused projection into q, k and v: all q then all k then all v, or group by group
 * [q of the group, k, v] (one query head a group: head by head). */
static void split_fused(const struct pass *pass) {
    const struct spec *spec = &pass->model->spec;
    struct workspace *work = pass->work;
    uint64_t dim = spec->head_dim, v_dim = spec->v_head_dim, share = spec->heads / spec->kv_heads;
    uint64_t groups = spec->qkv == QKV_GROUPED ? spec->kv_heads : 1, per_group = spec->kv_heads / groups;
    for (uint64_t t = 0; t < work->tokens; t++) {
        const float *from = work->qkv + t * (spec->heads * dim + spec->kv_heads * (dim + v_dim));
        float *q = work->q + t * spec->heads * dim, *k = work->k + t * spec->kv_heads * dim,
              *v = work->v + t * spec->kv_heads * v_dim;
        for (uint64_t g = 0; g < groups; g++) {
            uint64_t q_count = per_group * share * dim, k_count = per_group * dim, v_count = per_group * v_dim;
            memcpy(q + g * q_count, from, q_count * sizeof *q);
            memcpy(k + g * k_count, from + q_count, k_count * sizeof *k);
            memcpy(v + g * v_count, from + q_count + k_count, v_count * sizeof *v);
            from += q_count + k_count + v_count;
        }
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
        if (st == TSR_OK) split_fused(pass);
    } else {
        st = apply_linear(pass, &layer->q, x, tokens, work->q, err);
        if (st == TSR_OK) st = apply_linear(pass, &layer->k, x, tokens, work->k, err);
        if (st == TSR_OK) st = apply_linear(pass, &layer->v, x, tokens, work->v, err);
    }
    if (st == TSR_OK && spec->clip_qkv > 0) {
        clip(work->q, tokens * spec->heads * spec->head_dim, (float)spec->clip_qkv);
        clip(work->k, tokens * spec->kv_heads * spec->head_dim, (float)spec->clip_qkv);
        clip(work->v, tokens * spec->kv_heads * spec->v_head_dim, (float)spec->clip_qkv);
    }
    return st;
}

static void norm_heads(const struct pass *pass, const struct norm *norm, float *rows, uint64_t heads) {
    const struct spec *spec = &pass->model->spec;
    uint64_t dim = spec->head_dim;
    bool together = spec->qk_norm == QK_NORM_ALL;
    if (!norm->present) return;
    for (uint64_t t = 0; t < pass->work->tokens; t++) {
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

static void rotate_heads(const struct pass *pass, float *rows, uint64_t heads) {
    const struct spec *spec = &pass->model->spec;
    const struct layer_spec *layer = &spec->layer[pass->layer];
    const struct rope_table *table = layer->local_rope ? &pass->work->rope_local : &pass->work->rope;
    if (!layer->rope) return;
    for (uint64_t t = 0; t < pass->work->tokens; t++) {
        for (uint64_t h = 0; h < heads; h++) {
            rope_rotate(table, spec->rope, t, rows + (t * heads + h) * spec->head_dim);
        }
    }
}

static void store_in_cache(const struct pass *pass) {
    const struct spec *spec = &pass->model->spec;
    const struct workspace *work = pass->work;
    uint64_t k_width = spec->kv_heads * spec->head_dim, v_width = spec->kv_heads * spec->v_head_dim;
    memcpy(pass->sequence->keys[pass->layer] + work->first * k_width, work->k, work->tokens * k_width * sizeof(float));
    memcpy(pass->sequence->values[pass->layer] + work->first * v_width, work->v, work->tokens * v_width * sizeof(float));
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
static float alibi_bias(const struct model *model, uint64_t head, uint64_t position, float scale) {
    float slope = model->slopes[head];
    if (model->spec.alibi == ALIBI_ADDED) return slope * (float)position;
    return 2 * round_to_bf16(round_to_bf16(slope) * (float)position) * scale;
}

/* Scores of one query against keys first..last, then softmax in place. */
static void weigh_keys(const struct pass *pass, const float *query, uint64_t head, uint64_t first, uint64_t last,
                       float *scores) {
    const struct model *model = pass->model;
    const struct spec *spec = &model->spec;
    uint64_t width = spec->kv_heads * spec->head_dim, group = head / (spec->heads / spec->kv_heads);
    const float *keys = pass->sequence->keys[pass->layer] + group * spec->head_dim;
    float scale = spec->layer[pass->layer].attn_scale, largest = -INFINITY, sum = 0, cap = (float)spec->attn_softcap;
    for (uint64_t j = first; j <= last; j++) {
        float score = model->kernels->dot(query, keys + j * width, spec->head_dim) * scale;
        if (cap > 0) score = cap * tanhf(score / cap);
        if (spec->alibi != ALIBI_NONE) score += alibi_bias(model, head, j, scale);
        scores[j - first] = score;
        largest = fmaxf(largest, score);
    }
    for (uint64_t j = first; j <= last; j++) {
        scores[j - first] = expf(scores[j - first] - largest);
        sum += scores[j - first];
    }
    for (uint64_t j = first; j <= last; j++) scores[j - first] /= sum;
}

static void attend(const struct pass *pass, uint64_t token, uint64_t head, float *scores) {
    const struct spec *spec = &pass->model->spec;
    const struct workspace *work = pass->work;
    uint64_t window = spec->layer[pass->layer].window, last = work->first + token;
    uint64_t first = window && last + 1 > window ? last + 1 - window : 0;
    uint64_t width = spec->kv_heads * spec->v_head_dim, group = head / (spec->heads / spec->kv_heads);
    const float *values = pass->sequence->values[pass->layer] + group * spec->v_head_dim;
    float *out = work->heads + (token * spec->heads + head) * spec->v_head_dim;
    weigh_keys(pass, work->q + (token * spec->heads + head) * spec->head_dim, head, first, last, scores);
    memset(out, 0, spec->v_head_dim * sizeof *out);
    for (uint64_t j = first; j <= last; j++) {
        pass->model->kernels->add_scaled(out, scores[j - first], values + j * width, spec->v_head_dim);
    }
}

/* One head for some queries. */
static tsr_status attend_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct pass *pass = ctx;
    const struct spec *spec = &pass->model->spec;
    const tsr_host *host = pass->model->host;
    uint64_t head = index % spec->heads, first = index / spec->heads * QUERIES_A_TASK;
    uint64_t end = first + QUERIES_A_TASK < pass->work->tokens ? first + QUERIES_A_TASK : pass->work->tokens;
    float *scores = host->scratch(host, worker, (pass->work->first + end) * sizeof *scores);
    if (!scores) return tsr_fail(err, TSR_E_NOMEM, "out of memory for attention scores");
    for (uint64_t t = first; t < end; t++) attend(pass, t, head, scores);
    return TSR_OK;
}

tsr_status run_attention(struct pass *pass, const float *x, float *out, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    const struct layer_weights *layer = &pass->model->weights.layer[pass->layer];
    struct workspace *work = pass->work;
    const tsr_host *host = pass->model->host;
    tsr_status st;
    if (spec->attention == ATTENTION_LATENT) {
        st = project_latent(pass, x, err);
    } else {
        st = project_heads(pass, x, err);
        norm_heads(pass, &layer->q_norm, work->q, spec->heads);
        norm_heads(pass, &layer->k_norm, work->k, spec->kv_heads);
        rotate_heads(pass, work->q, spec->heads);
        rotate_heads(pass, work->k, spec->kv_heads);
    }
    if (st != TSR_OK) return st;
    store_in_cache(pass);
    uint64_t blocks = (work->tokens + QUERIES_A_TASK - 1) / QUERIES_A_TASK;
    st = host->parallel_for(host, blocks * spec->heads, attend_task, pass, err);
    if (st == TSR_OK) st = apply_linear(pass, &layer->o, work->heads, work->tokens, out, err);
    return st;
}
