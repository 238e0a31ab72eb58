/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of the encoder share: the instance, and how fields are taken out of elements. */
#ifndef PASSTHROUGH_ENCODER_H
#define PASSTHROUGH_ENCODER_H

#include "passthrough_bitstream.h"

enum { MODE_RAW = 0, MODE_LOSSLESS = 1 };
enum { LEVEL_FAST = 0, LEVEL_DEFAULT = 1, LEVEL_MAX = 2 };

/* What a coded field costs a tile besides its bits: length, states. */
#define PASSTHROUGH_STREAM_BITS (8 * 132)
/* A field is coded if it takes at most this share of its raw bits. */
#define PASSTHROUGH_WORTHWHILE 0.995

struct passthrough_encoder {
    const tsr_host *host;
    const tsr_entropy *entropy;
    const tsr_tensor *tensor;
    int64_t mode, level;
    struct passthrough_layout layout;
};

/* Symbols of a field for the counts of its model. */
uint32_t passthrough_alphabet(const struct passthrough_field *field);
/* values[count] of a field; where they already lie in memory as they are needed, `src` itself is returned. */
const uint16_t *passthrough_extract(uint32_t element_bytes, const struct passthrough_field *field, const void *src,
                                    uint64_t count, uint16_t *values);
/* passthrough_scales.c: replaces the head field by one with contexts if that pays. */
tsr_status passthrough_choose_scales(struct passthrough_encoder *encoder, const tsr_row_source *source,
                                     uint32_t field, const uint32_t *counts, tsr_error *err);
/* Bits of a model and of coding `counts` with it. */
double passthrough_total_cost(const struct passthrough_encoder *encoder, const tsr_entropy_model *model,
                              const uint32_t *counts);

/* A block of the matrix as prepare reads it. */
struct passthrough_block {
    uint64_t first_row, rows, first_column, columns;
    uint64_t count; /* of elements that are cut into fields */
    const uint8_t *bytes;
};

struct passthrough_reader {
    const tsr_row_source *source;
    uint64_t every; /* every how many blocks one is read */
    tsr_status (*visit)(void *ctx, const struct passthrough_block *block, tsr_error *err);
    void *ctx;
};

/* Reads the matrix in blocks of about 2^15 weights, whole rows where they fit. */
tsr_status passthrough_read_blocks(const struct passthrough_encoder *encoder, const struct passthrough_reader *reader,
                                   tsr_error *err);

#endif
