/* SPDX-License-Identifier: Apache-2.0
 *
 * Model extension "tessera.model.layers/0": the model layer by layer, there and back, so that a host can take all of a text
 * through one layer before the next is touched, and keep the states in between wherever it likes. Memory of a walk is
 * that of one layer and one sequence.
 *
 * A state is [count][hidden] F32 of one new sequence of `count` tokens. What hooks get is bit for bit what they get from
 * forward (of the whole sequence at once) and from "tessera.model.reverse/0". */
#ifndef TESSERA_EXT_LAYERS_H
#define TESSERA_EXT_LAYERS_H

#include "reverse.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_LAYERS_ID "tessera.model.layers/0"

typedef struct tsr_layers {
    uint64_t struct_size;
    /* Bytes that a walk of `capacity` tokens takes at most, scratch of `workers` workers included; weights apart. [any] */
    uint64_t (*memory)(void *self, uint64_t capacity, uint64_t workers, int32_t back);
    /* Buffers for sequences of up to `capacity` tokens; with `back` 1 for the way back too, which must be there (check of
     * "tessera.model.reverse/0"). Close before the model. [instance] */
    tsr_status (*open)(void *self, uint64_t capacity, int32_t back, void **walk, tsr_error *err);
    void (*close)(void *self, void *walk);

    /* There. Of the hooks, linear_input is called, and hidden by `leave` for what the output matrix is multiplied with
     * (layers + 1); both and `hooks` itself may be NULL. [instance] */
    tsr_status (*enter)(void *self, void *walk, const uint32_t *tokens, uint64_t count, const tsr_hooks *hooks, float *state,
                        tsr_error *err); /* fills what enters layer 0 */
    tsr_status (*layer)(void *self, void *walk, uint64_t layer, uint64_t count, const tsr_hooks *hooks, float *state,
                        tsr_error *err); /* from what enters a layer to what leaves it, in place */
    tsr_status (*leave)(void *self, void *walk, const float *state, uint64_t count, const tsr_hooks *hooks, tsr_error *err);

    /* Back, in a walk with `back`: g [count][hidden] is the gradient of the host's loss by a state. [instance] */
    tsr_status (*leave_back)(void *self, void *walk, const float *state, uint64_t count, const tsr_reverse_hooks *hooks,
                             float *g, tsr_error *err); /* from what left the last layer: fills g of it */
    tsr_status (*layer_back)(void *self, void *walk, uint64_t layer, const float *state, uint64_t count,
                             const tsr_reverse_hooks *hooks, float *g, tsr_error *err); /* state: what entered; g in place */
    tsr_status (*enter_back)(void *self, void *walk, const uint32_t *tokens, uint64_t count, const tsr_reverse_hooks *hooks,
                             const float *g, tsr_error *err);
} tsr_layers;

#ifdef __cplusplus
}
#endif
#endif
