/* SPDX-License-Identifier: Apache-2.0
 *
 * The scale of the steps that gives a rate: log2(scale) by secant steps that are kept inside a bracket. The rate falls with a
 * slope of -1 at high rates, less at low ones. */
#ifndef RATE_SEARCH_H
#define RATE_SEARCH_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

struct rate_search {
    double asked;
    double at, rate;            /* last trial */
    double low, high;           /* rate(low) > asked > rate(high) as far as known */
    double least, most;         /* log2(scale) to try */
    double slope;
    double steepest, flattest;  /* that it may have */
    uint32_t trials;
};

/* log_gaussian: log2 of RMS over step at R bits is R - this for a Gaussian, and more for anything else of the same RMS, as
 * nothing has more entropy. */
struct rate_search rate_search_begin(double asked, double log_gaussian, double least);

/* Takes the rate at search->at and moves on; `previous_at` is the trial before. */
void rate_search_next(struct rate_search *search, double rate, double previous_at);

/* The bracket has nothing left to try. */
static inline bool rate_search_is_over(const struct rate_search *search) {
    return search->high - search->low < 0.001;
}

static inline bool rate_is_near(double rate, double asked, double tolerance) {
    return fabs(rate - asked) <= tolerance * asked;
}

#endif
