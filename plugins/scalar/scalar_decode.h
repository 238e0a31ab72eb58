/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder: what a header says, and tiles by it. Safe on any bytes. */
#ifndef SCALAR_DECODE_H
#define SCALAR_DECODE_H

#include "columns.h"
#include "input.h"
#include "scalar_bitstream.h"
#include "scalar_kernel.h"
#include "shape_model.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>

struct scalar_decoder {
    const tsr_host *host;
    int32_t dtype;    /* of the source: what the host rounds values to */
    uint32_t version; /* of the bitstream */
    const tsr_entropy *entropy;
    const struct scalar_kernels *kernels;
    const struct scalar_products *products;
    uint32_t mantissa_bits;
    uint32_t group;
    bool rows_coded;
    int32_t row_centre;
    struct column_codes columns;
    struct shape shape; /* version 1: a scale is a class, nothing else of it is used */
    struct shape_model model; /* version 1: without limits */
    uint32_t lists;     /* of points */
    float *points;      /* [lists][2 * middle + 2], scalar_fill_points */
};

/* Fills a decoder whose members up to `products` are set; pair with clear, after failure too. Headers of version 1 and 2
 * (scalar_header.c). */
tsr_status scalar_decoder_init(struct scalar_decoder *decoder, const tsr_tensor *tensor, const void *header,
                               uint64_t size, tsr_error *err);
void scalar_decoder_clear(struct scalar_decoder *decoder);
tsr_status scalar_corrupt(tsr_error *err, const char *what);

/* A tile as far as steps and symbols, all of it in the worker's scratch. */
struct scalar_tile {
    const struct scalar_decoder *decoder;
    const tsr_tile *tile;
    uint16_t *codes;   /* [segment_count] */
    uint16_t *symbols; /* [symbol_count], of segments that have any */
    uint8_t *lists;    /* [segment_count]: whose points */
    uint8_t *contexts; /* [rows * columns]; only with several scales */
    uint64_t row_segments, segment_count, symbol_count;
};

static inline uint64_t scalar_tile_columns(const struct scalar_tile *work, uint64_t segment) {
    return scalar_segment_columns(work->tile->columns, work->decoder->group, segment % work->row_segments);
}

/* Escapes and raw values are left in `rest`. */
tsr_status scalar_tile_open(const struct scalar_decoder *decoder, const tsr_tile *tile, const uint8_t *src,
                            uint64_t size, struct scalar_tile *work, struct input *rest, tsr_error *err);

/* The next escape, which stands for symbol `at` of the tile. False when it is damaged. */
bool scalar_take_escape(const struct scalar_tile *work, uint64_t at, struct input *rest, int32_t *index);

tsr_status scalar_decode_tile(const struct scalar_decoder *decoder, const tsr_tile *tile, const uint8_t *src,
                              uint64_t size, float *x, tsr_error *err);

#endif
