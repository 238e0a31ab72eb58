/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of what was counted, where they are cheaper than a shape: weights that a symmetric distribution does not describe,
 * and many weights. */
#ifndef SCALAR_TABLES_H
#define SCALAR_TABLES_H

#include "scalar_measure.h"

/* Counts by scale, halved `shift` times so that they fit; [SHAPE_SCALES_MAX]. */
struct scalar_tallies {
    uint32_t scales;
    unsigned shift;
    uint32_t (*symbols)[SCALAR_SYMBOLS_MAX];
};

/* What the tables of a tensor would be. */
struct scalar_tables {
    uint32_t probability_bits;
    uint32_t limits[SHAPE_SCALES_MAX]; /* of scales: larger magnitudes are escapes */
    double bits;                       /* of tables, symbols and escapes */
};

/* For one precision of the coder. */
struct scalar_tables scalar_tables_plan(const struct scalar_tallies *tallies, uint32_t probability_bits);

/* Fills the encoder's model by the plan. Its symbols' bits, escapes included, go to *bits. TSR_E_NOMEM. */
tsr_status scalar_tables_create(struct scalar_encoder *encoder, const struct scalar_tallies *tallies,
                                const struct scalar_tables *tables, double *bits, tsr_error *err);

#endif
