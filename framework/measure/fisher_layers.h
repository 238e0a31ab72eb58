/* SPDX-License-Identifier: Apache-2.0
 *
 * The way back layer by layer (tessera/ext/layers.h) for the windows of fisher.h: all of them pass one layer before the
 * next. What entered each layer is kept from the way there; a walk over the whole text can leave it here, so that these
 * windows need not go there twice. */
#ifndef MEASURE_FISHER_LAYERS_H
#define MEASURE_FISHER_LAYERS_H

#include "fisher.h"
#include "walk.h"

/* Zero-initialise; fisher_layers_close in any case. */
struct fisher_layers {
    const struct open_model *model;
    const struct env *env;
    struct walk_text text;
    struct fisher_options options;
    struct states entered;   /* [layers + 1][tokens read backwards][hidden] */
    struct states gradients; /* [tokens][hidden] */
    uint64_t *taken;         /* [layers + 1] tokens that are in `entered` */
    uint64_t tokens;         /* read backwards */
    void *handle;
    float *state, *gradient; /* of one window */
};

/* Bytes of memory for that, states apart; and floats of all states. [any] */
uint64_t fisher_layers_memory(const struct open_model *model, uint64_t window, uint64_t workers);
uint64_t fisher_layers_floats(const struct open_model *model, const struct fisher_options *options, uint64_t text_tokens);

/* States are kept in `folder`, NULL: in memory. */
tsr_status fisher_layers_open(struct fisher_layers *layers, const struct open_model *model, const struct walk_text *text,
                              const struct fisher_options *options, const char *folder, const struct env *env, tsr_error *err);
void fisher_layers_close(struct fisher_layers *layers);
/* A walk_tap; ctx is a fisher_layers. Windows that are not read backwards are passed over. */
tsr_status fisher_layers_take(void *ctx, uint64_t stage, uint64_t first, const float *state, uint64_t tokens, tsr_error *err);
/* There, as far as it has not been taken, and back. *first is set to the first token of the window that hooks hear of. */
tsr_status fisher_layers_run(struct fisher_layers *layers, const tsr_reverse_hooks *hooks, uint64_t *first, tsr_error *err);

#endif
