/* SPDX-License-Identifier: Apache-2.0
 *
 * How far a reconstruction is from its source: relative squared error D = ||w-w'||^2 / ||w||^2, cosine, largest absolute
 * error, and per row. Sums are double, in element order within a row and row order within a tensor. */
#ifndef POLICY_METRIC_H
#define POLICY_METRIC_H

#include <stdbool.h>
#include <stdint.h>
#include <tessera/status.h>

/* Zero-initialise; add rows in order. */
struct metric {
    double source_energy;  /* sum w^2 */
    double decoded_energy; /* sum w'^2 */
    double dot;            /* sum w w' */
    double error_energy;   /* sum (w-w')^2 */
    double max_abs_error;
    double worst_row_error; /* relative RMS error of the worst row; 0/0 counts as 0, x/0 as infinite */
    uint64_t worst_row;
    uint64_t rows, weights;
    uint64_t not_finite; /* elements where source or decoded is NaN or Inf and bits differ */
};

/* Adds one row of matrix view; `row` is its number. */
void metric_add_row(struct metric *metric, uint64_t row, const float *source, const float *decoded, uint64_t columns);
double metric_relative_error(const struct metric *metric); /* D; 0 for an all-zero source decoded to zeros */
double metric_cosine(const struct metric *metric);         /* 1 for two zero tensors */
double metric_sqnr_db(const struct metric *metric);        /* -10 log10 D; infinite when exact */

#endif
