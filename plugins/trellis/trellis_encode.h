/* SPDX-License-Identifier: Apache-2.0
 *
 * The encoder's state: settings, what prepare decided for the whole tensor, and the steps and paths that prepare,
 * encode and block must choose alike. trellis_prepare.c fills it, trellis_encode.c uses it, trellis.c owns it. */
#ifndef TRELLIS_ENCODE_H
#define TRELLIS_ENCODE_H

#include "side.h"
#include "trellis_bitstream.h"
#include "trellis_path.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>

enum { TRELLIS_CONTEXTS_MAX = 2 * TRELLIS_CLASSES_MAX };

struct trellis_settings {
    double bits; /* asked for, side information included */
    uint32_t states;
};

struct trellis_offsets {
    uint32_t count;
    int8_t values[TRELLIS_OFFSETS_MAX]; /* of magnitudes 1.. */
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
    uint32_t middle; /* M of the bitstream: largest limit of the classes */
    uint32_t class_count;
    uint8_t bucket_class[TRELLIS_CLASSES_MAX]; /* class of a bucket of spreads */
    uint32_t limits[TRELLIS_CLASSES_MAX];      /* of classes: larger magnitudes are escapes */
    struct trellis_offsets offsets[TRELLIS_CONTEXTS_MAX];
    struct trellis_costs costs[2 * TRELLIS_CLASSES_MAX]; /* what paths go by: of buckets, and behind them of classes */
    float *cost_memory;                                  /* [2 * TRELLIS_CLASSES_MAX][quantiser][TRELLIS_COSTS] */
    tsr_entropy_model *model;
};

/* What must be known of a row's values. */
struct trellis_row_facts {
    double rms;
    float largest;
};

struct trellis_row_facts trellis_row_look(const float *row, uint64_t columns);

/* For row `index` of the tensor. */
struct segment trellis_row_choose(const struct trellis_encoder *encoder, const struct trellis_row_facts *facts,
                                  uint64_t index);

/* Several spreads are told apart only where steps are not simply proportional to the RMS. */
static inline uint32_t trellis_bucket_count(const struct trellis_encoder *encoder) {
    return encoder->row_weight ? TRELLIS_CLASSES_MAX : 1;
}

static inline struct side_classes trellis_classes(const struct trellis_encoder *encoder) {
    return (struct side_classes){encoder->bucket_class, encoder->class_count};
}

/* Room for the paths of TRELLIS_LANES columns. */
struct trellis_lane {
    const struct trellis_costs **costs; /* all arrays: of a segment of rows */
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
    bool classes; /* costs are those of classes, not of buckets */
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

/* log2 of value > 0 and 2^x for |x| < 1000 by + - * / alone: the same bits on every machine, to about 1e-12. */
double trellis_log2(double value);
double trellis_exp2(double value);

#endif
