/* SPDX-License-Identifier: Apache-2.0
 *
 * See rate_search.h. */
#include "rate_search.h"

/* log2 of the scale beyond which everything is zero. */
#define LOG_SCALE_MOST 8.0

/* From one bit on, the scale of a Gaussian bounds that of all others: weights that are all alike, which have no entropy
 * at any scale, still get their step. Half a bit and the share of fixed costs are allowed for. */
struct rate_search rate_search_begin(double asked, double log_gaussian, double least) {
    const double most = asked < 1 ? LOG_SCALE_MOST : log_gaussian + 0.5 - 0.9 * asked;
    return (struct rate_search){.asked = asked,
                                .at = log_gaussian - asked,
                                .low = least,
                                .high = most,
                                .least = least,
                                .most = most,
                                .slope = -1,
                                .steepest = -1.2,
                                .flattest = -0.05};
}

void rate_search_next(struct rate_search *search, double rate, double previous_at) {
    const double difference = rate - search->asked;
    if (search->trials > 0 && search->at != previous_at) {
        const double slope = (rate - search->rate) / (search->at - previous_at);
        search->slope = slope < search->steepest ? search->steepest : slope > search->flattest ? search->flattest : slope;
    }
    if (difference > 0)
        search->low = search->at;
    else
        search->high = search->at;
    double next = search->at - difference / search->slope;
    if (next <= search->low || next >= search->high) next = (search->low + search->high) / 2;
    search->rate = rate;
    search->at = next;
    search->trials++;
}
