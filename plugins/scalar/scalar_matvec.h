/* SPDX-License-Identifier: Apache-2.0
 *
 * Products from packed tiles (tessera/ext/matvec.h). */
#ifndef SCALAR_MATVEC_H
#define SCALAR_MATVEC_H

#include "scalar_decode.h"

uint64_t scalar_packed_bytes(const struct scalar_decoder *decoder, const tsr_tile *tile);
tsr_status scalar_pack_tile(const struct scalar_decoder *decoder, const tsr_tile *tile, const uint8_t *src, uint64_t size,
                            void *dst, tsr_error *err);
void scalar_apply_rows(const struct scalar_decoder *decoder, const tsr_tile *tile, const void *packed, uint64_t first_row,
                       uint64_t rows, const float *x, float *y);

#endif
