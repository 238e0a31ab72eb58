/* SPDX-License-Identifier: Apache-2.0
 *
 * Measures what the encoder would do with a tensor, or a sample of it, at its present scale. */
#ifndef SCALAR_MEASURE_H
#define SCALAR_MEASURE_H

#include "scalar_encode.h"

enum {
    SCALAR_SYMBOLS_MAX = 2 * SCALAR_LIMIT_MAX + 2,
    SCALAR_MEASURE_BLOCK = 1 << 18 /* weights; also what the codec asks for as a tile */
};

/* Sums over the measured segments; arrays by bucket of spread. */
struct scalar_sums {
    double overshoot[SCALAR_CLASSES_MAX][SCALAR_OFFSETS_MAX]; /* of |x| / step - magnitude, for magnitudes 1.. */
    uint64_t bucket_weights[SCALAR_CLASSES_MAX];              /* in segments that are coded */
    uint64_t weights, side_bits, raw_bits;
    double weighted_energy; /* row weight * square */
};

/* Symbols are those of middle SCALAR_LIMIT_MAX, whatever the encoder's. */
struct scalar_counts {
    struct scalar_sums sums;
    uint32_t buckets;                        /* all others are empty */
    uint64_t (*symbols)[SCALAR_SYMBOLS_MAX]; /* [buckets] */
};

struct scalar_measure {
    const struct scalar_encoder *encoder;
    const tsr_row_source *source;
    bool sample;      /* some blocks of rows only */
    bool overshoot;   /* wanted: costs time */
    bool energy_only; /* weighted_energy and weights, nothing else */
};

/* TSR_E_NOMEM, TSR_E_CANCELLED, or what the source says. */
tsr_status scalar_measure_run(const struct scalar_measure *measure, struct scalar_counts *counts, tsr_error *err);

/* True when the sample would be the whole tensor. */
bool scalar_measure_sample_is_all(const struct scalar_encoder *encoder);

#endif
