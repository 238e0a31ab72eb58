/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows are of equal length but for the last, so a window's states lie at its first token times the width. */
#include "walk.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>

const tsr_layers *walk_layers(const struct open_model *model) {
    return model_extension(model, TSR_LAYERS_ID);
}

uint64_t walk_memory(const struct open_model *model, uint64_t window, uint64_t workers) {
    const tsr_layers *layers = walk_layers(model);
    if (!layers) return 0;
    return layers->memory(model->self, window, workers, 0) + window * model->info.hidden * sizeof(float);
}

uint64_t walk_state_floats(const struct open_model *model, const struct walk_text *text) {
    return text->count * model->info.hidden;
}

tsr_status walk_open(struct walk *walk, const struct open_model *model, const struct walk_text *text, const tsr_layers *layers,
                     const char *folder, const struct env *env, tsr_error *err) {
    uint64_t longest = min_u64(text->window, text->count), floats = walk_state_floats(model, text);
    *walk = (struct walk){.model = model, .env = env, .text = *text, .layers = layers};
    if (!layers) return TSR_OK;
    walk->state = mem_alloc_array(longest * model->info.hidden, sizeof *walk->state);
    if (!walk->state) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the states of a window");
    tsr_status st = layers->open(model->self, longest, 0, &walk->handle, err);
    if (st == TSR_OK) st = states_open(&walk->sides[0], floats, folder, "states-a", err);
    return st == TSR_OK ? states_open(&walk->sides[1], floats, folder, "states-b", err) : st;
}

void walk_close(struct walk *walk) {
    if (walk->handle) walk->layers->close(walk->model->self, walk->handle);
    mem_free(walk->state);
    states_close(&walk->sides[0]);
    states_close(&walk->sides[1]);
    *walk = (struct walk){0};
}

uint64_t walk_stages(const struct walk *walk) {
    return walk->layers ? walk->model->info.layers + 1 : 1;
}

static tsr_status run_whole(const struct walk *walk, uint64_t first, uint64_t count, const tsr_hooks *hooks, tsr_error *err) {
    const tsr_model *plugin = walk->model->plugin;
    void *self = walk->model->self, *sequence = NULL;
    tsr_status st = plugin->sequence_create(self, count, &sequence, err);
    if (st == TSR_OK) st = plugin->forward(self, sequence, walk->text.tokens + first, count, hooks, NULL, err);
    if (sequence) plugin->sequence_destroy(self, sequence);
    return st;
}

/* What enters the stage, into walk->state. */
static tsr_status enter_stage(const struct walk *walk, uint64_t first, uint64_t count, const tsr_hooks *hooks, bool keep,
                              tsr_error *err) {
    const struct open_model *model = walk->model;
    uint64_t width = model->info.hidden;
    tsr_status st = walk->stage == 0 ? walk->layers->enter(model->self, walk->handle, walk->text.tokens + first, count, hooks,
                                                           walk->state, err)
                                     : states_get(&walk->sides[0], first * width, walk->state, count * width, err);
    if (st != TSR_OK || !keep || !walk->tap) return st;
    return walk->tap(walk->tap_ctx, walk->stage, first, walk->state, count, err);
}

static tsr_status run_stage(struct walk *walk, uint64_t first, uint64_t count, const tsr_hooks *hooks, bool keep,
                            tsr_error *err) {
    const struct open_model *model = walk->model;
    uint64_t width = model->info.hidden;
    tsr_status st = enter_stage(walk, first, count, hooks, keep, err);
    if (st != TSR_OK) return st;
    if (walk->stage == model->info.layers) return walk->layers->leave(model->self, walk->handle, walk->state, count, hooks, err);
    st = walk->layers->layer(model->self, walk->handle, walk->stage, count, hooks, walk->state, err);
    return st == TSR_OK && keep ? states_put(&walk->sides[1], first * width, walk->state, count * width, err) : st;
}

tsr_status walk_pass(struct walk *walk, const tsr_hooks *hooks, bool keep, struct meter *meter, tsr_error *err) {
    const struct walk_text *text = &walk->text;
    tsr_status st = TSR_OK;
    for (uint64_t at = 0; at < text->count && st == TSR_OK; at += text->window) {
        uint64_t count = min_u64(text->window, text->count - at);
        st = meter_check_cancel(walk->env, err);
        if (st == TSR_OK) st = walk->layers ? run_stage(walk, at, count, hooks, keep, err) : run_whole(walk, at, count, hooks, err);
        if (st == TSR_OK && meter) meter_add(meter, "window", count * sizeof *text->tokens);
    }
    return st;
}

void walk_next(struct walk *walk) {
    struct states left = walk->sides[0];
    walk->sides[0] = walk->sides[1];
    walk->sides[1] = left;
    walk->stage++;
}
