/* SPDX-License-Identifier: Apache-2.0
 *
 * Window i of those that are read backwards lies at i whole windows: only the last can be shorter. */
#include "fisher_layers.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>

uint64_t fisher_layers_memory(const struct open_model *model, uint64_t window, uint64_t workers) {
    const tsr_layers *layers = walk_layers(model);
    if (!layers) return 0;
    return layers->memory(model->self, window, workers, 1) + 2 * window * model->info.hidden * sizeof(float);
}

uint64_t fisher_layers_floats(const struct open_model *model, const struct fisher_options *options, uint64_t text_tokens) {
    return (model->info.layers + 2) * fisher_tokens(options, text_tokens) * model->info.hidden;
}

tsr_status fisher_layers_open(struct fisher_layers *layers, const struct open_model *model, const struct walk_text *text,
                              const struct fisher_options *options, const char *folder, const struct env *env, tsr_error *err) {
    *layers = (struct fisher_layers){.model = model, .env = env, .text = *text, .options = *options};
    layers->tokens = fisher_tokens(options, text->count);
    layers->taken = mem_alloc_zero(model->info.layers + 1, sizeof *layers->taken);
    if (!layers->taken) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a list of layers");
    const uint64_t floats = layers->tokens * model->info.hidden;
    tsr_status st = states_open(&layers->entered, (model->info.layers + 1) * floats, folder, "entered", err);
    return st == TSR_OK ? states_open(&layers->gradients, floats, folder, "gradients", err) : st;
}

static void close_window(struct fisher_layers *layers) {
    if (layers->handle) walk_layers(layers->model)->close(layers->model->self, layers->handle);
    mem_free(layers->state);
    mem_free(layers->gradient);
    layers->handle = NULL;
    layers->state = layers->gradient = NULL;
}

void fisher_layers_close(struct fisher_layers *layers) {
    close_window(layers);
    states_close(&layers->entered);
    states_close(&layers->gradients);
    mem_free(layers->taken);
    *layers = (struct fisher_layers){0};
}

static tsr_status open_window(struct fisher_layers *layers, tsr_error *err) {
    uint64_t longest = min_u64(layers->text.window, layers->text.count), floats = longest * layers->model->info.hidden;
    layers->state = mem_alloc_array(floats, sizeof *layers->state);
    layers->gradient = mem_alloc_array(floats, sizeof *layers->gradient);
    if (!layers->state || !layers->gradient) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the states of a window");
    return walk_layers(layers->model)->open(layers->model->self, longest, 1, &layers->handle, err);
}

/* Of window i in a list of all. */
static uint64_t place(const struct fisher_layers *layers, uint64_t i) {
    return i * layers->text.window * layers->model->info.hidden;
}

static uint64_t place_at(const struct fisher_layers *layers, uint64_t stage, uint64_t i) {
    return stage * layers->tokens * layers->model->info.hidden + place(layers, i);
}

static tsr_status put_state(struct fisher_layers *layers, uint64_t stage, uint64_t i, const float *state, uint64_t tokens,
                            tsr_error *err) {
    layers->taken[stage] += tokens;
    return states_put(&layers->entered, place_at(layers, stage, i), state, tokens * layers->model->info.hidden, err);
}

tsr_status fisher_layers_take(void *ctx, uint64_t stage, uint64_t first, const float *state, uint64_t tokens, tsr_error *err) {
    struct fisher_layers *layers = ctx;
    uint64_t windows = fisher_windows(&layers->options, layers->text.count), count;
    for (uint64_t i = 0; i < windows; i++) {
        if (fisher_window(&layers->options, layers->text.count, i, &count) == first) {
            return put_state(layers, stage, i, state, tokens, err);
        }
    }
    return TSR_OK;
}

/* ---- there ---- */

static bool has_all(const struct fisher_layers *layers) {
    for (uint64_t stage = 0; stage <= layers->model->info.layers; stage++) {
        if (layers->taken[stage] != layers->tokens) return false;
    }
    return true;
}

static tsr_status go_there(struct fisher_layers *layers, uint64_t i, tsr_error *err) {
    const tsr_layers *model = walk_layers(layers->model);
    void *self = layers->model->self;
    uint64_t count, first = fisher_window(&layers->options, layers->text.count, i, &count);
    tsr_status st = meter_check_cancel(layers->env, err);
    if (st == TSR_OK) st = model->enter(self, layers->handle, layers->text.tokens + first, count, NULL, layers->state, err);
    if (st == TSR_OK) st = put_state(layers, 0, i, layers->state, count, err);
    for (uint64_t l = 0; l < layers->model->info.layers && st == TSR_OK; l++) {
        st = model->layer(self, layers->handle, l, count, NULL, layers->state, err);
        if (st == TSR_OK) st = put_state(layers, l + 1, i, layers->state, count, err);
    }
    return st;
}

/* ---- back ---- */

/* One window through one stage, the last stage first: `stage` layers is what left the last layer, and from 0 the embedding
 * is behind. */
static tsr_status go_back(struct fisher_layers *layers, uint64_t stage, uint64_t i, const tsr_reverse_hooks *hooks,
                          tsr_error *err) {
    const tsr_layers *model = walk_layers(layers->model);
    void *self = layers->model->self, *handle = layers->handle;
    uint64_t last = layers->model->info.layers, width = layers->model->info.hidden, count;
    uint64_t first = fisher_window(&layers->options, layers->text.count, i, &count), floats = count * width;
    tsr_status st = states_get(&layers->entered, place_at(layers, stage, i), layers->state, floats, err);
    if (st == TSR_OK && stage == last) {
        st = model->leave_back(self, handle, layers->state, count, hooks, layers->gradient, err);
    } else if (st == TSR_OK) {
        st = states_get(&layers->gradients, place(layers, i), layers->gradient, floats, err);
        if (st == TSR_OK) st = model->layer_back(self, handle, stage, layers->state, count, hooks, layers->gradient, err);
    }
    if (st == TSR_OK && stage > 0) return states_put(&layers->gradients, place(layers, i), layers->gradient, floats, err);
    if (st != TSR_OK) return st;
    return model->enter_back(self, handle, layers->text.tokens + first, count, hooks, layers->gradient, err);
}

static tsr_status run_stages(struct fisher_layers *layers, const tsr_reverse_hooks *hooks, uint64_t *first,
                             struct meter *meter, tsr_error *err) {
    uint64_t windows = fisher_windows(&layers->options, layers->text.count), count;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < windows && st == TSR_OK && !has_all(layers); i++) st = go_there(layers, i, err);
    for (uint64_t stage = layers->model->info.layers + 1; stage-- > 0 && st == TSR_OK;) {
        for (uint64_t i = 0; i < windows && st == TSR_OK; i++) {
            *first = fisher_window(&layers->options, layers->text.count, i, &count);
            st = meter_check_cancel(layers->env, err);
            if (st == TSR_OK) st = go_back(layers, stage, i, hooks, err);
            if (st == TSR_OK) meter_add(meter, "window", count * sizeof *layers->text.tokens);
        }
    }
    return st;
}

tsr_status fisher_layers_run(struct fisher_layers *layers, const tsr_reverse_hooks *hooks, uint64_t *first, tsr_error *err) {
    uint64_t windows = fisher_windows(&layers->options, layers->text.count), stages = layers->model->info.layers + 1;
    struct meter meter;
    tsr_status st = open_window(layers, err);
    if (!has_all(layers)) {
        for (uint64_t stage = 0; stage < stages; stage++) layers->taken[stage] = 0;
    }
    meter_begin(&meter, layers->env, "calibrate, backwards", stages * layers->tokens * sizeof *layers->text.tokens,
                stages * windows);
    if (st == TSR_OK) st = run_stages(layers, hooks, first, &meter, err);
    meter_end(&meter);
    close_window(layers);
    return st;
}
