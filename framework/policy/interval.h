/* SPDX-License-Identifier: Apache-2.0
 *
 * Confidence bounds for gates. Positions of one text are correlated, so they are grouped (windows of documents): means get a
 * cluster-robust interval (linearised ratio estimator, Cochran 1977, Sampling Techniques, section 2.11), proportions a
 * Wilson bound (1927) at the effective number of positions, n divided by the design effect of the groups. */
#ifndef POLICY_INTERVAL_H
#define POLICY_INTERVAL_H

#include <stdint.h>

/* Quantile of the standard normal distribution, 0 < p < 1 (Acklam's rational approximation, relative error 1.2e-9). */
double normal_quantile(double p);
/* Quantile of Student's t with `degrees` >= 1 (Hill 1970). */
double student_quantile(double p, double degrees);

/* One-sided Wilson bounds of a proportion: with probability `confidence` the truth is not below / above. */
double wilson_lower(double successes, double trials, double confidence);
double wilson_upper(double successes, double trials, double confidence);
/* Trials at which the observed `proportion` would have a lower bound of at least `threshold`; infinite when it never would. */
double wilson_needed(double proportion, double threshold, double confidence);

/* Sums of one group. */
struct group {
    double sum;
    double count;
};

struct group_estimate {
    double mean;
    double standard_error;
    double total;  /* observations */
    double groups; /* that have observations */
};

/* Mean over all observations, with the standard error that differences between groups give (0 with one group). */
struct group_estimate group_mean(const struct group *groups, uint64_t count);
/* mean + t * standard error; infinite with fewer than two groups. */
double group_upper(const struct group_estimate *estimate, double confidence);
/* Variance between groups over that of independent 0/1 observations, at least 1. */
double group_design_effect(const struct group_estimate *estimate);

#endif
