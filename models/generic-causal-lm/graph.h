/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph: a model, a sequence with its cache, and the parts of one layer. A call of forward is cut into chunks of
 * CHUNK_TOKENS, so memory is bounded; every product of a chunk goes through the host's linear operators. */
#ifndef CAUSAL_LM_GRAPH_H
#define CAUSAL_LM_GRAPH_H

#include "kernels.h"
#include "ops.h"

#define CHUNK_TOKENS 512
#define KEY_BLOCK 64 /* keys of a panel */

struct model {
    const tsr_host *host;
    struct spec spec;
    struct weights weights;
    const struct kernels *kernels;
    struct norm_rule norm_rule, qk_rule, latent_rule;
    float *slopes; /* [heads], alibi */
};

struct sequence {
    uint64_t capacity, length;
    float **keys;   /* [layers][kv_heads][blocks of KEY_BLOCK positions][head_dim][KEY_BLOCK] */
    float **values; /* [layers][kv_heads][capacity][value_width] */
};

static inline uint64_t key_blocks(uint64_t positions) {
    return (positions + KEY_BLOCK - 1) / KEY_BLOCK;
}

/* Floats of one row of values: kernels want whole vectors. */
static inline uint64_t value_width(const struct spec *spec) {
    return (spec->v_head_dim + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
}

/* Buffers of one chunk; rows are tokens. Carved from one allocation. */
struct workspace {
    float *memory;
    uint64_t tokens; /* of this chunk */
    uint64_t first;  /* position of the first */
    bool single;     /* forward of one token: apply_one */
    float *x, *normed, *attn, *branch; /* [tokens][hidden] */
    float *q, *k, *v, *qkv;            /* projections */
    float *heads;                      /* [tokens][heads * v_head_dim] */
    float *gate, *up;                  /* [tokens][MLP width] */
    float *latent;                     /* [tokens][ranks] */
    float *routed, *expert_in, *router; /* mixture of experts */
    uint32_t *chosen;                  /* [tokens][experts_per_token] */
    float *chosen_weight;
    uint32_t *gathered;                /* tokens that go to one expert */
    struct rope_table rope, rope_local;
};

/* What a part of the graph gets. */
struct pass {
    struct model *model;
    struct sequence *sequence;
    struct workspace *work;
    const tsr_hooks *hooks;
    uint64_t layer;
};

/* y = x W^T + bias for the tokens of the chunk (or `tokens` of them); reports the input to the hook. */
tsr_status apply_linear(struct pass *pass, const struct linear *linear, const float *x, uint64_t tokens, float *y,
                        tsr_error *err);
/* The same by several that read the same x, at most TSR_TOGETHER_MAX. */
tsr_status apply_linears(struct pass *pass, const struct linear *const *linears, uint64_t count, const float *x, uint64_t tokens,
                         float *const *y, tsr_error *err);
/* Runs `part` over `tokens` rows, some at a time, on all workers. */
typedef void (*token_part)(const struct pass *pass, const void *ctx, uint64_t first, uint64_t end);
tsr_status for_tokens(const struct pass *pass, uint64_t tokens, token_part part, const void *ctx, tsr_error *err);

/* out [tokens][hidden] = attention of the normed input, cache included. */
tsr_status run_attention(struct pass *pass, const float *x, float *out, tsr_error *err);
/* Projections into work->q, and into the cache: the latent form. */
tsr_status project_latent(struct pass *pass, const float *x, tsr_error *err);
/* out [tokens][hidden] = dense MLP or mixture of experts. */
tsr_status run_mlp(struct pass *pass, const float *x, float *out, tsr_error *err);

tsr_status workspace_create(const struct model *model, uint64_t tokens, struct workspace *work, tsr_error *err);
void workspace_clear(const struct model *model, struct workspace *work);

tsr_status run_forward(struct model *model, struct sequence *sequence, const uint32_t *tokens, uint64_t count,
                       const tsr_hooks *hooks, float *logits, tsr_error *err);
/* logits [tokens][vocabulary] of final hidden states. */
tsr_status run_head(struct model *model, const float *states, uint64_t tokens, float *logits, tsr_error *err);

#endif
