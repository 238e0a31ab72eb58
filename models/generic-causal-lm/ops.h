/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations on rows: norms, activations, rotary positions. All in F32, sums of norms in double. */
#ifndef CAUSAL_LM_OPS_H
#define CAUSAL_LM_OPS_H

#include "kernels.h"
#include "weights.h"

/* y = norm(x) over `width` values; `offset` is added to the weight (Gemma's 1 + w). x and y may be the same. */
struct norm_rule {
    int32_t kind; /* NORM_* */
    double eps;
    double offset;
    const struct kernels *kernels;
};
void norm_row(const struct norm_rule *rule, const struct norm *norm, const float *x, float *y, uint64_t width);

/* x[i] = f(x[i]). */
void activate(const struct kernels *kernels, int32_t activation, float *x, uint64_t count);

/* Rotation angles of some positions. */
struct rope_table {
    float *cosines, *sines; /* [positions][pairs] */
    uint64_t pairs;
};

/* Inverse frequencies of a spec for a sequence of `length` tokens so far (dynamic and long scaling depend on it), and the
 * factor on cosines and sines. `local`: rope_local_theta without scaling. inverse: [rotary_dim / 2]. */
void rope_frequencies(const struct spec *spec, bool local, uint64_t length, double *inverse, double *attention_factor);
void rope_fill(const double *inverse, double attention_factor, uint64_t first, uint64_t count, struct rope_table *table);
/* Rotates the first 2 * pairs values of one head at table row `row`. */
void rope_rotate(const struct rope_table *table, int32_t kind, uint64_t row, float *head);

/* Yarn's temperature: 0.1 m ln(scale) + 1 (Peng et al. 2023, arXiv:2309.00071, section 3.4). */
double yarn_temperature(double scale, double m);

/* Slope of each head (Press, Smith, Lewis 2021, arXiv:2108.12409). */
void alibi_slopes(uint64_t heads, float *slopes);

#endif
