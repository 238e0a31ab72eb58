/* SPDX-License-Identifier: Apache-2.0
 *
 * The step of a row as scalar, spiral and trellis choose it, and the arithmetic for it: doubles with + - * / and sqrt
 * alone, the same bits on every machine. What log2 and exp2 give is part of trellis' bitstream. */
#ifndef ROW_STEP_H
#define ROW_STEP_H

#include <stdint.h>

/* Bits a weight and squared octave that a wrong scale costs a Gaussian: as nats, the squared logarithm of the factor. */
#define ROW_STEP_LOSS 0.69

/* log2 of value > 0 and 2^x for |x| < 1000, to about 1e-12. */
double exact_log2(double value);
double exact_exp2(double value);

/* What must be known of a row's values. */
struct row_facts {
    double rms;
    double spread; /* RMS of the weights, less the means of their columns and over their scales */
    float largest; /* magnitude of a weight less its column's mean */
};

/* Of each column, or NULL: gain[columns], 1 / scale^2, and means[columns]. */
struct row_facts row_look(const float *row, const float *gain, const float *means, uint64_t columns);

/* Bits of `count` events among `total` at their own frequency. */
double exact_entropy_bits(double count, double total);

/* Shorter rows get coarser steps: their RMS scatters more, so codes cost more, while a deviation d of ln(step) costs
 * only about d^2 nats whatever the length. `columns` is what shares a step. */
uint32_t row_step_mantissa_bits(uint64_t columns);

/* Nearest code of step_code.h. */
uint32_t row_step_code(double step, uint32_t mantissa_bits);

/* A row's weight w asks for a step proportional to w^(-1/2), measured in the tensor's weighted RMS: so that weights of
 * 1 / RMS^2 and no weights at all (NULL) mean the same steps. */
double row_step_unit(const float *row_weight, double weighted_rms, double rms, uint64_t row);

/* Half octaves of RMS over nominal unit, 8 for equality, below `classes`: floor(log2(ratio^2) + 1/2) + 8. */
uint32_t row_step_bucket(double ratio, uint32_t classes);

#endif
