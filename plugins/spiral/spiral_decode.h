/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder: what a header says, and tiles by it. Safe on any bytes. */
#ifndef SPIRAL_DECODE_H
#define SPIRAL_DECODE_H

#include "spiral_bitstream.h"
#include "spiral_curve.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>
#include <tessera/ext/hadamard.h>

struct spiral_decoder {
    const tsr_host *host;
    const tsr_entropy *entropy;
    const tsr_hadamard *hadamard;
    const tsr_tensor *tensor;
    uint64_t seed;
    uint64_t stride;
    bool companded, rotated, packed;
    uint32_t mantissa_bits;
    uint32_t alphabet; /* A */
    uint32_t low_bits;
    uint32_t class_count;
    uint32_t count;              /* tickets that have points */
    struct spiral_point *points; /* [class_count][count] */
    tsr_entropy_model *model;    /* NULL when packed */
};

/* Fills a decoder whose first four members are set; pair with clear, after failure too. */
tsr_status spiral_decoder_init(struct spiral_decoder *decoder, const void *header, uint64_t size, tsr_error *err);
void spiral_decoder_clear(struct spiral_decoder *decoder);

tsr_status spiral_decode_tile(const struct spiral_decoder *decoder, const tsr_tile *tile, const void *src,
                              uint64_t size, float *x, tsr_error *err);

/* Rows first_row .. first_row + rows - 1 of the tile. */
tsr_status spiral_decode_rows(const struct spiral_decoder *decoder, const tsr_tile *tile, const void *src,
                              uint64_t size, uint64_t first_row, uint64_t rows, float *x, tsr_error *err);

/* Products (tessera/ext/matvec.h). */
uint64_t spiral_packed_bytes(const struct spiral_decoder *decoder, const tsr_tile *tile);
tsr_status spiral_pack(const struct spiral_decoder *decoder, const tsr_tile *tile, const void *src, uint64_t size,
                       void *dst, tsr_error *err);
uint64_t spiral_query_bytes(const struct spiral_decoder *decoder);
tsr_status spiral_query(const struct spiral_decoder *decoder, const float *x, void *query, tsr_error *err);
tsr_status spiral_apply(const struct spiral_decoder *decoder, const tsr_tile *tile, const void *packed,
                        const void *query, float *y, tsr_error *err);

/* A parsed tile: its rows and tickets, all in the worker's scratch, and what is left of the input. */
struct spiral_parsed {
    const uint16_t *codes;   /* [rows] step codes */
    const uint8_t *classes;  /* [rows] */
    const uint16_t *tickets; /* of coded rows, one behind the other; checked */
    const uint8_t *rest;     /* escapes and raw values */
    uint64_t rest_bytes;
    float *row; /* [columns] room for a row in the order of its walk */
};

/* Escapes, then raw rows, in order; `damaged` once they were not what they must be. */
struct spiral_rest {
    const uint8_t *bytes;
    uint64_t size;
    bool damaged;
};

/* The next coordinate of an escape, in units of SPIRAL_ESCAPE_UNIT steps. */
int32_t spiral_take_multiple(struct spiral_rest *rest);

tsr_status spiral_parse(const struct spiral_decoder *decoder, const tsr_tile *tile, const void *src, uint64_t size,
                        struct spiral_parsed *parsed, tsr_error *err);

#endif
