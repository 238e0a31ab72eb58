/* SPDX-License-Identifier: Apache-2.0
 *
 * Cosines in eight bits through Fisher's z (atanh; Fisher 1915), in which equal steps are equally hard to tell apart.
 * Rounded, not cut; the range is that of 99.8 % of the pairs, so that one outlier does not set the step of all, and
 * what lies outside is clamped and counted; the diagonal is 1 by rule and not stored in the range. */
#ifndef HHTLD_FISHER_H
#define HHTLD_FISHER_H

#include "hhtld_palette.h"

/* Where cosines are cut before atanh. */
#define HHTLD_COSINE_MAX 0.9999

/* atanh and tanh in plain arithmetic (no libm: the same bits everywhere), to 1e-12 for |cosine| <= HHTLD_COSINE_MAX. */
double hhtld_fisher_z(double cosine);
double hhtld_fisher_cosine(double z);

/* Fills codes[size][size] from the symmetric cosines[size][size] and the other members of *table, whose codes it sets.
 * `scratch` has size * size doubles. */
void hhtld_fisher_make(const double *cosines, uint32_t size, double *scratch, int8_t *codes,
                       struct hhtld_table *table);

/* The cosine of the pair; 1 on the diagonal. */
double hhtld_fisher_get(const struct hhtld_table *table, uint32_t a, uint32_t b);

#endif
