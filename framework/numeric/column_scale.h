/* SPDX-License-Identifier: Apache-2.0
 *
 * A scale for each column of a payload: what the codec gives for column c is multiplied by 2^(code[c] / 4). So one step a
 * row serves columns whose errors cost more or less. The same bits on every machine. */
#ifndef NUMERIC_COLUMN_SCALE_H
#define NUMERIC_COLUMN_SCALE_H

#include <stdbool.h>
#include <stdint.h>

#define COLUMN_SCALE_MOST 64 /* magnitude of a code */
#define COLUMN_SCALE_OCTAVE 4 /* codes an octave */

/* factors[count] of codes, or, turned, of their negatives. [any] */
void column_scale_factors(const int8_t *codes, uint64_t count, bool turned, float *factors);
/* x[rows][columns] *= factors[columns]. [any] */
void column_scale_apply(const float *factors, uint64_t rows, uint64_t columns, float *x);

#endif
