/* SPDX-License-Identifier: Apache-2.0
 *
 * A walk owns the buffers of one layer: of a chunk for the way there, of a whole sequence for the way back. The parts are
 * those of forward.c and reverse.c. */
#include "layers.h"

#include "graph.h"
#include "reverse.h"

#include <string.h>

struct walk {
    struct reverse reverse;     /* open in a walk that goes back */
    struct sequence *sequence;  /* of a walk that does not */
    struct workspace work;
    struct pass pass;           /* uses the one's or the other's */
    uint64_t capacity, chunk;
    uint64_t rope_length;       /* of the sequence that the tables were filled for */
};

static uint64_t chunk_of(uint64_t capacity) {
    return capacity < CHUNK_TOKENS ? capacity : CHUNK_TOKENS;
}

static uint64_t walk_memory(void *self, uint64_t capacity, uint64_t workers, int32_t back) {
    const struct spec *spec = &((const struct model *)self)->spec;
    if (back) return reverse_memory(spec, capacity, workers);
    uint64_t scratch = attention_scratch_floats(spec, capacity);
    return (workspace_floats(spec, chunk_of(capacity)) + sequence_layer_floats(spec, capacity) + workers * scratch) * sizeof(float);
}

static void walk_close(void *self, void *handle) {
    struct model *model = self;
    struct walk *walk = handle;
    if (!walk) return;
    reverse_close(&walk->reverse);
    workspace_clear(model, &walk->work);
    sequence_close(model, walk->sequence);
    model->host->free(model->host, walk);
}

static tsr_status open_buffers(struct model *model, struct walk *walk, bool back, tsr_error *err) {
    if (back) {
        tsr_status st = reverse_check(model, err);
        if (st == TSR_OK) st = reverse_open(model, walk->capacity, &walk->reverse, err);
        walk->chunk = walk->capacity;
        walk->pass = walk->reverse.pass;
        return st;
    }
    tsr_status st = sequence_open(model, walk->capacity, true, &walk->sequence, err);
    if (st == TSR_OK) st = workspace_create(model, walk->chunk, &walk->work, err);
    walk->pass = (struct pass){.model = model, .sequence = walk->sequence, .work = &walk->work};
    return st;
}

static tsr_status walk_open(void *self, uint64_t capacity, int32_t back, void **handle, tsr_error *err) {
    struct model *model = self;
    struct walk *walk = model->host->alloc(model->host, sizeof *walk);
    if (!walk) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a walk through the layers");
    *walk = (struct walk){.capacity = capacity, .chunk = chunk_of(capacity)};
    tsr_status st = open_buffers(model, walk, back != 0, err);
    if (st == TSR_OK) {
        *handle = walk;
    } else {
        walk_close(model, walk);
    }
    return st;
}

/* ---- there ---- */

typedef tsr_status (*chunk_part)(struct pass *pass, const void *ctx, float *state, tsr_error *err);

static tsr_status set_rope(struct walk *walk, uint64_t first, uint64_t tokens, uint64_t count, tsr_error *err) {
    struct workspace *work = walk->pass.work;
    bool there = work->first == first && work->tokens == tokens && walk->rope_length == count;
    work->first = first;
    work->tokens = tokens;
    walk->rope_length = count;
    return there ? TSR_OK : fill_rope(walk->pass.model, work, count, err);
}

/* `part` over the chunks of a sequence, whose keys stay in the cache from chunk to chunk. */
static tsr_status for_chunks(struct walk *walk, uint64_t count, const tsr_hooks *hooks, float *state, chunk_part part,
                             const void *ctx, tsr_error *err) {
    struct pass *pass = &walk->pass;
    const struct model *model = pass->model;
    tsr_status st = TSR_OK;
    if (count == 0 || count > walk->capacity) {
        return tsr_fail(err, TSR_E_ARGUMENT, "%llu tokens in a walk of %llu", (unsigned long long)count,
                        (unsigned long long)walk->capacity);
    }
    pass->hooks = hooks;
    for (uint64_t at = 0; at < count && st == TSR_OK; at += walk->chunk) {
        if (model->host->cancelled(model->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
        st = set_rope(walk, at, count - at < walk->chunk ? count - at : walk->chunk, count, err);
        if (st == TSR_OK) st = part(pass, ctx, state + at * model->spec.hidden, err);
    }
    return st;
}

static uint64_t chunk_bytes(const struct pass *pass) {
    return pass->work->tokens * pass->model->spec.hidden * sizeof(float);
}

/* ctx: the tokens of the sequence. */
static tsr_status enter_chunk(struct pass *pass, const void *ctx, float *state, tsr_error *err) {
    tsr_status st = embed_tokens(pass, (const uint32_t *)ctx + pass->work->first, err);
    if (st == TSR_OK) st = apply_norm(pass, &pass->model->weights.embed_norm, pass->work->x, pass->work->x, err);
    if (st == TSR_OK) memcpy(state, pass->work->x, chunk_bytes(pass));
    return st;
}

static tsr_status layer_chunk(struct pass *pass, const void *ctx, float *state, tsr_error *err) {
    (void)ctx;
    memcpy(pass->work->x, state, chunk_bytes(pass));
    tsr_status st = run_layer(pass, err);
    if (st == TSR_OK) memcpy(state, pass->work->x, chunk_bytes(pass));
    return st;
}

static tsr_status leave_chunk(struct pass *pass, const void *ctx, float *state, tsr_error *err) {
    (void)ctx;
    memcpy(pass->work->x, state, chunk_bytes(pass));
    return run_final(pass, err);
}

static tsr_status enter(void *self, void *walk, const uint32_t *tokens, uint64_t count, const tsr_hooks *hooks, float *state,
                        tsr_error *err) {
    (void)self;
    return for_chunks(walk, count, hooks, state, enter_chunk, tokens, err);
}

static tsr_status layer(void *self, void *handle, uint64_t index, uint64_t count, const tsr_hooks *hooks, float *state,
                        tsr_error *err) {
    struct walk *walk = handle;
    (void)self;
    walk->pass.layer = index;
    return for_chunks(walk, count, hooks, state, layer_chunk, NULL, err);
}

/* leave_chunk only reads the state. */
static tsr_status leave(void *self, void *walk, const float *state, uint64_t count, const tsr_hooks *hooks, tsr_error *err) {
    (void)self;
    return for_chunks(walk, count, hooks, (float *)(uintptr_t)state, leave_chunk, NULL, err);
}

/* ---- back ---- */

static tsr_status begin_back(struct walk *walk, uint64_t count, const tsr_reverse_hooks *hooks, tsr_error *err) {
    if (!walk->reverse.capacity || count == 0 || count > walk->capacity) {
        return tsr_fail(err, TSR_E_ARGUMENT, "%llu tokens back in a walk of %llu", (unsigned long long)count,
                        (unsigned long long)walk->reverse.capacity);
    }
    walk->reverse.hooks = hooks;
    return set_rope(walk, 0, count, count, err);
}

static uint64_t state_bytes(const struct walk *walk) {
    return walk->reverse.work.tokens * walk->reverse.pass.model->spec.hidden * sizeof(float);
}

static tsr_status leave_back(void *self, void *handle, const float *state, uint64_t count, const tsr_reverse_hooks *hooks,
                             float *g, tsr_error *err) {
    struct walk *walk = handle;
    (void)self;
    tsr_status st = begin_back(walk, count, hooks, err);
    if (st == TSR_OK) st = reverse_head(&walk->reverse, state, err);
    if (st == TSR_OK) memcpy(g, walk->reverse.g, state_bytes(walk));
    return st;
}

static tsr_status layer_back(void *self, void *handle, uint64_t index, const float *state, uint64_t count,
                             const tsr_reverse_hooks *hooks, float *g, tsr_error *err) {
    struct walk *walk = handle;
    (void)self;
    tsr_status st = begin_back(walk, count, hooks, err);
    if (st != TSR_OK) return st;
    memcpy(walk->reverse.g, g, state_bytes(walk));
    st = reverse_layer(&walk->reverse, index, state, err);
    if (st == TSR_OK) memcpy(g, walk->reverse.g, state_bytes(walk));
    return st;
}

static tsr_status enter_back(void *self, void *handle, const uint32_t *tokens, uint64_t count, const tsr_reverse_hooks *hooks,
                             const float *g, tsr_error *err) {
    struct walk *walk = handle;
    (void)self;
    tsr_status st = begin_back(walk, count, hooks, err);
    if (st != TSR_OK) return st;
    memcpy(walk->reverse.g, g, state_bytes(walk));
    return reverse_embedding(&walk->reverse, tokens, err);
}

const tsr_layers layers_extension = {
    .struct_size = sizeof(tsr_layers),
    .memory = walk_memory,
    .open = walk_open,
    .close = walk_close,
    .enter = enter,
    .layer = layer,
    .leave = leave,
    .leave_back = leave_back,
    .layer_back = layer_back,
    .enter_back = enter_back,
};
