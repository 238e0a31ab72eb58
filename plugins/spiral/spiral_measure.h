/* SPDX-License-Identifier: Apache-2.0
 *
 * Measures what the encoder would do with a tensor, or a sample of it, at its present scale and curve. */
#ifndef SPIRAL_MEASURE_H
#define SPIRAL_MEASURE_H

#include "spiral_encode.h"

#define SPIRAL_MEASURE_BLOCK (UINT64_C(1) << 16) /* weights */

/* Of the tickets of one bucket, in steps: for centroids. */
struct spiral_moments {
    uint64_t counts[SPIRAL_OFFSETS_MAX]; /* of the first tickets */
    double sums[2 * SPIRAL_OFFSETS_MAX]; /* x - point and y - point of these */
    double along, square;                /* sums of <x, point> and |point|^2 of the others */
};

struct spiral_sums {
    uint64_t weights;
    uint64_t side_bits;
    uint64_t raw_bits;
    double weighted_energy;
    double error; /* squared, relative to each row's energy, one a row */
    uint64_t rows;
    uint64_t bucket_tickets[SPIRAL_CLASSES_MAX];
    struct spiral_moments moments[SPIRAL_CLASSES_MAX];
};

struct spiral_counts {
    struct spiral_sums sums;
    uint32_t buckets;  /* all others are empty */
    uint32_t tickets;  /* of the curve */
    uint64_t *counts;  /* [buckets][tickets] */
    uint64_t *scratch; /* [tickets] */
};

static inline uint64_t *spiral_counts_of(const struct spiral_counts *counts, uint32_t bucket) {
    return counts->counts + (uint64_t)bucket * counts->tickets;
}

struct spiral_measure {
    const struct spiral_encoder *encoder;
    const tsr_row_source *source;
    bool sample;      /* some blocks of rows only */
    bool energy_only; /* weighted_energy and weights, nothing else */
};

/* TSR_E_NOMEM, TSR_E_CANCELLED, or what the source says. */
tsr_status spiral_measure_run(const struct spiral_measure *measure, struct spiral_counts *counts, tsr_error *err);

/* True when the sample would be the whole tensor. */
bool spiral_measure_sample_is_all(const struct spiral_encoder *encoder);

#endif
