/* SPDX-License-Identifier: Apache-2.0
 *
 * A stack of transformer blocks with its cache: talker, code predictor, and the transformers of vocoder and speech encoder.
 * A token's result depends on the tokens before it alone, not on how they are cut into calls or on the workers; single tokens
 * given with `one` go the fast way. */
#ifndef QWEN3_TTS_STACK_H
#define QWEN3_TTS_STACK_H

#include "parts.h"

#define STACK_PIECE 64 /* tokens that are computed at once */

struct stack_layer {
    struct norm attn_norm, mlp_norm, q_norm, k_norm;
    struct linear q, k, v, o, gate, up, down;
    const float *attn_scale, *mlp_scale; /* [width] or NULL */
};

struct stack {
    struct stack_spec spec;
    struct stack_layer *layer;
    struct norm final_norm;
};

/* Names of tensors below the binder's prefix: "layers.0.self_attn.q_proj.weight", ..., "norm.weight". */
tsr_status stack_bind(struct binder *binder, const struct stack_spec *spec, struct stack *stack, tsr_error *err);

/* Keys and values, as a ring of `capacity` positions, and the buffers of one piece. */
struct stack_state {
    uint64_t capacity, length;
    float *memory;
    float *keys, *values;                             /* [layers][capacity][kv width] */
    float *normed, *q, *k, *v, *heads, *branch, *gate, *up; /* [piece][...] */
    float *cosines, *sines;                           /* [piece][head_dim / 2] */
};

/* Room for `capacity` positions, or for the window however long the sequence gets. Zero-initialise; clear in any case. */
tsr_status stack_state_init(const struct engine *engine, const struct stack *stack, uint64_t capacity,
                            struct stack_state *state, tsr_error *err);
void stack_state_clear(const struct engine *engine, struct stack_state *state);

/* Where values are reported, or NULL: "label.layer0", and with `detail` q, k and the attention output of layer 0. */
struct stack_label {
    const tsr_speech_hooks *hooks;
    const char *label;
    bool detail;
};

/* x [tokens][width] becomes the output of the last layer, in place; normed [tokens][width] gets it behind the final norm. */
tsr_status stack_run(const struct engine *engine, const struct stack *stack, struct stack_state *state, float *x,
                     uint64_t tokens, bool one, const struct stack_label *label, float *normed, tsr_error *err);

#endif
