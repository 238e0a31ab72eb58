/* SPDX-License-Identifier: Apache-2.0
 *
 * One stored tensor, ready to give back its tiles: the payload's head believed only as far as shape, grid, codec and
 * parameters agree with each other. A tensor that a stack of codecs made has a payload for each; they share one grid. */
#ifndef READING_DECODER_H
#define READING_DECODER_H

#include "dictionaries.h"
#include "order.h"

#include <base/arena.h>
#include <format/container_read.h>
#include <plugin/coder.h>
#include <plugin/param_bind.h>
#include <plugin/registry.h>

#define DECODER_STAGES_MAX 4

/* Where the payload of one stage stands. */
struct decoder_place {
    const struct safetensors *st;
    const struct safetensors_entry *entry;
};

struct decoder_input {
    const struct decoder_place *places; /* the stages to use, in order */
    uint64_t count;                     /* at least 1 */
    const struct dictionaries *dictionaries;
    uint64_t codec_level; /* parts that a progressive first codec uses, 0 for all */
};

/* Zero-initialise. */
struct decoder {
    struct payload payload;
    struct arena arena;
    struct host_services services;
    const struct env *env;
    const tsr_codec *codec;
    struct param_set params;
    tsr_tensor tensor;
    struct tile_grid grid;
    struct order order;
    struct coder *coder;
    struct decoder *corrections; /* of the stages behind the first, owned */
    uint64_t correction_count;
};

/* Messages name the tensor. Close in any case. */
tsr_status decoder_open(const struct decoder_input *input, const struct registry *registry, const struct env *env,
                        struct decoder *decoder, tsr_error *err);
void decoder_close(struct decoder *decoder);

/* Reads, checks and decodes one tile into dst, which holds tile_at(...).bytes. [any] */
tsr_status decoder_tile(const struct decoder *decoder, uint64_t index, uint64_t worker, void *dst, tsr_error *err);

/* A decoded tile in matrix order; `scratch` has the same size. [any] */
typedef tsr_status (*decoder_visit)(void *ctx, const struct decoder *decoder, const tsr_tile *tile, void *bytes,
                                    void *scratch, tsr_error *err);
/* Decodes all tiles on the env's workers. */
tsr_status decoder_each(const struct decoder *decoder, decoder_visit visit, void *ctx, tsr_error *err);

#endif
