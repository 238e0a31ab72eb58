/* SPDX-License-Identifier: Apache-2.0
 *
 * Two columns at a time, in the order of the walk (tessera/ext/block.h): for error feedback around the codec. */
#ifndef SPIRAL_BLOCK_H
#define SPIRAL_BLOCK_H

#include "spiral_encode.h"

/* 0 when rows are rotated: a column of the tile is then spread over all columns of the quantiser. */
uint64_t spiral_block_width(const struct spiral_encoder *encoder);
uint64_t spiral_block_columns(const struct spiral_encoder *encoder, const tsr_tile *tile, uint64_t index,
                              uint64_t *columns);
tsr_status spiral_block_begin(const struct spiral_encoder *encoder, const tsr_tile *tile, const float *x, void **state,
                              tsr_error *err);
tsr_status spiral_block_quantise(const struct spiral_encoder *encoder, void *state, uint64_t index, const float *values,
                                 float *reconstruction, tsr_error *err);
tsr_status spiral_block_end(const struct spiral_encoder *encoder, void *state, void *dst, uint64_t capacity,
                            uint64_t *written, tsr_error *err);
void spiral_block_abandon(const struct spiral_encoder *encoder, void *state);

#endif
