/* SPDX-License-Identifier: Apache-2.0
 *
 * The encoder's state: settings, what prepare decided for the whole tensor, and what becomes of one row, which prepare,
 * encode and block must make alike. spiral_prepare.c fills it, spiral_encode.c uses it, spiral.c owns it. */
#ifndef SPIRAL_ENCODE_H
#define SPIRAL_ENCODE_H

#include "row_step.h"
#include "side.h"
#include "spiral_bitstream.h"
#include "spiral_search.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>
#include <tessera/ext/hadamard.h>

struct spiral_settings {
    double bits;     /* asked for, side information included; unused with points */
    uint32_t points; /* of the companded curve; 0: the uniform one */
    bool rotate;
};

/* Rows with about the same ratio of RMS to step: one context of the entropy model. */
struct spiral_class {
    uint32_t symbols; /* tickets of later symbols are escapes */
    uint32_t offset_count;
    int8_t offsets[2 * SPIRAL_OFFSETS_MAX];
    uint8_t shrink;
};

struct spiral_encoder {
    const tsr_host *host;
    const tsr_entropy *entropy;
    const tsr_hadamard *hadamard;
    const tsr_tensor *tensor;
    spiral_search *search;
    const float *row_weight; /* [tensor->rows] or NULL */
    struct spiral_settings settings;
    struct spiral_curve curve;
    struct spiral_rings rings;
    void *rings_memory;
    uint64_t stride;
    uint64_t seed;       /* of the rotation */
    double weighted_rms; /* unit of steps when there are row weights, see spiral_row_choose */
    double scale;        /* step of a row in its unit */
    uint32_t mantissa_bits;
    uint32_t low_bits;
    uint32_t alphabet; /* A of the bitstream */
    uint32_t class_count;
    uint8_t bucket_class[SPIRAL_CLASSES_MAX]; /* class of a bucket of spreads */
    struct spiral_class classes[SPIRAL_CLASSES_MAX];
    tsr_entropy_model *model; /* NULL: packed */
};

/* Room for one row of up to `columns`: the row in the order of its walk, apart, and its tickets. */
struct spiral_lane {
    float *x, *y;      /* [pairs] of the source */
    float *u, *v;      /* [pairs] in steps */
    uint16_t *tickets; /* [pairs] */
};

static inline uint64_t spiral_lane_bytes(uint64_t columns) {
    return spiral_pairs(columns) * 18 + 64;
}

void spiral_lane_init(struct spiral_lane *lane, void *memory, uint64_t columns);

/* Rows of extreme values are stored as they are, unrotated. */
bool spiral_row_is_raw(const float *row, uint64_t columns);

/* dst[columns] gets the row, rotated unless it is raw; returns dst. */
const float *spiral_row_rotate(const struct spiral_encoder *encoder, const float *row, uint64_t columns, bool raw,
                               float *dst);

/* Takes row[columns] apart along its walk. */
void spiral_lane_load(const struct spiral_encoder *encoder, struct spiral_lane *lane, const float *row,
                      uint64_t columns);

/* Everything but escapes, for a loaded row that is not raw: row `index` of the tensor. */
struct segment spiral_row_choose(const struct spiral_encoder *encoder, struct spiral_lane *lane, uint64_t columns,
                                 uint64_t index);

/* lane->tickets: nearest points at the row's step, without escapes. */
void spiral_row_search(const struct spiral_encoder *encoder, const struct segment *row, struct spiral_lane *lane,
                       uint64_t pairs);

/* Several spreads are told apart only where steps are not simply proportional to the RMS. */
static inline uint32_t spiral_bucket_count(const struct spiral_encoder *encoder) {
    return encoder->row_weight && encoder->settings.points == 0 ? SPIRAL_CLASSES_MAX : 1;
}

/* The curve of the encoder, ready for searches. */
tsr_status spiral_encoder_set_curve(struct spiral_encoder *encoder, const struct spiral_curve *curve, tsr_error *err);

static inline struct side_classes spiral_classes(const struct spiral_encoder *encoder) {
    return (struct side_classes){encoder->bucket_class, encoder->class_count};
}

/* Frees what prepare made. */
void spiral_encoder_clear(struct spiral_encoder *encoder);

/* What is known of a tile before its bytes are written; see spiral_encode.c and spiral_block.c. */
struct spiral_tile_work {
    const struct spiral_encoder *encoder;
    const tsr_tile *tile;
    const float *x; /* [rows][columns]; rotated, but for raw rows */
    struct segment *rows;
    uint16_t *tickets; /* [rows][pairs] */
    uint8_t *contexts; /* [rows * pairs] room; only with several classes */
};

/* Writes the tile whose rows and tickets are chosen; tickets beyond the class's symbols become escapes here. */
tsr_status spiral_write_tile(struct spiral_tile_work *work, void *dst, uint64_t capacity, uint64_t *written,
                             tsr_error *err);

/* Operations of the codec table (tessera/codec.h). */
tsr_status spiral_prepare(struct spiral_encoder *encoder, const tsr_row_source *source, const tsr_writer *header,
                          tsr_error *err);
uint64_t spiral_encode_bound(const struct spiral_encoder *encoder, const tsr_tile *tile);
tsr_status spiral_encode_tile(const struct spiral_encoder *encoder, const tsr_tile *tile, const float *x, void *dst,
                              uint64_t capacity, uint64_t *written, tsr_error *err);

#endif
