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
    bool shared;    /* all layers have the same */
};

/* `shared`: for a sequence that is taken whole through one layer after another. */
tsr_status sequence_open(const struct model *model, uint64_t capacity, bool shared, struct sequence **sequence, tsr_error *err);
void sequence_close(const struct model *model, struct sequence *sequence); /* NULL is allowed */
/* Floats of the cache of one layer. */
uint64_t sequence_layer_floats(const struct spec *spec, uint64_t capacity);

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
    float *raw_q, *raw_k;              /* copies of q and k before their norms, or NULL */
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

/* to = norm(x), rows of hidden width; x and to may be the same. A norm that is not there copies. */
tsr_status apply_norm(const struct pass *pass, const struct norm *norm, float *x, float *to, tsr_error *err);
/* work->x += scale * y, then to = norm(work->x) where there is a norm. */
tsr_status add_and_norm(const struct pass *pass, const float *y, const struct norm *norm, float *to, tsr_error *err);

/* Embedded tokens in work->x, without the norm that some families put behind. */
tsr_status embed_tokens(struct pass *pass, const uint32_t *tokens, tsr_error *err);
/* One layer, from work->x to work->x. */
tsr_status run_layer(struct pass *pass, tsr_error *err);
/* What the output matrix is multiplied with, from work->x into work->normed, [tokens][embed_width]. */
tsr_status run_final(struct pass *pass, tsr_error *err);
/* Positions whose logits are in memory at once. */
uint64_t logit_rows(const struct spec *spec);
bool plain_logits(const struct spec *spec);
/* Logits of final states [tokens][embed_width]. */
tsr_status apply_head(struct pass *pass, const float *states, uint64_t tokens, float *logits, tsr_error *err);

/* out [tokens][hidden] = attention of the normed input, cache included. */
tsr_status run_attention(struct pass *pass, const float *x, float *out, tsr_error *err);
/* Floats of scratch that one worker takes for a sequence of so many positions. */
uint64_t attention_scratch_floats(const struct spec *spec, uint64_t positions);
/* What a rule of the scores needs: the first key that the query at `position` sees, and the bias of a key (alibi). */
uint64_t first_key(const struct pass *pass, uint64_t position);
float alibi_bias(const struct model *model, uint64_t head, uint64_t position, float scale);
/* Moves rows of the fused projection into q, k and v, or back. */
struct fused_parts {
    float *qkv, *q, *k, *v;
    bool join;
};
void move_fused(const struct pass *pass, const struct fused_parts *parts);
/* Projections into work->q, and into the cache: the latent form. */
tsr_status project_latent(struct pass *pass, const float *x, tsr_error *err);
/* out [tokens][hidden] = dense MLP or mixture of experts. */
tsr_status run_mlp(struct pass *pass, const float *x, float *out, tsr_error *err);

/* out [tokens][hidden] = one MLP applied to x [tokens][hidden]. */
tsr_status run_one(struct pass *pass, const struct mlp_weights *mlp, const float *x, uint64_t tokens, float *out,
                   tsr_error *err);
/* work->routed [tokens * choices][hidden] gets each expert's answer in the place of the choice. */
tsr_status run_experts(struct pass *pass, const struct layer_weights *layer, const float *x, float *answer, tsr_error *err);
/* Chooses the experts of all tokens: router logits in work->router become probabilities, choices and their weights go
 * to work->chosen and work->chosen_weight. */
void route_tokens(struct pass *pass);
/* Rows of x whose token chose the expert go to work->expert_in, their places (token * choices + rank) to work->gathered. */
uint64_t gather_tokens(struct pass *pass, uint32_t expert, const float *x);

tsr_status fill_rope(const struct model *model, struct workspace *work, uint64_t length, tsr_error *err);
uint64_t workspace_floats(const struct spec *spec, uint64_t tokens);
tsr_status workspace_create(const struct model *model, uint64_t tokens, struct workspace *work, tsr_error *err);
void workspace_clear(const struct model *model, struct workspace *work);

tsr_status run_forward(struct model *model, struct sequence *sequence, const uint32_t *tokens, uint64_t count,
                       const tsr_hooks *hooks, float *logits, tsr_error *err);
/* logits [tokens][vocabulary] of final hidden states. */
tsr_status run_head(struct model *model, const float *states, uint64_t tokens, float *logits, tsr_error *err);

#endif
