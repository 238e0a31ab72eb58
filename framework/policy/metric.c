/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums over elements that are finite on both sides; the others are counted where their bits differ. */
#include "metric.h"

#include <math.h>
#include <string.h>

static bool same_bits(float a, float b) {
    return !memcmp(&a, &b, sizeof a);
}

/* Relative RMS error of a row: 0/0 is 0, x/0 infinite. */
static double row_error(double error_energy, double source_energy) {
    if (error_energy == 0) return 0;
    return source_energy == 0 ? INFINITY : sqrt(error_energy / source_energy);
}

void metric_add_row(struct metric *metric, uint64_t row, const float *source, const float *decoded, uint64_t columns) {
    double source_energy = 0, decoded_energy = 0, dot = 0, error_energy = 0;
    uint64_t not_finite = 0;
    for (uint64_t c = 0; c < columns; c++) {
        double w = source[c], v = decoded[c], difference = w - v;
        if (!isfinite(difference)) {
            not_finite += !same_bits(source[c], decoded[c]);
            continue;
        }
        source_energy += w * w;
        decoded_energy += v * v;
        dot += w * v;
        error_energy += difference * difference;
        if (fabs(difference) > metric->max_abs_error) metric->max_abs_error = fabs(difference);
    }
    metric->source_energy += source_energy;
    metric->decoded_energy += decoded_energy;
    metric->dot += dot;
    metric->error_energy += error_energy;
    metric->not_finite += not_finite;
    double error = not_finite ? INFINITY : row_error(error_energy, source_energy);
    if (error > metric->worst_row_error) {
        metric->worst_row_error = error;
        metric->worst_row = row;
    }
    metric->rows++;
    metric->weights += columns;
}

double metric_relative_error(const struct metric *metric) {
    if (metric->error_energy == 0) return 0;
    return metric->source_energy == 0 ? INFINITY : metric->error_energy / metric->source_energy;
}

double metric_cosine(const struct metric *metric) {
    if (metric->error_energy == 0) return 1;
    double norms = sqrt(metric->source_energy) * sqrt(metric->decoded_energy);
    if (norms == 0) return 0;
    return fmax(-1, fmin(1, metric->dot / norms));
}

double metric_sqnr_db(const struct metric *metric) {
    double error = metric_relative_error(metric);
    return error == 0 ? INFINITY : -10 * log10(error);
}
