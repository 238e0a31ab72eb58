/* SPDX-License-Identifier: Apache-2.0
 *
 * The best so far, in order: higher scores first, equal ones by the lower row. NaN never gets in. */
#ifndef HHTLD_BEST_H
#define HHTLD_BEST_H

#include <math.h>
#include <stdint.h>

struct hhtld_best {
    double *scores;
    uint64_t *rows;
    uint64_t count, top;
};

static inline int hhtld_best_beats(double a, uint64_t a_row, double b, uint64_t b_row) {
    return a > b || (a == b && a_row < b_row);
}

static inline void hhtld_best_add(struct hhtld_best *best, double score, uint64_t row) {
    uint64_t at = best->count;
    if (isnan(score)) return;
    if (at == best->top) {
        if (at == 0 || !hhtld_best_beats(score, row, best->scores[at - 1], best->rows[at - 1])) return;
        at--;
    } else {
        best->count++;
    }
    for (; at && hhtld_best_beats(score, row, best->scores[at - 1], best->rows[at - 1]); at--) {
        best->scores[at] = best->scores[at - 1];
        best->rows[at] = best->rows[at - 1];
    }
    best->scores[at] = score;
    best->rows[at] = row;
}

/* What a row has to reach to get in; -Inf while there is room. */
static inline double hhtld_best_entry(const struct hhtld_best *best) {
    return best->count < best->top || best->top == 0 ? -HUGE_VAL : best->scores[best->top - 1];
}

#endif
