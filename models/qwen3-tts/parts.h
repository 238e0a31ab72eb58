/* SPDX-License-Identifier: Apache-2.0
 *
 * What every part of the model is made of: matrices that stay with the host, vectors that are copied, and the steps between
 * them. Rows are positions in time throughout; a sound of C channels is [time][C]. */
#ifndef QWEN3_TTS_PARTS_H
#define QWEN3_TTS_PARTS_H

#include "kernels.h"
#include "spec.h"

#include <tessera/ext/speech.h>

/* y = x W^T + bias. */
struct linear {
    tsr_linear *op;
    const float *bias; /* [rows] or NULL */
    uint64_t rows, columns;
};

struct norm {
    const float *weight, *bias; /* bias NULL: RMS */
};

/* Services of the model for its parts. */
struct engine {
    const tsr_host *host;
    const tsr_weights *table;
    const struct kernels *kernels;
    void **owned; /* vectors and tables that live as long as the model */
    uint64_t owned_count, owned_capacity;
};

/* ---- memory ---- */

/* floats of the host, or NULL with TSR_E_NOMEM told; free with host->free. `what` names them. */
tsr_status take_floats(const struct engine *engine, uint64_t a, uint64_t b, const char *what, float **memory, tsr_error *err);
/* Zeroed bytes that are freed with the model. */
tsr_status own_bytes(struct engine *engine, uint64_t bytes, void **memory, tsr_error *err);
void engine_clear(struct engine *engine);

/* ---- tensors ---- */

/* Finds tensors by name and checks their shapes; remembers which were used. */
struct binder {
    struct engine *engine;
    uint8_t *used; /* [tensors] */
    const char *prefix;
    char name[256];
};

/* Sets binder->name to prefix and the formatted text. */
void bind_name(struct binder *binder, const char *format, ...) TSR_PRINTF(2, 3);
/* True when there is a tensor of that name. */
bool bind_has(const struct binder *binder);
/* The tensor of binder->name with exactly this shape. TSR_E_INPUT names it otherwise. */
tsr_status bind_tensor(struct binder *binder, const uint64_t *shape, uint64_t rank, uint64_t *index, tsr_error *err);
tsr_status bind_vector(struct binder *binder, uint64_t count, const float **vector, tsr_error *err);
/* A matrix [rows][columns]; with has_bias also its "bias" (name ending in "weight"). */
tsr_status bind_linear(struct binder *binder, uint64_t rows, uint64_t columns, bool has_bias, struct linear *linear,
                       tsr_error *err);
/* A table whose rows are looked up. */
tsr_status bind_table(struct binder *binder, uint64_t rows, uint64_t columns, uint64_t *index, tsr_error *err);
/* The bias that belongs to a weight whose name is in the binder. */
tsr_status bind_bias(struct binder *binder, uint64_t count, const float **bias, tsr_error *err);

/* ---- steps ---- */

/* `one`: by the fastest way for single tokens, which may round differently. */
tsr_status run_linear(const struct engine *engine, const struct linear *linear, const float *x, uint64_t tokens, bool one,
                      float *y, tsr_error *err);
void run_norm(const struct norm *norm, double eps, const float *x, float *y, uint64_t rows, uint64_t width);
float silu(float x);
float gelu(float x);

/* Hands values to the hook, if there is one. */
tsr_status report(const tsr_speech_hooks *hooks, const char *name, uint64_t first, const float *values, uint64_t rows,
                  uint64_t columns, tsr_error *err);

#endif
