/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder: what a header says, and tiles by it. Safe on any bytes. */
#ifndef SCALAR_DECODE_H
#define SCALAR_DECODE_H

#include "input.h"
#include "scalar_bitstream.h"
#include "scalar_kernel.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>

struct scalar_decoder {
    const tsr_host *host;
    int32_t dtype; /* of the source: what the host rounds values to */
    int32_t reserved;
    const tsr_entropy *entropy;
    const struct scalar_kernels *kernels;
    const struct scalar_products *products;
    uint32_t mantissa_bits;
    uint32_t class_count;
    uint32_t group;
    uint32_t middle; /* M */
    tsr_entropy_model *model;
    float *points; /* [class_count][2 * middle + 2], scalar_fill_points */
};

/* Fills a decoder whose members up to `products` are set; pair with clear, after failure too. */
tsr_status scalar_decoder_init(struct scalar_decoder *decoder, const void *header, uint64_t size, tsr_error *err);
void scalar_decoder_clear(struct scalar_decoder *decoder);

/* A tile as far as steps and symbols, all of it in the worker's scratch. */
struct scalar_tile {
    const struct scalar_decoder *decoder;
    const tsr_tile *tile;
    uint16_t *codes;   /* [segment_count] */
    uint16_t *symbols; /* [symbol_count], of segments that have any */
    uint8_t *classes;  /* [segment_count] */
    uint8_t *contexts; /* [rows * columns]; only with several classes */
    uint64_t row_segments, segment_count, symbol_count;
};

static inline uint64_t scalar_tile_columns(const struct scalar_tile *work, uint64_t segment) {
    return scalar_segment_columns(work->tile->columns, work->decoder->group, segment % work->row_segments);
}

/* Escapes and raw values are left in `rest`. */
tsr_status scalar_tile_open(const struct scalar_decoder *decoder, const tsr_tile *tile, const uint8_t *src,
                            uint64_t size, struct scalar_tile *work, struct input *rest, tsr_error *err);

tsr_status scalar_decode_tile(const struct scalar_decoder *decoder, const tsr_tile *tile, const uint8_t *src,
                              uint64_t size, float *x, tsr_error *err);

#endif
