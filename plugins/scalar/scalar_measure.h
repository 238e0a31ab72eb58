/* SPDX-License-Identifier: Apache-2.0
 *
 * Measures what the encoder would do with a tensor, or a sample of it, at its present scale. */
#ifndef SCALAR_MEASURE_H
#define SCALAR_MEASURE_H

#include "scalar_encode.h"

enum {
    SCALAR_SYMBOLS_MAX = SHAPE_SYMBOLS_MAX,
    SCALAR_MEASURE_BLOCK = 1 << 18 /* weights; also what the codec asks for as a tile */
};

/* Sums from which reconstruction points are made, by bucket and magnitude 1... */
struct scalar_points {
    double overshoot[SCALAR_BINS][OFFSETS_MAX]; /* of |x| / step - magnitude */
    uint64_t counts[SCALAR_BINS][OFFSETS_MAX];
};

/* Sums over the measured segments. */
struct scalar_sums {
    uint64_t weights, side_bits, raw_bits;
    double weighted_energy;        /* row weight * square */
    double segments[SCALAR_BINS];  /* that are coded, by bucket */
    struct scalar_points points;
};

/* Symbols are those of middle SHAPE_LIMIT_MAX, whatever the encoder's. */
struct scalar_counts {
    struct scalar_sums sums;
    uint32_t bins; /* SCALAR_BINS, or 1 where all weights are of one scale */
    uint64_t bin_weights[SCALAR_BINS];
    uint64_t (*symbols)[SCALAR_SYMBOLS_MAX]; /* [SCALAR_BINS]; of bins without weights anything */
};

/* Working memory of passes over one tensor. */
struct scalar_room;

/* NULL when there is no memory. */
struct scalar_room *scalar_room_create(const tsr_host *host, const struct scalar_encoder *encoder);
void scalar_room_free(const tsr_host *host, struct scalar_room *room);

struct scalar_measure {
    const struct scalar_encoder *encoder;
    const tsr_row_source *source;
    struct scalar_room *room;
    bool sample;      /* some blocks of rows only */
    bool overshoot;   /* wanted: costs time */
    bool energy_only; /* weighted_energy and weights, nothing else */
};

/* TSR_E_CANCELLED, or what the source says; the room is of no use then. */
tsr_status scalar_measure_run(const struct scalar_measure *measure, struct scalar_counts *counts, tsr_error *err);

/* True when the sample would be the whole tensor. */
bool scalar_measure_sample_is_all(const struct scalar_encoder *encoder);

#endif
