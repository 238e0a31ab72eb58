/* SPDX-License-Identifier: Apache-2.0
 *
 * What no code can beat: rate-distortion estimates for a tensor (Shannon 1959; Cover & Thomas, Elements of Information
 * Theory, chapter 10). The Gaussian bound is the worst case over sources of equal variance; row variances give reverse
 * water-filling over rows. Printed as estimates; a request is refused only when it lies 1 dB beyond both and beyond the
 * entropy-power bound (docs/config.md, "Information bound"). */
#ifndef POLICY_BOUND_H
#define POLICY_BOUND_H

#include <stdint.h>

/* D = 2^(-2 bits). */
double bound_gaussian(double bits_per_weight);
/* Best cosine at that rate: sqrt(1 - D). */
double bound_cosine(double bits_per_weight);
/* Reverse water-filling over components with these variances (weights[i] elements each; NULL: one each): the smallest
 * relative squared error at `bits_per_weight`. */
double bound_water_filling(const double *variances, const double *weights, uint64_t count, double bits_per_weight);
/* Shannon lower bound from the differential entropy h (bits per sample) of a sample and its variance:
 * D >= 2^(2(h - R)) / (2 pi e variance). */
double bound_entropy_power(double differential_entropy_bits, double variance, double bits_per_weight);
/* Differential entropy in bits of values[count], m-spacing estimate (Vasicek 1976). `scratch` holds count floats. */
double bound_differential_entropy(const float *values, uint64_t count, float *scratch);

#endif
