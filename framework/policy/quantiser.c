/* SPDX-License-Identifier: Apache-2.0
 *
 * Cells of one step, centred on the multiples of it, each reconstructed at its mean. */
#include "quantiser.h"

#include <math.h>

#define CELLS 64             /* on each side: 8 rms at the finest step of the table */

static double normal_below(double x) {
    return 0.5 * erfc(-x * 0.70710678118654752);
}

static double normal_density(double x) {
    return 0.39894228040143268 * exp(-0.5 * x * x);
}

/* Adds the cell low..high, in rms, that stands for `times` cells. */
static void add_cell(double low, double high, double times, double *bits, double *kept) {
    double share = normal_below(high) - normal_below(low), moment = normal_density(low) - normal_density(high);
    if (share < 1e-30) return;
    *bits -= times * share * log2(share);
    *kept += times * moment * moment / share;
}

void quantiser_curve_make(struct quantiser_curve *curve) {
    for (int i = 0; i < QUANTISER_POINTS; i++) {
        double ratio = exp2(QUANTISER_LEAST + (double)i / QUANTISER_STEPS), width = 1 / ratio, bits = 0, kept = 0;
        add_cell(-width / 2, width / 2, 1, &bits, &kept);
        for (int k = 1; k <= CELLS; k++) add_cell((k - 0.5) * width, (k + 0.5) * width, 2, &bits, &kept);
        curve->bits[i] = fmax(bits, 0);
        curve->error[i] = fmax(1 - kept, 0) * ratio * ratio;
    }
}

struct quantiser_point quantiser_at(const struct quantiser_curve *curve, double log_ratio) {
    double at = (log_ratio - QUANTISER_LEAST) * QUANTISER_STEPS;
    if (!(at > 0)) return (struct quantiser_point){0, exp2(2 * log_ratio)};
    int below = (int)at;
    if (below >= QUANTISER_POINTS - 1) return (struct quantiser_point){log_ratio + QUANTISER_LOG_SQRT_2PIE, 1.0 / 12};
    double part = at - below;
    return (struct quantiser_point){curve->bits[below] + part * (curve->bits[below + 1] - curve->bits[below]),
                                    curve->error[below] + part * (curve->error[below + 1] - curve->error[below])};
}
