/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder: what a header says, and tiles by it. Safe on any bytes. */
#ifndef TRELLIS_DECODE_H
#define TRELLIS_DECODE_H

#include "columns.h"
#include "shape_model.h"
#include "trellis_bitstream.h"
#include "trellis_code.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>

struct trellis_decoder {
    const tsr_host *host;
    const tsr_entropy *entropy;
    struct trellis_code code;
    uint32_t version; /* of the bitstream */
    uint32_t mantissa_bits;
    bool rows_coded;
    int32_t row_centre;
    struct column_codes columns;
    struct shape shape; /* version 1: a scale is a class, nothing else of it is used */
    struct shape_model model; /* version 1: without limits */
    float *points;                             /* [list][2 * middle + 2], trellis_fill_points */
    uint32_t points_at[2 * SHAPE_SCALES_MAX]; /* where the list of a context begins */
};

/* Fills a decoder whose first two members and version are set; pair with clear, after failure too. */
tsr_status trellis_decoder_init(struct trellis_decoder *decoder, const tsr_tensor *tensor, const void *header,
                                uint64_t size, tsr_error *err);
void trellis_decoder_clear(struct trellis_decoder *decoder);

/* Headers of version 1 and 2 (trellis_header.c). */
tsr_status trellis_corrupt(tsr_error *err, const char *what);

tsr_status trellis_decode_tile(const struct trellis_decoder *decoder, const tsr_tile *tile, const void *src,
                               uint64_t size, float *x, tsr_error *err);
/* Rows first_row .. first_row + rows - 1 of the tile. */
tsr_status trellis_decode_rows(const struct trellis_decoder *decoder, const tsr_tile *tile, const void *src,
                               uint64_t size, uint64_t first_row, uint64_t rows, float *x, tsr_error *err);

#endif
