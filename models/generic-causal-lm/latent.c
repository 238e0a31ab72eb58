/* SPDX-License-Identifier: Apache-2.0
 *
 * Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): queries and keys/values pass through low-rank
 * projections; each head has a part without positions and a rotated part, whose key is shared by all heads. Keys and
 * values are expanded before they are cached, so the core of attention.c serves both kinds. */
#include "graph.h"

#include <string.h>

static tsr_status project_queries(struct pass *pass, const float *x, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    const struct layer_weights *layer = &pass->model->weights.layer[pass->layer];
    struct workspace *work = pass->work;
    if (!spec->q_rank) return apply_linear(pass, &layer->q, x, work->tokens, work->q, err);
    tsr_status st = apply_linear(pass, &layer->q_a, x, work->tokens, work->latent, err);
    if (st != TSR_OK) return st;
    for (uint64_t t = 0; t < work->tokens; t++) {
        float *row = work->latent + t * spec->q_rank;
        norm_row(&pass->model->latent_rule, &layer->q_a_norm, row, row, spec->q_rank);
    }
    return apply_linear(pass, &layer->q_b, work->latent, work->tokens, work->q, err);
}

/* Rotates the positional part of the queries and of the one shared key, and lays keys and values out by head. */
static void assemble(struct pass *pass, const float *shared_keys) {
    const struct spec *spec = &pass->model->spec;
    struct workspace *work = pass->work;
    uint64_t nope = spec->nope_dim, rope = spec->rope_dim, v_dim = spec->v_head_dim;
    for (uint64_t t = 0; t < work->tokens; t++) {
        for (uint64_t h = 0; h < spec->heads; h++) {
            const float *expanded = work->qkv + (t * spec->heads + h) * (nope + v_dim);
            float *q = work->q + (t * spec->heads + h) * (nope + rope), *k = work->k + (t * spec->heads + h) * (nope + rope);
            memcpy(k, expanded, nope * sizeof *k);
            memcpy(k + nope, shared_keys + t * rope, rope * sizeof *k);
            memcpy(work->v + (t * spec->heads + h) * v_dim, expanded + nope, v_dim * sizeof *k);
            rope_rotate(&work->rope, spec->rope, t, q + nope);
            rope_rotate(&work->rope, spec->rope, t, k + nope);
        }
    }
}

tsr_status project_latent(struct pass *pass, const float *x, tsr_error *err) {
    const struct spec *spec = &pass->model->spec;
    const struct layer_weights *layer = &pass->model->weights.layer[pass->layer];
    struct workspace *work = pass->work;
    uint64_t rank = spec->kv_rank, width = rank + spec->rope_dim;
    tsr_status st = project_queries(pass, x, err);
    if (st == TSR_OK) st = apply_linear(pass, &layer->kv_a, x, work->tokens, work->latent, err);
    if (st != TSR_OK) return st;
    /* [latent | shared key] rows become two dense blocks: normalised latents in front, keys behind. */
    float *latents = work->latent + work->tokens * width, *keys = latents + work->tokens * rank;
    for (uint64_t t = 0; t < work->tokens; t++) {
        norm_row(&pass->model->latent_rule, &layer->kv_a_norm, work->latent + t * width, latents + t * rank, rank);
        memcpy(keys + t * spec->rope_dim, work->latent + t * width + rank, spec->rope_dim * sizeof *keys);
    }
    st = apply_linear(pass, &layer->kv_b, latents, work->tokens, work->qkv, err);
    if (st == TSR_OK) assemble(pass, keys);
    return st;
}
