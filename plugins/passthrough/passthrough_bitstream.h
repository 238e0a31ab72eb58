/* SPDX-License-Identifier: Apache-2.0
 *
 * The bitstream of passthrough: what its encoder and its decoder agree on, and nothing else. README.md has the bytes.
 * An element of E bytes is cut into fields of one or two bytes that partition it; each field is a plane of its own in
 * a tile, stored raw or entropy-coded. */
#ifndef PASSTHROUGH_BITSTREAM_H
#define PASSTHROUGH_BITSTREAM_H

#include <stdbool.h>
#include <string.h>
#include <tessera/codec.h>
#include <tessera/ext/entropy.h>

#define PASSTHROUGH_VERSION 1

enum {
    FIELD_RAW = 0,    /* one or two bytes as they are */
    FIELD_BYTES = 1,  /* one byte, an alphabet of 256 */
    FIELD_HEAD = 2,   /* two bytes: symbol_bits above low_bits are coded, the others are raw bits */
    FIELD_SCALED = 3, /* the same with a context from the scale of row and column */
    FIELD_LOCAL = 4   /* as FIELD_BYTES without a shared model */
};

/* One-byte fields change their method within a tile, every so many elements; heads are one segment. */
#define SEGMENT (UINT64_C(1) << 16)

/* How a segment of a field that is not FIELD_RAW is stored. */
enum { METHOD_RAW = 0, METHOD_SHARED = 1, METHOD_OWN = 2 };

#define FIELDS_MAX 8
#define CLASS_BITS_MAX 6
#define CLASSES (1u << CLASS_BITS_MAX)
#define SUMS (2 * CLASSES - 1) /* of a row class and a column class */

struct passthrough_field {
    uint8_t kind;   /* FIELD_* */
    uint8_t offset; /* first byte in the element, little-endian */
    uint8_t bytes;  /* 1 or 2 */
    uint8_t low_bits, symbol_bits;
    tsr_entropy_model *model; /* NULL for FIELD_RAW and FIELD_LOCAL */
};

/* Scales of rows and columns; the context of a weight is context_of[rows[r] + columns[c]]. */
struct passthrough_scales {
    uint8_t *rows, *columns;
    uint32_t contexts;
    uint8_t context_of[SUMS];
};

struct passthrough_layout {
    uint32_t element_bytes;
    uint32_t field_count; /* 0: tiles are copies of the source */
    struct passthrough_field fields[FIELDS_MAX];
    struct passthrough_scales scales;
};

/* Bytes of what is cut into fields: half an element for C64; F4 and unknown dtypes are bytes. */
static inline uint32_t passthrough_element_bytes(int32_t dtype) {
    switch (dtype) {
    case TSR_DTYPE_F64:
    case TSR_DTYPE_I64:
    case TSR_DTYPE_U64:
        return 8;
    case TSR_DTYPE_F32:
    case TSR_DTYPE_C64:
    case TSR_DTYPE_I32:
    case TSR_DTYPE_U32:
        return 4;
    case TSR_DTYPE_F16:
    case TSR_DTYPE_BF16:
    case TSR_DTYPE_I16:
    case TSR_DTYPE_U16:
        return 2;
    default:
        return 1;
    }
}

/* Contexts of a tile's weights, row by row. Row 0 of the tile is tensor row tile->first_row. Rows or columns that are all
 * of class 0 have no array. */
static inline void passthrough_contexts(const struct passthrough_scales *scales, const tsr_tile *tile,
                                        uint8_t *contexts) {
    const uint8_t *columns = scales->columns ? scales->columns + tile->first_column : NULL;
    for (uint64_t r = 0; r < tile->rows; r++, contexts += tile->columns) {
        const uint8_t *context_of = scales->context_of + (scales->rows ? scales->rows[tile->first_row + r] : 0);
        if (!columns) memset(contexts, context_of[0], (size_t)tile->columns);
        for (uint64_t c = 0; columns && c < tile->columns; c++) contexts[c] = context_of[columns[c]];
    }
}

/* How the values of a field meet the entropy coder. */
static inline tsr_entropy_split passthrough_split(const struct passthrough_field *field, const uint8_t *contexts) {
    tsr_entropy_split split = {sizeof split, field->model, contexts, 0, 16};
    if (field->bytes == 2) {
        split.low_bits = field->low_bits;
        split.symbol_bits = field->symbol_bits;
    }
    return split;
}

/* True when the elements in memory are 16-bit values as the entropy coder takes them. */
static inline bool passthrough_is_direct(uint32_t element_bytes, const void *memory) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return element_bytes == 2 && (uintptr_t)memory % 2 == 0;
#else
    (void)element_bytes;
    (void)memory;
    return false;
#endif
}

/* Encoder and decoder sides of the codec table. */
tsr_status passthrough_encoder_create(const tsr_codec_setup *setup, void **self, tsr_error *err);
void passthrough_encoder_destroy(void *self);
tsr_status passthrough_prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err);
uint64_t passthrough_encode_bound(void *self, const tsr_tile *tile);
tsr_status passthrough_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                              uint64_t *written, tsr_error *err);
tsr_status passthrough_decoder_create(const tsr_codec_setup *setup, void **self, tsr_error *err);
void passthrough_decoder_destroy(void *self);
tsr_status passthrough_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                              tsr_error *err);

#endif
