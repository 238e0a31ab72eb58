/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory, tensors by name, and the plain steps. */
#include "parts.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* ---- memory ---- */

tsr_status take_floats(const struct engine *engine, uint64_t a, uint64_t b, const char *what, float **memory, tsr_error *err) {
    uint64_t count, bytes;
    bool fits = !__builtin_mul_overflow(a, b, &count) && !__builtin_mul_overflow(count, sizeof(float), &bytes);
    *memory = fits ? engine->host->alloc(engine->host, bytes ? bytes : sizeof(float)) : NULL;
    return *memory ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for %s", what);
}

static tsr_status grow_owned(struct engine *engine, tsr_error *err) {
    const tsr_host *host = engine->host;
    uint64_t capacity = engine->owned_capacity ? 2 * engine->owned_capacity : 64;
    void **owned = host->alloc(host, capacity * sizeof *owned);
    if (!owned) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the model's tables");
    if (engine->owned_count) memcpy(owned, engine->owned, engine->owned_count * sizeof *owned);
    host->free(host, engine->owned);
    engine->owned = owned;
    engine->owned_capacity = capacity;
    return TSR_OK;
}

tsr_status own_bytes(struct engine *engine, uint64_t bytes, void **memory, tsr_error *err) {
    if (engine->owned_count == engine->owned_capacity) {
        tsr_status st = grow_owned(engine, err);
        if (st != TSR_OK) return st;
    }
    *memory = engine->host->alloc(engine->host, bytes ? bytes : 1);
    if (!*memory) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the model's tables");
    memset(*memory, 0, bytes);
    engine->owned[engine->owned_count++] = *memory;
    return TSR_OK;
}

void engine_clear(struct engine *engine) {
    for (uint64_t i = 0; i < engine->owned_count; i++) engine->host->free(engine->host, engine->owned[i]);
    engine->host->free(engine->host, engine->owned);
    engine->owned = NULL;
    engine->owned_count = engine->owned_capacity = 0;
}

/* ---- tensors ---- */

void bind_name(struct binder *binder, const char *format, ...) {
    va_list arguments;
    int length = snprintf(binder->name, sizeof binder->name, "%s", binder->prefix);
    va_start(arguments, format);
    (void)vsnprintf(binder->name + length, sizeof binder->name - (size_t)length, format, arguments);
    va_end(arguments);
}

bool bind_has(const struct binder *binder) {
    const tsr_weights *table = binder->engine->table;
    uint64_t index;
    return table->find(table->ctx, binder->name, &index, NULL) == TSR_OK;
}

static void write_shape(const uint64_t *shape, uint64_t rank, char *text, size_t size) {
    size_t length = 0;
    text[0] = '\0';
    for (uint64_t i = 0; i < rank && length + 24 < size; i++) {
        length += (size_t)snprintf(text + length, size - length, "%s%llu", i ? "," : "", (unsigned long long)shape[i]);
    }
}

tsr_status bind_tensor(struct binder *binder, const uint64_t *shape, uint64_t rank, uint64_t *index, tsr_error *err) {
    const tsr_weights *table = binder->engine->table;
    char found[80], expected[80];
    tsr_status st = table->find(table->ctx, binder->name, index, err);
    if (st != TSR_OK) return st;
    const tsr_tensor *tensor = table->tensor(table->ctx, *index);
    binder->used[*index] = 1;
    if (tensor->rank == rank && !memcmp(tensor->shape, shape, rank * sizeof *shape)) return TSR_OK;
    write_shape(tensor->shape, tensor->rank, found, sizeof found);
    write_shape(shape, rank, expected, sizeof expected);
    return tsr_fail(err, TSR_E_INPUT, "tensor \"%s\": shape [%s], expected [%s]", binder->name, found, expected);
}

tsr_status bind_vector(struct binder *binder, uint64_t count, const float **vector, tsr_error *err) {
    const tsr_weights *table = binder->engine->table;
    void *memory = NULL;
    uint64_t index;
    tsr_status st = bind_tensor(binder, &count, 1, &index, err);
    if (st == TSR_OK) st = own_bytes(binder->engine, count * sizeof(float), &memory, err);
    if (st == TSR_OK) st = table->read_rows(table->ctx, index, 0, 1, memory, err);
    *vector = memory;
    return st;
}

tsr_status bind_bias(struct binder *binder, uint64_t count, const float **bias, tsr_error *err) {
    size_t length = strlen(binder->name);
    if (length < 6 || length + 1 == sizeof binder->name) return tsr_fail(err, TSR_E_ARGUMENT, "no bias of %s", binder->name);
    memcpy(binder->name + length - 6, "bias", 5);
    return bind_vector(binder, count, bias, err);
}

tsr_status bind_linear(struct binder *binder, uint64_t rows, uint64_t columns, bool has_bias, struct linear *linear,
                       tsr_error *err) {
    const tsr_weights *table = binder->engine->table;
    const uint64_t shape[] = {rows, columns};
    uint64_t index;
    *linear = (struct linear){.rows = rows, .columns = columns};
    tsr_status st = bind_tensor(binder, shape, 2, &index, err);
    if (st == TSR_OK) st = table->linear(table->ctx, index, 0, rows, 0, &linear->op, err);
    if (st == TSR_OK && has_bias) st = bind_bias(binder, rows, &linear->bias, err);
    return st;
}

tsr_status bind_table(struct binder *binder, uint64_t rows, uint64_t columns, uint64_t *index, tsr_error *err) {
    const uint64_t shape[] = {rows, columns};
    return bind_tensor(binder, shape, 2, index, err);
}

/* ---- steps ---- */

tsr_status run_linear(const struct engine *engine, const struct linear *linear, const float *x, uint64_t tokens, bool one,
                      float *y, tsr_error *err) {
    const tsr_weights *table = engine->table;
    tsr_status st = TSR_OK;
    if (tokens == 0) return TSR_OK;
    if (one) {
        for (uint64_t t = 0; t < tokens && st == TSR_OK; t++) {
            st = table->apply_one(table->ctx, linear->op, x + t * linear->columns, y + t * linear->rows, err);
        }
    } else {
        st = table->apply(table->ctx, linear->op, x, tokens, y, err);
    }
    for (uint64_t t = 0; linear->bias && t < tokens; t++) {
        for (uint64_t r = 0; r < linear->rows; r++) y[t * linear->rows + r] += linear->bias[r];
    }
    return st;
}

static void rms_row(const float *weight, double eps, const float *x, float *y, uint64_t width) {
    double squares = 0;
    for (uint64_t i = 0; i < width; i++) squares += (double)x[i] * (double)x[i];
    float factor = (float)(1 / sqrt(squares / (double)width + eps));
    for (uint64_t i = 0; i < width; i++) y[i] = x[i] * factor * weight[i];
}

static void layer_row(const struct norm *norm, double eps, const float *x, float *y, uint64_t width) {
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < width; i++) sum += (double)x[i];
    double mean = sum / (double)width;
    for (uint64_t i = 0; i < width; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double factor = 1 / sqrt(squares / (double)width + eps);
    for (uint64_t i = 0; i < width; i++) y[i] = (float)(((double)x[i] - mean) * factor) * norm->weight[i] + norm->bias[i];
}

void run_norm(const struct norm *norm, double eps, const float *x, float *y, uint64_t rows, uint64_t width) {
    for (uint64_t t = 0; t < rows; t++) {
        if (norm->bias) {
            layer_row(norm, eps, x + t * width, y + t * width, width);
        } else {
            rms_row(norm->weight, eps, x + t * width, y + t * width, width);
        }
    }
}

float silu(float x) {
    return x / (1 + expf(-x));
}

float gelu(float x) {
    return 0.5f * x * (1 + erff(x * 0.7071067811865476f));
}

tsr_status report(const tsr_speech_hooks *hooks, const char *name, uint64_t first, const float *values, uint64_t rows,
                  uint64_t columns, tsr_error *err) {
    if (!hooks || !hooks->stage || rows == 0) return TSR_OK;
    return hooks->stage(hooks->ctx, name, first, values, rows, columns, err);
}
