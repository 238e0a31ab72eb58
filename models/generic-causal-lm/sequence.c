/* SPDX-License-Identifier: Apache-2.0
 *
 * The cache of keys and values of one sequence. Whoever takes the whole sequence through one layer after another needs it
 * for one layer at a time: then all layers share one. */
#include "graph.h"

#include <string.h>

#define CAPACITY_MAX (UINT64_C(1) << 32)

static uint64_t key_floats(const struct spec *spec, uint64_t capacity) {
    return spec->kv_heads * spec->head_dim * key_blocks(capacity) * KEY_BLOCK;
}

static uint64_t value_floats(const struct spec *spec, uint64_t capacity) {
    return spec->kv_heads * value_width(spec) * capacity;
}

uint64_t sequence_layer_floats(const struct spec *spec, uint64_t capacity) {
    return key_floats(spec, capacity) + value_floats(spec, capacity);
}

void sequence_close(const struct model *model, struct sequence *sequence) {
    if (!sequence) return;
    for (uint64_t i = 0; i < (sequence->shared ? 1 : model->spec.layers); i++) {
        model->host->free(model->host, sequence->keys[i]);
        model->host->free(model->host, sequence->values[i]);
    }
    model->host->free(model->host, sequence);
}

static tsr_status add_layer(const struct model *model, struct sequence *sequence, uint64_t layer, tsr_error *err) {
    const tsr_host *host = model->host;
    uint64_t capacity = sequence->capacity;
    sequence->keys[layer] = host->alloc(host, key_floats(&model->spec, capacity) * sizeof(float));
    sequence->values[layer] = host->alloc(host, value_floats(&model->spec, capacity) * sizeof(float));
    if (sequence->keys[layer] && sequence->values[layer]) return TSR_OK;
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for a cache of %llu tokens", (unsigned long long)capacity);
}

/* The two lists of layer caches stand behind the struct. */
tsr_status sequence_open(const struct model *model, uint64_t capacity, bool shared, struct sequence **out, tsr_error *err) {
    const tsr_host *host = model->host;
    uint64_t layers = model->spec.layers, bytes = sizeof(struct sequence) + 2 * layers * sizeof(float *);
    tsr_status st = TSR_OK;
    if (capacity == 0 || capacity > CAPACITY_MAX) {
        return tsr_fail(err, TSR_E_ARGUMENT, "a sequence of %llu tokens", (unsigned long long)capacity);
    }
    struct sequence *sequence = host->alloc(host, bytes);
    if (!sequence) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a sequence");
    memset(sequence, 0, bytes);
    sequence->capacity = capacity;
    sequence->shared = shared;
    sequence->keys = (float **)(sequence + 1);
    sequence->values = sequence->keys + layers;
    for (uint64_t i = 0; i < layers && st == TSR_OK; i++) {
        if (shared && i) {
            sequence->keys[i] = sequence->keys[0];
            sequence->values[i] = sequence->values[0];
        } else {
            st = add_layer(model, sequence, i, err);
        }
    }
    if (st == TSR_OK) {
        *out = sequence;
    } else {
        sequence_close(model, sequence);
    }
    return st;
}
