/* SPDX-License-Identifier: Apache-2.0
 *
 * One column at a time (tessera/ext/block.h): for error feedback around the codec. */
#ifndef SCALAR_BLOCK_H
#define SCALAR_BLOCK_H

#include "scalar_encode.h"

/* 0 with a bound on the errors of rows: it is kept by looking at all of a row, which blocks never do. */
uint64_t scalar_block_width(const struct scalar_encoder *encoder);
tsr_status scalar_block_begin(const struct scalar_encoder *encoder, const tsr_tile *tile, const float *x, void **state,
                              tsr_error *err);
void scalar_block_quantise(const struct scalar_encoder *encoder, void *state, uint64_t index, const float *values,
                           float *reconstruction);
tsr_status scalar_block_end(const struct scalar_encoder *encoder, void *state, void *dst, uint64_t capacity,
                            uint64_t *written, tsr_error *err);
void scalar_block_abandon(const struct scalar_encoder *encoder, void *state);

#endif
