/* SPDX-License-Identifier: Apache-2.0
 *
 * From counts to classes, limits, centroids and the entropy model, and what all of it costs in bits. */
#ifndef SCALAR_RATE_H
#define SCALAR_RATE_H

#include "scalar_measure.h"

/* Bits of a tensor in two parts. What does not shrink with the step (tables, steps, states of the coder, raw segments)
 * may take a tenth of the rate asked for: in tiny or narrow tensors it would leave nothing for the weights. */
struct scalar_bits {
    double weights;
    double fixed;
};

double scalar_bits_rate(const struct scalar_encoder *encoder, const struct scalar_bits *bits, double weights);

/* Bits a weight as scalar_bits_rate sees them, by the entropy of the counts. For the search; scalar_rate_build is
 * exact. */
double scalar_rate_estimate(const struct scalar_encoder *encoder, const struct scalar_counts *counts);

/* Sums from which reconstruction points are made, by bucket and magnitude. */
struct scalar_points {
    double overshoot[SCALAR_CLASSES_MAX][SCALAR_OFFSETS_MAX];
    uint64_t counts[SCALAR_CLASSES_MAX][SCALAR_OFFSETS_MAX];
};

void scalar_rate_points(const struct scalar_counts *counts, struct scalar_points *points);

/* Fills classes and model of the encoder (replacing an older model) from counts of the whole tensor, which are folded
 * from buckets into classes. *bits gets what all tiles will take. */
tsr_status scalar_rate_build(struct scalar_encoder *encoder, struct scalar_counts *counts,
                             const struct scalar_points *points, struct scalar_bits *bits, tsr_error *err);

#endif
