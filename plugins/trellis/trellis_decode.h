/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder: what a header says, and tiles by it. Safe on any bytes. */
#ifndef TRELLIS_DECODE_H
#define TRELLIS_DECODE_H

#include "trellis_bitstream.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>

struct trellis_decoder {
    const tsr_host *host;
    const tsr_entropy *entropy;
    struct trellis_code code;
    uint32_t mantissa_bits;
    uint32_t class_count;
    uint32_t middle; /* M */
    tsr_entropy_model *model;
    float *points; /* [class_count][quantiser][2 * middle + 2], trellis_fill_points */
};

/* Fills a decoder whose first two members are set; pair with clear, after failure too. */
tsr_status trellis_decoder_init(struct trellis_decoder *decoder, const void *header, uint64_t size, tsr_error *err);
void trellis_decoder_clear(struct trellis_decoder *decoder);

tsr_status trellis_decode_tile(const struct trellis_decoder *decoder, const tsr_tile *tile, const void *src,
                               uint64_t size, float *x, tsr_error *err);
/* Rows first_row .. first_row + rows - 1 of the tile. */
tsr_status trellis_decode_rows(const struct trellis_decoder *decoder, const tsr_tile *tile, const void *src,
                               uint64_t size, uint64_t first_row, uint64_t rows, float *x, tsr_error *err);

#endif
