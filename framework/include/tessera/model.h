/* SPDX-License-Identifier: Apache-2.0
 *
 * A model plugin supplies the inference graph that gates run. It never sees a codec or a file: it asks its
 * weights table for a tensor, a row range, or a linear operator, and the table is the same for the original
 * and for the compressed checkpoint, so the model cannot know which it was given. That keeps gates honest.
 *
 * Thread rules: probe and tied are [any]; everything that takes self is [instance]. */
#ifndef TESSERA_MODEL_H
#define TESSERA_MODEL_H

#include "host.h"
#include "node.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y[n][rows] = x[n][columns] W^T, row-major F32, W in whatever form the host keeps it: dense, tiles decoded on the
 * fly, or a codec's own product. */
typedef struct tsr_linear tsr_linear;

#define TSR_TOGETHER_MAX 8

/* The host's weights. `index` counts the tensors of the checkpoint, aliases included. */
typedef struct tsr_weights {
    uint64_t struct_size;
    void *ctx;
    uint64_t (*count)(void *ctx);
    const tsr_tensor *(*tensor)(void *ctx, uint64_t index);
    /* TSR_E_INPUT when there is no such tensor. */
    tsr_status (*find)(void *ctx, const char *name, uint64_t *index, tsr_error *err);
    /* Copies matrix rows as F32 [rows][columns]. */
    tsr_status (*read_rows)(void *ctx, uint64_t index, uint64_t first_row, uint64_t rows, float *dst,
                            tsr_error *err);
    /* Operator over rows [first_row, first_row + rows) of a tensor of rank 2, or of rank 3 seen as [E * out][in];
     * `transposed` 1 when the source stores [in][out] (Conv1D), all rows only. With the other value than the source's it is the
     * operator of the transpose, x = y W, for whoever goes back. Owned by the weights table, valid as long as it is. */
    tsr_status (*linear)(void *ctx, uint64_t index, uint64_t first_row, uint64_t rows, int32_t transposed,
                         tsr_linear **linear, tsr_error *err);
    /* x [tokens][columns] -> y [tokens][rows], on all workers. Bit for bit, what a token gets does not depend on the
     * tokens beside it, on their number, or on the number of workers. */
    tsr_status (*apply)(void *ctx, tsr_linear *linear, const float *x, uint64_t tokens, float *y,
                        tsr_error *err);
    /* The same for one token by the fastest way there is; it may round differently from apply. */
    tsr_status (*apply_one)(void *ctx, tsr_linear *linear, const float *x, float *y, tsr_error *err);
    /* Operator over a whole tensor of any rank, its elements seen in order as [elements / columns][columns]: so a
     * convolution [out][in][taps] is a matrix of in * taps columns. `transposed` as in linear. */
    tsr_status (*linear_view)(void *ctx, uint64_t index, uint64_t columns, int32_t transposed, tsr_linear **linear,
                              tsr_error *err);
    /* apply_one by several operators, at most TSR_TOGETHER_MAX, that read the same x: y[i] by linears[i]. The same bits, but
     * workers wait for each other once. */
    tsr_status (*apply_ones)(void *ctx, tsr_linear *const *linears, uint64_t count, const float *x, float *const *y,
                             tsr_error *err);
} tsr_weights;

/* What forward reports while it runs; any member may be NULL. Rows are tokens. */
typedef struct tsr_hooks {
    uint64_t struct_size;
    void *ctx;
    /* Hidden state after layer `layer`, [tokens][hidden]; 0 is what enters the first layer, layers + 1 what the output
     * matrix is multiplied with. */
    tsr_status (*hidden)(void *ctx, uint64_t layer, const float *state, uint64_t tokens, uint64_t hidden,
                         tsr_error *err);
    /* Input of the linear operator that reads tensor `index`, [tokens][columns]. */
    tsr_status (*linear_input)(void *ctx, uint64_t index, const float *x, uint64_t tokens, uint64_t columns,
                               tsr_error *err);
    /* Logits of `tokens` positions starting at `first`, [tokens][vocabulary], piece by piece. NULL: only the last
     * position is computed, and returned in forward's `logits`. */
    tsr_status (*logits)(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                         tsr_error *err);
} tsr_hooks;

typedef struct tsr_model_setup {
    uint64_t struct_size;
    const tsr_host *host;
    const tsr_node *config;   /* config.json, a map */
    const tsr_node *families; /* a list of all family descriptions that the host found, each a map */
    const tsr_weights *weights;
    /* config.json of nested checkpoints: a map by their folder ("speech_tokenizer"), empty when there are none. */
    const tsr_node *parts;
} tsr_model_setup;

/* Facts about a created model. */
typedef struct tsr_model_info {
    uint64_t struct_size;
    uint64_t layers;
    uint64_t hidden;
    uint64_t vocabulary;
    uint64_t context; /* longest sequence it was made for, 0 for no limit */
} tsr_model_info;

typedef struct tsr_model {
    uint64_t struct_size;
    const char *id; /* reverse DNS */
    const char *name;
    const char *description;
    uint64_t flags;
    /* 0..100: how well this plugin fits (setup.host may be NULL here); the highest wins. */
    int32_t (*probe)(const tsr_model_setup *setup);
    tsr_status (*create)(const tsr_model_setup *setup, void **self, tsr_error *err);
    void (*destroy)(void *self);
    void (*info)(void *self, tsr_model_info *info);
    /* A sequence with its key/value cache, at most `capacity` tokens. Destroy before the model. */
    tsr_status (*sequence_create)(void *self, uint64_t capacity, void **sequence, tsr_error *err);
    void (*sequence_destroy)(void *self, void *sequence);
    /* Runs `count` further tokens. `logits` [vocabulary] gets those of the last one, or is NULL. The result does
     * not depend on how a text is cut into calls, nor on the number of workers. */
    tsr_status (*forward)(void *self, void *sequence, const uint32_t *tokens, uint64_t count,
                          const tsr_hooks *hooks, float *logits, tsr_error *err);
    /* Tensor whose storage `index` shares by the model's definition, or `index` itself; nullable. */
    uint64_t (*tied)(void *self, uint64_t index);
    const void *(*get_extension)(const char *id);
} tsr_model;

#ifdef __cplusplus
}
#endif
#endif
