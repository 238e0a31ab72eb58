/* SPDX-License-Identifier: Apache-2.0
 *
 * What a uniform scalar quantiser with an ideal entropy coder does to a Gaussian source: rate and error as functions of
 * rms over step (Gish and Pierce 1968). The law by which bits are divided between rows and tensors (plan_solve.c). */
#ifndef POLICY_QUANTISER_H
#define POLICY_QUANTISER_H

/* log2 of rms over step where the curve is tabulated, an octave in eighths, from -3 to 2.5; below it nothing is left,
 * above it formulas hold to 1e-4. */
#define QUANTISER_LEAST (-3.0)
#define QUANTISER_STEPS 8
#define QUANTISER_POINTS 45

/* Differential entropy of a Gaussian of RMS 1 in bits: log2 sqrt(2 pi e). */
#define QUANTISER_LOG_SQRT_2PIE 2.0470956

struct quantiser_curve {
    double bits[QUANTISER_POINTS];
    double error[QUANTISER_POINTS]; /* mean square, in squared steps */
};

struct quantiser_point {
    double bits, error;
};

void quantiser_curve_make(struct quantiser_curve *curve);
/* At log2(rms / step). Both grow with it. [any] */
struct quantiser_point quantiser_at(const struct quantiser_curve *curve, double log_ratio);

#endif
