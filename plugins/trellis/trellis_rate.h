/* SPDX-License-Identifier: Apache-2.0
 *
 * From counts to the costs that paths go by, to shapes, centroids and the entropy model, and what all of it costs in
 * bits. */
#ifndef TRELLIS_RATE_H
#define TRELLIS_RATE_H

#include "trellis_measure.h"

/* Bits of a tensor in two parts. What does not shrink with the step (tables, steps, states of the coder, raw rows) may
 * take a tenth of the rate asked for: in tiny or narrow tensors it would leave nothing for the weights. */
struct trellis_bits {
    double weights; /* for each weight of the tensor, as what follows */
    double fixed;
};

double trellis_bits_rate(const struct trellis_encoder *encoder, const struct trellis_bits *bits);

/* Costs of Gaussian weights at the present step. */
void trellis_rate_guess(struct trellis_encoder *encoder);
/* Costs by scale from counts, those without enough keep their guess. */
void trellis_rate_learn(struct trellis_encoder *encoder, const struct trellis_counts *counts);
/* Bits by the entropy of the counts; side_bits are those of all steps. For the search; trellis_rate_build is exact. */
struct trellis_bits trellis_rate_estimate(const struct trellis_encoder *encoder, const struct trellis_counts *counts,
                                          uint64_t side_bits);

/* Fills the shape, its costs, offsets and the model of the encoder (replacing an older model) from counts. *bits gets what
 * all tiles will take. */
tsr_status trellis_rate_build(struct trellis_encoder *encoder, const struct trellis_counts *counts, uint64_t side_bits,
                              struct trellis_bits *bits, tsr_error *err);

#endif
