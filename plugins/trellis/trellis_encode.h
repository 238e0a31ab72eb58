/* SPDX-License-Identifier: Apache-2.0
 *
 * The encoder's state: settings, what prepare decided for the whole tensor, and the steps and paths that prepare,
 * encode and block must choose alike. trellis_prepare.c fills it, trellis_encode.c uses it, trellis.c owns it. */
#ifndef TRELLIS_ENCODE_H
#define TRELLIS_ENCODE_H

#include "columns.h"
#include "row_step.h"
#include "shape_model.h"
#include "side.h"
#include "trellis_bitstream.h"
#include "trellis_path.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>

enum {
    TRELLIS_CODE_ZERO = 128, /* a row's bucket is its code and this much */
    TRELLIS_ROW_BUCKETS = 256
};

struct trellis_settings {
    double bits; /* asked for, side information included */
    uint32_t states;
};

struct trellis_encoder {
    const tsr_host *host;
    const tsr_entropy *entropy;
    const tsr_tensor *tensor;
    const float *row_weight; /* [tensor->rows] or NULL */
    struct trellis_settings settings;
    struct trellis_code code;
    trellis_find *find;
    double weighted_rms; /* unit of steps when there are row weights, see trellis_row_choose */
    double scale;        /* step of a row in its unit */
    uint32_t mantissa_bits;
    struct column_codes columns;
    struct shape shape;
    double scale_share[SHAPE_SCALES_MAX]; /* of all weights that are coded and not */
    int32_t row_low;     /* log2 of the spread of a row with code 0, in units; see trellis_row_choose */
    bool rows_coded;     /* else all rows have row_centre for a code */
    int32_t row_centre;
    uint8_t row_class[TRELLIS_ROW_BUCKETS]; /* what is written for a bucket: zigzag of the distance to the centre */
    struct shape_model model;
    struct offsets offsets[2 * SHAPE_SCALES_MAX]; /* [group][quantiser] */
    float *costs;        /* [2][scale][quantiser][TRELLIS_COSTS]: what paths go by in prepare, and then in encode */
};

/* For row `index` of the tensor. */
struct segment trellis_row_choose(const struct trellis_encoder *encoder, const struct row_facts *facts,
                                  uint64_t index);

/* log2 of a row's spread over its nominal step of scale 1, in units of the shape: what its code is made of. */
int32_t trellis_row_units(const struct trellis_encoder *encoder, const struct row_facts *facts, uint64_t index);

static inline struct side_classes trellis_classes(const struct trellis_encoder *encoder) {
    return (struct side_classes){encoder->row_class, encoder->rows_coded ? 2 : 1};
}

static inline int32_t trellis_row_code(const struct segment *row) {
    return (int32_t)row->bucket - TRELLIS_CODE_ZERO;
}

static inline float *trellis_costs(const struct trellis_encoder *encoder, bool final, uint32_t scale,
                                   uint32_t quantiser) {
    const uint64_t at = final ? 2 * SHAPE_SCALES_MAX : 0;
    return encoder->costs + (at + 2 * scale + quantiser) * TRELLIS_COSTS;
}

/* Room for the paths of TRELLIS_LANES columns. */
struct trellis_lane {
    int32_t *rows; /* all arrays: of a segment of rows */
    float *u;
    int32_t *indices, *choices;
    uint8_t *before;
};

uint64_t trellis_lane_bytes(const struct trellis_encoder *encoder);
void trellis_lane_init(struct trellis_lane *lane, void *memory);

/* A block of `width` <= TRELLIS_LANES columns of a matrix, `stride` apart from row to row. */
struct trellis_columns {
    const struct segment *rows; /* [count] */
    uint64_t count;
    const float *x;
    uint64_t stride, width;
    uint64_t first; /* column of the tensor */
    bool final;     /* costs are those of the model */
    bool centred;   /* the columns' means are taken off already */
    /* Gets an index for each row that is coded, index_stride apart; and, unless NULL, u[width] of it. */
    int32_t *indices;
    float *u;
    uint64_t index_stride;
};

/* Paths down the columns over the rows that are coded. */
void trellis_columns_find(const struct trellis_encoder *encoder, const struct trellis_columns *columns,
                          struct trellis_lane *lane);

/* Frees what prepare made. */
void trellis_encoder_clear(struct trellis_encoder *encoder);

/* A tile whose rows and indices are chosen. */
struct trellis_tile_work {
    const struct trellis_encoder *encoder;
    const tsr_tile *tile;
    const float *x;       /* [rows][columns], for raw rows */
    struct segment *rows; /* [rows] */
    int32_t *indices;     /* [coded rows][columns] */
    uint16_t *symbols;    /* as many; room */
    uint8_t *contexts;    /* as many; room */
    uint8_t *states;      /* [columns]; room */
};

tsr_status trellis_write_tile(const struct trellis_tile_work *work, void *dst, uint64_t capacity, uint64_t *written,
                              tsr_error *err);
/* Bytes of indices, symbols, contexts and states behind memory, and where they are. */
uint64_t trellis_work_bytes(const tsr_tile *tile);
void trellis_work_init(struct trellis_tile_work *work, void *memory);

/* Operations of the codec table (tessera/codec.h). */
tsr_status trellis_prepare(struct trellis_encoder *encoder, const tsr_row_source *source, const tsr_writer *header,
                           tsr_error *err);
uint64_t trellis_encode_bound(const struct trellis_encoder *encoder, const tsr_tile *tile);
tsr_status trellis_encode_tile(const struct trellis_encoder *encoder, const tsr_tile *tile, const float *x, void *dst,
                               uint64_t capacity, uint64_t *written, tsr_error *err);

#endif
