/* SPDX-License-Identifier: Apache-2.0
 *
 * The way back through the projections of latent.c. */
#include "reverse.h"

#include <string.h>

/* Rotated parts back; keys and values of all heads into the rows that kv_b gave, and the one key that all heads share
 * behind the latents' place in rows [rank | shared key] of g_latent. */
static void take_apart(struct reverse *reverse) {
    const struct spec *spec = &reverse->pass.model->spec;
    const struct workspace *work = &reverse->work;
    uint64_t nope = spec->nope_dim, rope = spec->rope_dim, v_dim = spec->v_head_dim, dim = nope + rope;
    for (uint64_t t = 0; t < work->tokens; t++) {
        float *shared = reverse->g_latent + t * (spec->kv_rank + rope) + spec->kv_rank;
        memset(shared, 0, rope * sizeof *shared);
        for (uint64_t h = 0; h < spec->heads; h++) {
            uint64_t row = t * spec->heads + h;
            float *g_k = reverse->g_k + row * dim, *expanded = reverse->g_qkv + row * (nope + v_dim);
            reverse_rotate(&work->rope, spec->rope, t, reverse->g_q + row * dim + nope);
            reverse_rotate(&work->rope, spec->rope, t, g_k + nope);
            memcpy(expanded, g_k, nope * sizeof *g_k);
            memcpy(expanded + nope, reverse->g_v + row * v_dim, v_dim * sizeof *g_k);
            for (uint64_t i = 0; i < rope; i++) shared[i] += g_k[nope + i];
        }
    }
}

/* x is what q_a got: what it gave has been overwritten and is made once more, in the place of the values. */
static tsr_status reverse_queries(struct reverse *reverse, tsr_error *err) {
    struct model *model = reverse->pass.model;
    struct layer_weights *layer = &model->weights.layer[reverse->pass.layer];
    uint64_t tokens = reverse->work.tokens, rank = model->spec.q_rank;
    float *raw = reverse->work.latent, *g = reverse->spare;
    if (!rank) return reverse_linear(reverse, &layer->q, reverse->g_q, tokens, reverse->g_inner, true, err);
    tsr_status st = apply_linear(&reverse->pass, &layer->q_a, reverse->attn_in, tokens, raw, err);
    if (st == TSR_OK) st = reverse_linear(reverse, &layer->q_b, reverse->g_q, tokens, g, false, err);
    if (st != TSR_OK) return st;
    for (uint64_t t = 0; t < tokens; t++) {
        reverse_norm_row(&model->latent_rule, &layer->q_a_norm, raw + t * rank, g + t * rank, reverse->g_latent + t * rank, rank);
    }
    return reverse_linear(reverse, &layer->q_a, reverse->g_latent, tokens, reverse->g_inner, true, err);
}

tsr_status reverse_latent(struct reverse *reverse, tsr_error *err) {
    struct model *model = reverse->pass.model;
    struct layer_weights *layer = &model->weights.layer[reverse->pass.layer];
    uint64_t tokens = reverse->work.tokens, rank = model->spec.kv_rank, width = rank + model->spec.rope_dim;
    const float *raw = reverse->work.latent; /* [latent | shared key], as kv_a gave it */
    float *g = reverse->spare;
    take_apart(reverse);
    tsr_status st = reverse_linear(reverse, &layer->kv_b, reverse->g_qkv, tokens, g, false, err);
    if (st != TSR_OK) return st;
    for (uint64_t t = 0; t < tokens; t++) {
        reverse_norm_row(&model->latent_rule, &layer->kv_a_norm, raw + t * width, g + t * rank, reverse->g_latent + t * width,
                         rank);
    }
    st = reverse_linear(reverse, &layer->kv_a, reverse->g_latent, tokens, reverse->g_inner, false, err);
    return st == TSR_OK ? reverse_queries(reverse, err) : st;
}
