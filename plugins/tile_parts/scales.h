/* SPDX-License-Identifier: Apache-2.0
 *
 * Which scales a tensor has distributions for, from histograms of codes in units of its shape. */
#ifndef SCALES_H
#define SCALES_H

#include <stdbool.h>
#include <stdint.h>

/* Whether codes of rows tell more than they take. rows[count]: how many rows have each code, of `columns` weights; *centre
 * gets the code nearest to their mean. */
bool scales_rows_pay(const double *rows, int32_t count, uint32_t unit, double columns, int32_t *centre);

/* From the lowest to the highest scale that has weights enough for numbers of its own, at most SHAPE_SCALES_MAX; where these
 * are too many, the lowest share one: they cost the least. weights[count] of each. Returns how many, *first the lowest. */
uint32_t scales_window(const double *weights, int32_t count, int32_t *first);

#endif
