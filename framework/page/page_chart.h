/* SPDX-License-Identifier: Apache-2.0
 *
 * Charts as inline SVG that takes its colours from the page. Drawn for a width of 360 units, so that letters keep their size on
 * a phone and on a desk. Each has a title and a description for who cannot see it; its numbers stand in a table below. */
#ifndef PAGE_PAGE_CHART_H
#define PAGE_PAGE_CHART_H

#include "page.h"

#include <stdbool.h>

struct chart {
    const char *title, *description; /* description: what there is to see, in a sentence */
    const char *x_label, *y_label;
    double x_low, x_high, y_low, y_high; /* of what is drawn; logarithmic axes take values above 0 */
    bool x_log, y_log;
    bool x_whole; /* only whole numbers are marked */
};

/* Begins figure and picture and draws the axes; ranges are rounded outwards where they are logarithmic. */
void chart_begin(struct page *page, struct chart *chart);
/* Ends the picture; the figure goes on (origin, numbers) until chart_end. */
void chart_close(struct page *page);
void chart_end(struct page *page);

enum chart_series { CHART_FIRST, CHART_SECOND };
/* What lies outside the ranges is put on their edge. */
void chart_dot(struct page *page, const struct chart *chart, enum chart_series series, double x, double y, const char *label,
               bool named);
void chart_span(struct page *page, const struct chart *chart, double x, double y_low, double y_high);
void chart_bar(struct page *page, const struct chart *chart, double x_low, double x_high, double y, const char *label);
/* Points x[i], y[i] joined. */
void chart_line(struct page *page, const struct chart *chart, enum chart_series series, const double *x, const double *y,
                uint64_t count);

/* Horizontal bars, each with its name above it: `filled` of `whole`, both in bytes. */
struct chart_row {
    const char *name;
    uint64_t whole, filled;
};
void chart_rows(struct page *page, const char *title, const char *description, const struct chart_row *rows, uint64_t count);

/* Where estimate, bound and threshold of a judgement lie; of the latter two a NaN says that there is none. */
struct chart_interval {
    const char *title;
    double estimate, bound, threshold;
};
void chart_interval(struct page *page, const struct chart_interval *interval);

#endif
