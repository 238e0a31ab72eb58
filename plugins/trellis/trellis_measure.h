/* SPDX-License-Identifier: Apache-2.0
 *
 * Measures what the encoder would do with a sample of a tensor at its present scale and costs: blocks of rows and
 * columns spread over it, or all of it where it is small. */
#ifndef TRELLIS_MEASURE_H
#define TRELLIS_MEASURE_H

#include "trellis_encode.h"

/* Of one scale and quantiser; symbols are those of middle SHAPE_LIMIT_MAX. */
struct trellis_tally {
    uint32_t symbols[SHAPE_SYMBOLS_MAX];
    double overshoot[OFFSETS_MAX]; /* sums of |x| / step - point, of magnitudes 1.. */
};

struct trellis_counts {
    uint64_t weights; /* measured */
    uint64_t raw_bits;
    uint64_t scale_weights[SHAPE_SCALES_MAX];
    struct trellis_tally (*tallies)[2]; /* [SHAPE_SCALES_MAX][quantiser] */
};

struct trellis_measure {
    const struct trellis_encoder *encoder;
    const tsr_row_source *source;
    const struct segment *rows; /* of the whole tensor */
    uint64_t blocks;            /* at most */
};

/* TSR_E_NOMEM, TSR_E_CANCELLED, or what the source says. */
tsr_status trellis_measure_run(const struct trellis_measure *measure, struct trellis_counts *counts, tsr_error *err);

/* Facts of all rows, facts[rows]. */
tsr_status trellis_measure_rows(const struct trellis_encoder *encoder, const tsr_row_source *source,
                                struct row_facts *facts, tsr_error *err);

#endif
