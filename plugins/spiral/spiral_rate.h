/* SPDX-License-Identifier: Apache-2.0
 *
 * From counts to classes, symbols, centroids and the entropy model, and what all of it costs in bits. */
#ifndef SPIRAL_RATE_H
#define SPIRAL_RATE_H

#include "spiral_measure.h"

/* Bits of a tensor in two parts. What does not shrink with the step (tables, steps, states of the coder, raw rows) may
 * take a tenth of the rate asked for: in tiny or narrow tensors it would leave nothing for the weights. */
struct spiral_bits {
    double weights;
    double fixed;
};

double spiral_bits_rate(const struct spiral_encoder *encoder, const struct spiral_bits *bits, double weights);

/* Bits a weight as spiral_bits_rate sees them, by the entropy of the counts. For the search; spiral_rate_build is
 * exact. */
double spiral_rate_estimate(const struct spiral_encoder *encoder, const struct spiral_counts *counts);

/* Fills classes and model of the encoder (replacing an older model) from counts, which are folded from buckets into
 * classes. *bits gets what all tiles will take. */
tsr_status spiral_rate_build(struct spiral_encoder *encoder, struct spiral_counts *counts, struct spiral_bits *bits,
                             tsr_error *err);

#endif
