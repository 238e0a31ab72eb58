/* SPDX-License-Identifier: Apache-2.0
 *
 * Pairs of rows that point the same way: all of them, by exact cosine. */
#ifndef SEARCH_SEARCH_DUPLICATES_H
#define SEARCH_SEARCH_DUPLICATES_H

#include "search_rows.h"

struct search_pair {
    uint64_t a, b; /* a < b */
    double cosine;
};

/* Zero-initialise; clear in any case. */
struct search_pairs {
    struct search_pair *items; /* by a, then b; at most `limit` of them */
    uint64_t count;            /* of all */
    uint64_t kept, limit;
    uint64_t compared;         /* pairs whose cosine was computed; the others were ruled out before */
};

/* Every pair with a cosine of at least `cosine` (above 0); rows of zeros, or with NaN or Inf, are in none. */
tsr_status search_duplicates(const struct search_rows *rows, double cosine, const struct env *env,
                             struct search_pairs *pairs, tsr_error *err);
void search_pairs_clear(struct search_pairs *pairs);

#endif
