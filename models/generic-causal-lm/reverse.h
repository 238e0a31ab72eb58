/* SPDX-License-Identifier: Apache-2.0
 *
 * The way back through the graph: of every part the gradient of its input from the gradient of its output (reverse-mode
 * differentiation). A layer is computed forwards once more from what entered it, by the functions of the graph itself; then
 * its parts are taken in the opposite order. Weights get no gradient, so inputs of products need not be kept. Work is cut
 * by shape and summed in a fixed order, as in the graph. */
#ifndef CAUSAL_LM_REVERSE_H
#define CAUSAL_LM_REVERSE_H

#include "graph.h"

#include <tessera/ext/reverse.h>

/* Buffers; rows are tokens, g_ is the gradient of what the rest of a name says. Carved from one allocation. */
struct reverse {
    struct pass pass; /* without hooks: they are for the way there */
    struct workspace work;
    const tsr_reverse_hooks *hooks;
    float *memory;
    float *g;        /* [tokens][hidden]: of the residual stream */
    float *g_part;   /* [tokens][hidden]: of what a part of a layer gives */
    float *g_inner;  /* [tokens][hidden]: of what a part of a layer gets */
    float *middle;   /* [tokens][hidden]: the residual stream between attention and MLP */
    float *attn_in, *attn_out; /* [tokens][hidden] */
    float *spare;    /* [tokens][width of any input] */
    float *g_heads, *g_q, *g_k, *g_v, *g_qkv;
    float *g_head_k, *g_head_v; /* [tokens][heads * width]: of keys and values by query head */
    float *g_gate, *g_up;
    float *g_latent;
    float *answer, *g_answer, *g_rows; /* [tokens][hidden]: of one expert */
    float *g_router, *probabilities;   /* [tokens][experts] */
    float *g_chosen;                   /* [tokens][experts_per_token]: of the weights of choices */
    uint64_t width;                    /* of the MLP at hand */
    uint64_t capacity;
};

/* to [tokens][columns] = g [tokens][rows] W, or added to it; reports g. */
tsr_status reverse_linear(struct reverse *reverse, struct linear *linear, const float *g, uint64_t tokens, float *to,
                          bool add, tsr_error *err);

/* to = gradient of a norm's input x from g, that of its output; to may be g. */
void reverse_norm_row(const struct norm_rule *rule, const struct norm *norm, const float *x, const float *g, float *to,
                      uint64_t width);
/* f(x) and f'(x). */
void activation_slope(int32_t activation, float x, float *value, float *slope);
/* Inverse of rope_rotate's matrix transposed: the gradient of what was rotated, in place. */
void reverse_rotate(const struct rope_table *table, int32_t kind, uint64_t row, float *head);

/* From g_part to g_inner. run_attention has just run on reverse->attn_in, with copies of raw q and k. */
tsr_status reverse_attention(struct reverse *reverse, tsr_error *err);
/* Floats of scratch that one worker takes for it. */
uint64_t reverse_head_floats(const struct spec *spec, uint64_t tokens);
/* From g_q, g_k, g_v of rotated heads to g_inner: the latent form. */
tsr_status reverse_latent(struct reverse *reverse, tsr_error *err);
/* From g_part to g_inner; x is the part's input. */
tsr_status reverse_mlp(struct reverse *reverse, const float *x, tsr_error *err);

/* TSR_E_UNSUPPORTED names what has no reverse. */
tsr_status reverse_check(const struct model *model, tsr_error *err);
/* Buffers for up to `capacity` tokens, and a cache that all layers share. reverse_close in any case; must not move in
 * between. */
tsr_status reverse_open(struct model *model, uint64_t capacity, struct reverse *reverse, tsr_error *err);
void reverse_close(struct reverse *reverse);
/* Bytes of that for one sequence and `workers` workers. */
uint64_t reverse_memory(const struct spec *spec, uint64_t capacity, uint64_t workers);
/* Chooses the number of tokens; before the first part and whenever it changes. */
tsr_status reverse_begin(struct reverse *reverse, uint64_t count, tsr_error *err);

/* The parts, on reverse->g, with the hooks of reverse->hooks. `x` is what left the last layer, or entered layer `layer`. */
tsr_status reverse_head(struct reverse *reverse, const float *x, tsr_error *err);
tsr_status reverse_layer(struct reverse *reverse, uint64_t layer, const float *x, tsr_error *err);
tsr_status reverse_embedding(struct reverse *reverse, const uint32_t *tokens, tsr_error *err);

tsr_status reverse_run(struct model *model, const uint32_t *tokens, uint64_t count, const tsr_reverse_hooks *hooks,
                       tsr_error *err);

#endif
