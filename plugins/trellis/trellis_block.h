/* SPDX-License-Identifier: Apache-2.0
 *
 * One column at a time (tessera/ext/block.h): for error feedback around the codec. A path runs down the rows of a
 * column, feedback from column to column. */
#ifndef TRELLIS_BLOCK_H
#define TRELLIS_BLOCK_H

#include "trellis_encode.h"

tsr_status trellis_block_begin(const struct trellis_encoder *encoder, const tsr_tile *tile, const float *x,
                               void **state, tsr_error *err);
tsr_status trellis_block_quantise(const struct trellis_encoder *encoder, void *state, uint64_t index,
                                  const float *values, float *reconstruction, tsr_error *err);
tsr_status trellis_block_end(const struct trellis_encoder *encoder, void *state, void *dst, uint64_t capacity,
                             uint64_t *written, tsr_error *err);
void trellis_block_abandon(const struct trellis_encoder *encoder, void *state);

#endif
