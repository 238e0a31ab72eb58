/* SPDX-License-Identifier: Apache-2.0
 *
 * The way back through attention. Scores and weights of a block of queries are made again; with P the weights, O = P V the
 * result and G its gradient: dV = P^T G, dS = P (G V^T - rowsum(P G V^T)), dQ = dS K, dK = dS^T Q (Dao et al. 2022,
 * arXiv:2205.14135, appendix B). One task is one query head, which adds its blocks of queries in order; heads that share
 * keys are then summed in order. */
#include "reverse.h"

#include <math.h>
#include <string.h>

#define BLOCK 64 /* queries */

/* One query head. Widths are padded to whole vectors, rows of keys to whole vectors too. */
struct head {
    struct reverse *reverse;
    uint64_t head, group;
    uint64_t positions, dim, v_dim;                 /* padded */
    float *keys, *keys_turned, *values_turned;      /* [positions][dim], [dim][positions], [v_dim][positions] */
    float *g_keys, *g_values;                       /* [positions][dim], [v_dim]: sums */
    float *q, *g_out;                               /* [BLOCK][dim], [v_dim] */
    float *weights, *g_scores, *bent;               /* [BLOCK][positions] */
    float *weights_turned, *g_scores_turned;        /* [positions][BLOCK] */
    float *product;                                 /* [positions or BLOCK][dim or v_dim] */
    uint64_t first, count;                          /* queries at hand */
    uint64_t base, width;                           /* keys that any of them sees, in whole vectors */
};

static uint64_t whole(uint64_t count) {
    return (count + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
}

/* Where each buffer of a head begins, in floats. */
static uint64_t lay_out_head(struct head *head, float *memory) {
    uint64_t n = head->positions, wide = head->dim > head->v_dim ? head->dim : head->v_dim;
    struct {
        float **place;
        uint64_t floats;
    } parts[] = {
        {&head->keys, n * head->dim},       {&head->keys_turned, n * head->dim}, {&head->values_turned, n * head->v_dim},
        {&head->g_keys, n * head->dim},     {&head->g_values, n * head->v_dim},  {&head->q, BLOCK * head->dim},
        {&head->g_out, BLOCK * head->v_dim}, {&head->weights, BLOCK * n},         {&head->g_scores, BLOCK * n},
        {&head->bent, BLOCK * n},           {&head->weights_turned, BLOCK * n},  {&head->g_scores_turned, BLOCK * n},
        {&head->product, (n > BLOCK ? n : BLOCK) * wide},
    };
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (memory) *parts[i].place = memory + total;
        total += parts[i].floats;
    }
    return total;
}

uint64_t reverse_head_floats(const struct spec *spec, uint64_t tokens) {
    struct head head = {.positions = whole(tokens), .dim = whole(spec->head_dim), .v_dim = whole(spec->v_head_dim)};
    return lay_out_head(&head, NULL);
}

/* Keys and values of the head's group in the orders that the products want; what pads is 0. */
static void load_keys(struct head *head) {
    const struct spec *spec = &head->reverse->pass.model->spec;
    const struct workspace *work = &head->reverse->work;
    uint64_t n = head->positions, dim = spec->head_dim, v_dim = spec->v_head_dim;
    memset(head->keys, 0, (size_t)(head->q - head->keys) * sizeof *head->keys);
    for (uint64_t t = 0; t < work->tokens; t++) {
        const float *key = work->k + (t * spec->kv_heads + head->group) * dim;
        const float *value = work->v + (t * spec->kv_heads + head->group) * v_dim;
        memcpy(head->keys + t * head->dim, key, dim * sizeof *key);
        for (uint64_t d = 0; d < dim; d++) head->keys_turned[d * n + t] = key[d];
        for (uint64_t d = 0; d < v_dim; d++) head->values_turned[d * n + t] = value[d];
    }
}

/* Queries times the scale, and the gradients of what they found. */
static void load_block(struct head *head) {
    const struct pass *pass = &head->reverse->pass;
    const struct spec *spec = &pass->model->spec;
    uint64_t dim = spec->head_dim, v_dim = spec->v_head_dim;
    float scale = spec->layer[pass->layer].attn_scale;
    memset(head->q, 0, BLOCK * (head->dim + head->v_dim) * sizeof *head->q); /* g_out follows */
    for (uint64_t t = 0; t < head->count; t++) {
        uint64_t row = (head->first + t) * spec->heads + head->head;
        for (uint64_t d = 0; d < dim; d++) head->q[t * head->dim + d] = pass->work->q[row * dim + d] * scale;
        memcpy(head->g_out + t * head->v_dim, head->reverse->g_heads + row * v_dim, v_dim * sizeof(float));
    }
}

/* c [rows][columns] = a b, each with its stride. */
static void multiply(const struct head *head, const float *a, uint64_t a_stride, const float *b, uint64_t b_stride, float *c,
                     uint64_t rows, uint64_t columns, uint64_t depth) {
    const struct kernel_product product = {a, b, c, a_stride, b_stride, columns, rows, columns, depth};
    head->reverse->pass.model->kernels->multiply(&product);
}

/* What some families do to scores before the softmax, and its slope where it has one. */
static void bend(const struct head *head, float *row, float *slope, uint64_t from, uint64_t end) {
    const struct pass *pass = &head->reverse->pass;
    const struct spec *spec = &pass->model->spec;
    float cap = (float)spec->attn_softcap, scale = spec->layer[pass->layer].attn_scale;
    for (uint64_t i = from; i < end && cap > 0; i++) {
        float bounded = tanhf(row[i] / cap);
        row[i] = cap * bounded;
        slope[i] = 1 - bounded * bounded;
    }
    for (uint64_t i = from; i < end && spec->alibi != ALIBI_NONE; i++) {
        row[i] += alibi_bias(pass->model, head->head, head->base + i, scale);
    }
}

/* Scores of one query become its weights. */
static void weigh(const struct head *head, uint64_t t) {
    const struct pass *pass = &head->reverse->pass;
    uint64_t position = head->first + t, width = head->width;
    uint64_t from = first_key(pass, position) - head->base, end = position + 1 - head->base;
    float *row = head->weights + t * width;
    bend(head, row, head->bent + t * width, from, end);
    float factor = 1 / pass->model->kernels->exponentials(row, from, end, width);
    for (uint64_t i = from; i < end; i++) row[i] *= factor;
}

/* Gradients of one query's weights become those of its scores, which are products of queries and keys again. */
static void reverse_weigh(const struct head *head, uint64_t t) {
    const float *weights = head->weights + t * head->width, *slope = head->bent + t * head->width;
    bool bent = head->reverse->pass.model->spec.attn_softcap > 0;
    float *g = head->g_scores + t * head->width;
    double along = 0;
    for (uint64_t i = 0; i < head->width; i++) along += (double)weights[i] * (double)g[i];
    for (uint64_t i = 0; i < head->width; i++) g[i] = weights[i] * (g[i] - (float)along);
    for (uint64_t i = 0; i < head->width && bent; i++) g[i] = weights[i] > 0 ? g[i] * slope[i] : 0;
}

static void turn(const struct head *head, const float *rows, float *turned) {
    for (uint64_t i = 0; i < head->width; i++) {
        for (uint64_t t = 0; t < head->count; t++) turned[i * BLOCK + t] = rows[t * head->width + i];
    }
}

static void add_to(const struct head *head, float *sums, const float *product, uint64_t count) {
    head->reverse->pass.model->kernels->add_scaled(sums, 1, product, count);
}

static void reverse_block(struct head *head) {
    const struct pass *pass = &head->reverse->pass;
    const struct spec *spec = &pass->model->spec;
    float scale = spec->layer[pass->layer].attn_scale;
    head->base = first_key(pass, head->first) / KERNEL_LANES * KERNEL_LANES;
    head->width = whole(head->first + head->count - head->base);
    load_block(head);
    multiply(head, head->q, head->dim, head->keys_turned + head->base, head->positions, head->weights, head->count, head->width,
             spec->head_dim);
    multiply(head, head->g_out, head->v_dim, head->values_turned + head->base, head->positions, head->g_scores, head->count,
             head->width, spec->v_head_dim);
    for (uint64_t t = 0; t < head->count; t++) {
        weigh(head, t);
        reverse_weigh(head, t);
    }
    turn(head, head->weights, head->weights_turned);
    turn(head, head->g_scores, head->g_scores_turned);
    multiply(head, head->weights_turned, BLOCK, head->g_out, head->v_dim, head->product, head->width, head->v_dim, head->count);
    add_to(head, head->g_values + head->base * head->v_dim, head->product, head->width * head->v_dim);
    multiply(head, head->g_scores_turned, BLOCK, head->q, head->dim, head->product, head->width, head->dim, head->count);
    add_to(head, head->g_keys + head->base * head->dim, head->product, head->width * head->dim);
    multiply(head, head->g_scores, head->width, head->keys + head->base * head->dim, head->dim, head->product, head->count,
             head->dim, head->width);
    for (uint64_t t = 0; t < head->count; t++) {
        float *g = head->reverse->g_q + ((head->first + t) * spec->heads + head->head) * spec->head_dim;
        for (uint64_t d = 0; d < spec->head_dim; d++) g[d] = head->product[t * head->dim + d] * scale;
    }
}

static tsr_status head_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct reverse *reverse = ctx;
    const struct spec *spec = &reverse->pass.model->spec;
    const tsr_host *host = reverse->pass.model->host;
    uint64_t tokens = reverse->work.tokens, heads = spec->heads;
    struct head head = {.reverse = reverse, .head = index, .group = index / (heads / spec->kv_heads),
                        .positions = whole(tokens), .dim = whole(spec->head_dim), .v_dim = whole(spec->v_head_dim)};
    float *memory = host->scratch(host, worker, lay_out_head(&head, NULL) * sizeof *memory);
    if (!memory) return tsr_fail(err, TSR_E_NOMEM, "out of memory for gradients of attention");
    (void)lay_out_head(&head, memory);
    load_keys(&head);
    for (head.first = 0; head.first < tokens; head.first += BLOCK) {
        head.count = tokens - head.first < BLOCK ? tokens - head.first : BLOCK;
        reverse_block(&head);
    }
    for (uint64_t t = 0; t < tokens; t++) {
        memcpy(reverse->g_head_k + (t * heads + index) * spec->head_dim, head.g_keys + t * head.dim,
               spec->head_dim * sizeof(float));
        memcpy(reverse->g_head_v + (t * heads + index) * spec->v_head_dim, head.g_values + t * head.v_dim,
               spec->v_head_dim * sizeof(float));
    }
    return TSR_OK;
}

/* Rows [heads][width] of one token become [groups][width]: sums over the heads that share a group. */
static void sum_shared(const float *from, uint64_t groups, uint64_t share, uint64_t width, float *to) {
    memset(to, 0, groups * width * sizeof *to);
    for (uint64_t h = 0; h < groups * share; h++) {
        for (uint64_t d = 0; d < width; d++) to[h / share * width + d] += from[h * width + d];
    }
}

static void reverse_norm_heads(const struct pass *pass, const struct norm *norm, const float *raw, uint64_t heads, float *g) {
    const struct spec *spec = &pass->model->spec;
    uint64_t dim = spec->head_dim;
    if (!norm->present) return;
    if (spec->qk_norm == QK_NORM_ALL) {
        reverse_norm_row(&pass->model->qk_rule, norm, raw, g, g, heads * dim);
        return;
    }
    for (uint64_t h = 0; h < heads; h++) {
        struct norm own = *norm;
        if (spec->qk_norm == QK_NORM_HEADS && own.weight) own.weight += h * dim;
        reverse_norm_row(&pass->model->qk_rule, &own, raw + h * dim, g + h * dim, g + h * dim, dim);
    }
}

/* Values at the limit have been cut off. */
static void reverse_clip(const float *clipped, float limit, uint64_t count, float *g) {
    for (uint64_t i = 0; i < count && limit > 0; i++) {
        if (fabsf(clipped[i]) >= limit) g[i] = 0;
    }
}

/* ctx: the reverse. From rotated heads to what the projections gave, for some tokens. */
static void reverse_prepare(const struct pass *pass, const void *ctx, uint64_t first, uint64_t end) {
    const struct reverse *reverse = ctx;
    const struct spec *spec = &pass->model->spec;
    const struct layer_spec *rules = &spec->layer[pass->layer];
    const struct layer_weights *layer = &pass->model->weights.layer[pass->layer];
    const struct rope_table *table = rules->local_rope ? &pass->work->rope_local : &pass->work->rope;
    uint64_t q_width = spec->heads * spec->head_dim, k_width = spec->kv_heads * spec->head_dim;
    for (uint64_t t = first; t < end; t++) {
        float *g_q = reverse->g_q + t * q_width, *g_k = reverse->g_k + t * k_width;
        for (uint64_t at = 0; at < q_width && rules->rope; at += spec->head_dim) reverse_rotate(table, spec->rope, t, g_q + at);
        for (uint64_t at = 0; at < k_width && rules->rope; at += spec->head_dim) reverse_rotate(table, spec->rope, t, g_k + at);
        reverse_norm_heads(pass, &layer->q_norm, pass->work->raw_q + t * q_width, spec->heads, g_q);
        reverse_norm_heads(pass, &layer->k_norm, pass->work->raw_k + t * k_width, spec->kv_heads, g_k);
    }
}

static void sum_groups(const struct pass *pass, const void *ctx, uint64_t first, uint64_t end) {
    const struct reverse *reverse = ctx;
    const struct spec *spec = &pass->model->spec;
    uint64_t groups = spec->kv_heads, share = spec->heads / groups, dim = spec->head_dim, v_dim = spec->v_head_dim;
    for (uint64_t t = first; t < end; t++) {
        sum_shared(reverse->g_head_k + t * spec->heads * dim, groups, share, dim, reverse->g_k + t * groups * dim);
        sum_shared(reverse->g_head_v + t * spec->heads * v_dim, groups, share, v_dim, reverse->g_v + t * groups * v_dim);
    }
}

static tsr_status reverse_projections(struct reverse *reverse, tsr_error *err) {
    const struct spec *spec = &reverse->pass.model->spec;
    struct layer_weights *layer = &reverse->pass.model->weights.layer[reverse->pass.layer];
    struct workspace *work = &reverse->work;
    uint64_t n = work->tokens;
    float limit = (float)spec->clip_qkv;
    reverse_clip(work->raw_q, limit, n * spec->heads * spec->head_dim, reverse->g_q);
    reverse_clip(work->raw_k, limit, n * spec->kv_heads * spec->head_dim, reverse->g_k);
    reverse_clip(work->v, limit, n * spec->kv_heads * spec->v_head_dim, reverse->g_v);
    if (layer->qkv.op) {
        move_fused(&reverse->pass, &(struct fused_parts){reverse->g_qkv, reverse->g_q, reverse->g_k, reverse->g_v, true});
        return reverse_linear(reverse, &layer->qkv, reverse->g_qkv, n, reverse->g_inner, false, err);
    }
    tsr_status st = reverse_linear(reverse, &layer->q, reverse->g_q, n, reverse->g_inner, false, err);
    if (st == TSR_OK) st = reverse_linear(reverse, &layer->k, reverse->g_k, n, reverse->g_inner, true, err);
    if (st == TSR_OK) st = reverse_linear(reverse, &layer->v, reverse->g_v, n, reverse->g_inner, true, err);
    return st;
}

tsr_status reverse_attention(struct reverse *reverse, tsr_error *err) {
    struct model *model = reverse->pass.model;
    struct layer_weights *layer = &model->weights.layer[reverse->pass.layer];
    uint64_t tokens = reverse->work.tokens;
    tsr_status st = reverse_linear(reverse, &layer->o, reverse->g_part, tokens, reverse->g_heads, false, err);
    if (st == TSR_OK) st = model->host->parallel_for(model->host, model->spec.heads, head_task, reverse, err);
    if (st == TSR_OK) st = for_tokens(&reverse->pass, tokens, sum_groups, reverse, err);
    if (st != TSR_OK) return st;
    if (model->spec.attention == ATTENTION_LATENT) return reverse_latent(reverse, err);
    st = for_tokens(&reverse->pass, tokens, reverse_prepare, reverse, err);
    return st == TSR_OK ? reverse_projections(reverse, err) : st;
}
