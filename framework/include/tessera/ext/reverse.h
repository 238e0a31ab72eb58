/* SPDX-License-Identifier: Apache-2.0
 *
 * Model extension "tessera.model.reverse/0": the model run forwards over one sequence, then backwards (reverse-mode
 * differentiation), so that a host learns how a loss of its own depends on what every linear operator gives. The loss is
 * the host's: the model hands it logits and gets their gradient. Weights get no gradient. Memory is bounded: what enters
 * each layer is kept, and the layer is computed again on the way back. */
#ifndef TESSERA_EXT_REVERSE_H
#define TESSERA_EXT_REVERSE_H

#include "../model.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_REVERSE_ID "tessera.model.reverse/0"

/* Rows are tokens, gradients are those of the host's loss. Only `gradient` is mandatory. Calls come one after another. */
typedef struct tsr_reverse_hooks {
    uint64_t struct_size;
    void *ctx;
    /* Logits of `tokens` positions starting at `first`, [tokens][vocabulary]: the host fills `gradient` of the same
     * shape. Every position is asked for once, in order, before any other hook is called. */
    tsr_status (*gradient)(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                           float *gradient, tsr_error *err);
    /* Gradient of the output [tokens][rows] of the linear operator that reads tensor `index`; a mixture's expert reports
     * the tokens that chose it, and no call is made for an expert that nobody chose. */
    tsr_status (*linear_output)(void *ctx, uint64_t index, const float *gradient, uint64_t tokens, uint64_t rows,
                                tsr_error *err);
    /* Gradient [tokens][columns] of the rows that were looked up in tensor `index`, as they are stored: looked_up[t] is
     * the row of token t. */
    tsr_status (*look_up)(void *ctx, uint64_t index, const uint64_t *looked_up, const float *gradient, uint64_t tokens,
                          uint64_t columns, tsr_error *err);
} tsr_reverse_hooks;

typedef struct tsr_reverse {
    uint64_t struct_size;
    /* TSR_OK, or TSR_E_UNSUPPORTED with the part of this model that has no reverse ("no reverse pass for ..."). [instance] */
    tsr_status (*check)(void *self, tsr_error *err);
    /* Runs a new sequence of `count` tokens, at least one, there and back. What the hooks get does not depend on the number of
     * workers. An error of a hook ends it. [instance] */
    tsr_status (*run)(void *self, const uint32_t *tokens, uint64_t count, const tsr_reverse_hooks *hooks, tsr_error *err);
} tsr_reverse;

#ifdef __cplusplus
}
#endif
#endif
