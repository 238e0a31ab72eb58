/* SPDX-License-Identifier: Apache-2.0
 *
 * One stored tensor, ready to give back its tiles: the payload's head believed only as far as shape, grid, codec and
 * parameters agree with each other. */
#ifndef PIPELINE_DECODER_H
#define PIPELINE_DECODER_H

#include "order.h"

#include <base/arena.h>
#include <format/container_read.h>
#include <plugin/coder.h>
#include <plugin/param_bind.h>
#include <plugin/registry.h>

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
};

/* Messages name the tensor. Close in any case. */
tsr_status decoder_open(const struct safetensors *st, const struct safetensors_entry *entry,
                        const struct registry *registry, const struct env *env, struct decoder *decoder,
                        tsr_error *err);
void decoder_close(struct decoder *decoder);

/* Reads, checks and decodes one tile into dst, which holds tile_at(...).bytes. [any] */
tsr_status decoder_tile(const struct decoder *decoder, uint64_t index, uint64_t worker, void *dst, tsr_error *err);

/* A decoded tile in matrix order; `scratch` has the same size. [any] */
typedef tsr_status (*decoder_visit)(void *ctx, const struct decoder *decoder, const tsr_tile *tile, void *bytes,
                                    void *scratch, tsr_error *err);
/* Decodes all tiles on the env's workers. */
tsr_status decoder_each(const struct decoder *decoder, decoder_visit visit, void *ctx, tsr_error *err);

#endif
