/* SPDX-License-Identifier: Apache-2.0
 *
 * A text, cut into windows that see nothing of each other, taken through a model stage by stage. Where the model plugin has
 * tessera.model.layers a stage is a layer, with one more for what the output matrix gets, and all windows pass it before the
 * next; the states in between are kept. Without it there is one stage, the whole model. */
#ifndef MEASURE_WALK_H
#define MEASURE_WALK_H

#include "states.h"

#include <model/model_open.h>
#include <reading/meter.h>
#include <tessera/ext/layers.h>

struct walk_text {
    const uint32_t *tokens;
    uint64_t count, window;
};

/* What a window has when it enters a stage, [tokens][hidden]; `first` is the window's first token. */
typedef tsr_status (*walk_tap)(void *ctx, uint64_t stage, uint64_t first, const float *state, uint64_t tokens, tsr_error *err);

/* Zero-initialise; walk_close in any case. */
struct walk {
    const struct open_model *model;
    const struct env *env;
    struct walk_text text;
    const tsr_layers *layers; /* NULL: in one stage */
    void *handle;
    float *state;             /* of one window */
    struct states sides[2];   /* entering the stage and leaving it; they change places */
    uint64_t stage;           /* that comes next */
    walk_tap tap;             /* nullable */
    void *tap_ctx;
};

/* The plugin's layers, or NULL. [any] */
const tsr_layers *walk_layers(const struct open_model *model);
/* Bytes of memory for windows of so many tokens, states of the text apart. [any] */
uint64_t walk_memory(const struct open_model *model, uint64_t window, uint64_t workers);
/* Floats of one side's states: all tokens of the text. [any] */
uint64_t walk_state_floats(const struct open_model *model, const struct walk_text *text);

/* `layers` NULL takes the model as one stage. States are kept in `folder`, NULL: in memory. */
tsr_status walk_open(struct walk *walk, const struct open_model *model, const struct walk_text *text, const tsr_layers *layers,
                     const char *folder, const struct env *env, tsr_error *err);
void walk_close(struct walk *walk);
uint64_t walk_stages(const struct walk *walk);
/* All windows through stage walk->stage. `keep`: the first time, so that what leaves it is kept (and tapped). hooks and
 * meter may be NULL. */
tsr_status walk_pass(struct walk *walk, const tsr_hooks *hooks, bool keep, struct meter *meter, tsr_error *err);
/* To the next stage. */
void walk_next(struct walk *walk);

#endif
