/* SPDX-License-Identifier: Apache-2.0
 *
 * From counts to scales, distributions, centroids and the entropy model, and what all of it costs in bits. */
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

/* Fills scales, shape or tables, offsets and model of the encoder (replacing an older model) from counts of the whole
 * tensor. *bits gets what all tiles will take. */
tsr_status scalar_rate_build(struct scalar_encoder *encoder, const struct scalar_counts *counts,
                             const struct scalar_points *points, struct scalar_bits *bits, tsr_error *err);

#endif
