/* SPDX-License-Identifier: Apache-2.0
 *
 * Coordinates are units of the picture: 360 wide, the plot between LEFT and RIGHT, TOP and BOTTOM. */
#include "page_chart.h"

#include <math.h>
#include <stdio.h>

#define WIDTH 360
#define HEIGHT 220
#define LEFT 46.0
#define RIGHT 352.0
#define TOP 20.0
#define BOTTOM 184.0
#define TICKS 5
#define VALUE_MAX 1e300

static double share(double value, double low, double high, bool is_log) {
    if (is_log) {
        low = log10(low);
        high = log10(high);
        value = value > 0 ? log10(value) : low;
    }
    double at = high > low ? (value - low) / (high - low) : 0.5;
    return fmin(fmax(at, 0), 1);
}

static double place_x(const struct chart *chart, double x) {
    return LEFT + (RIGHT - LEFT) * share(x, chart->x_low, chart->x_high, chart->x_log);
}

static double place_y(const struct chart *chart, double y) {
    return BOTTOM - (BOTTOM - TOP) * share(y, chart->y_low, chart->y_high, chart->y_log);
}

/* ---- axes ---- */

/* 1, 2 or 5 times a power of ten that cuts the range into about TICKS steps. */
static double step_of(double range, bool whole) {
    double raw = range / TICKS, power = pow(10, floor(log10(raw))), part = raw / power;
    double step = power * (part > 5 ? 10 : part > 2 ? 5 : part > 1 ? 2 : 1);
    return whole ? fmax(step, 1) : step;
}

static void mark_x(struct page *page, const struct chart *chart, double value) {
    double x = place_x(chart, value);
    page_add(page, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/><text class=\"soft\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%.4g</text>",
             x, TOP, BOTTOM + 3, x, BOTTOM + 14, value);
}

static void mark_y(struct page *page, const struct chart *chart, double value) {
    double y = place_y(chart, value);
    page_add(page, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/><text class=\"soft\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">%.4g</text>",
             LEFT - 3, y, RIGHT, LEFT - 5, y + 3.5, value);
}

static void mark_axis(struct page *page, const struct chart *chart, double low, double high, bool is_log, bool whole,
                      void (*mark)(struct page *, const struct chart *, double)) {
    if (is_log) {
        int first = (int)round(log10(low)), last = (int)round(log10(high)), step = (last - first) / (TICKS + 1) + 1;
        for (int power = first; power <= last; power += step) mark(page, chart, pow(10, power));
        return;
    }
    double step = high > low ? step_of(high - low, whole) : 1, first = ceil(low / step - 1e-9) * step;
    /* Counted, since a step may be lost in the rounding of a large value. */
    for (int i = 0; i <= 2 * TICKS && first + i * step <= high + step * 1e-9; i++) {
        double value = first + i * step;
        mark(page, chart, fabs(value) < step * 1e-9 ? 0 : value);
    }
}

/* To whole powers of ten, at least one apart. */
static void round_range(double *low, double *high) {
    if (!(*low > 0)) *low = 1e-12;
    *low = fmin(*low, VALUE_MAX);
    *high = fmin(fmax(*high, *low), VALUE_MAX);
    *low = pow(10, floor(log10(*low) + 1e-9));
    *high = pow(10, ceil(log10(*high) - 1e-9));
    if (*high <= *low) *high = *low * 10;
}

static void begin_picture(struct page *page, const char *title, const char *description, double height) {
    unsigned id = page->ids++;
    page_add(page, "<figure>\n<figcaption>%s</figcaption>\n<svg viewBox=\"0 0 %d %.0f\" role=\"img\" aria-labelledby=\"t%u d%u\">"
                   "<title id=\"t%u\">%s</title><desc id=\"d%u\">%s</desc>\n",
             title, WIDTH, height, id, id, id, title, id, description);
}

void chart_begin(struct page *page, struct chart *chart) {
    if (chart->x_log) round_range(&chart->x_low, &chart->x_high);
    if (chart->y_log) round_range(&chart->y_low, &chart->y_high);
    begin_picture(page, chart->title, chart->description, HEIGHT);
    mark_axis(page, chart, chart->x_low, chart->x_high, chart->x_log, chart->x_whole, mark_x);
    mark_axis(page, chart, chart->y_low, chart->y_high, chart->y_log, false, mark_y);
    page_add(page, "<path class=\"frame\" d=\"M%.1f %.1fV%.1fH%.1f\"/>", LEFT, TOP, BOTTOM, RIGHT);
    page_add(page, "<text class=\"soft\" x=\"%.1f\" y=\"12\">%s</text><text class=\"soft\" text-anchor=\"end\" x=\"%.1f\" y=\"%d\">%s</text>\n",
             4.0, chart->y_label, RIGHT, HEIGHT - 8, chart->x_label);
}

void chart_close(struct page *page) {
    page_add(page, "</svg>\n");
}

void chart_end(struct page *page) {
    page_add(page, "</figure>\n");
}

/* ---- what is drawn ---- */

void chart_dot(struct page *page, const struct chart *chart, enum chart_series series, double x, double y, const char *label,
               bool named) {
    double px = place_x(chart, x), py = place_y(chart, y);
    page_add(page, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>%s</title></circle>",
             series == CHART_FIRST ? "dot" : "dot2", px, py, named ? 3.5 : 1.8, label);
    if (!named) return;
    bool right = px > (LEFT + RIGHT) / 2;
    page_add(page, "<text text-anchor=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>", right ? "end" : "start", right ? px - 6 : px + 6,
             py - 5, label);
}

void chart_span(struct page *page, const struct chart *chart, double x, double y_low, double y_high) {
    page_add(page, "<path class=\"line\" d=\"M%.1f %.1fV%.1f\"/>", place_x(chart, x), place_y(chart, y_low), place_y(chart, y_high));
}

void chart_bar(struct page *page, const struct chart *chart, double x_low, double x_high, double y, const char *label) {
    double left = place_x(chart, x_low), right = place_x(chart, x_high), top = place_y(chart, y);
    page_add(page, "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>%s</title></rect>", left + 0.5, top,
             fmax(right - left - 1, 0.5), BOTTOM - top, label);
}

void chart_line(struct page *page, const struct chart *chart, enum chart_series series, const double *x, const double *y,
                uint64_t count) {
    page_add(page, "<path class=\"%s\" d=\"", series == CHART_FIRST ? "line" : "line2");
    for (uint64_t i = 0; i < count; i++) {
        page_add(page, "%s%.1f %.1f", i ? "L" : "M", place_x(chart, x[i]), place_y(chart, y[i]));
    }
    page_add(page, "\"/>");
}

#define ROW_HEIGHT 30.0

void chart_rows(struct page *page, const char *title, const char *description, const struct chart_row *rows, uint64_t count) {
    uint64_t most = 1;
    char whole[32], filled[32];
    for (uint64_t i = 0; i < count; i++) {
        if (rows[i].whole > most) most = rows[i].whole;
        if (rows[i].filled > most) most = rows[i].filled;
    }
    begin_picture(page, title, description, (double)count * ROW_HEIGHT + 4);
    for (uint64_t i = 0; i < count; i++) {
        double top = (double)i * ROW_HEIGHT, unit = (WIDTH - 8) / (double)most;
        page_add(page, "<text x=\"4\" y=\"%.1f\">%s</text>", top + 12, rows[i].name);
        page_add(page, "<text class=\"soft\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">%s of %s</text>", WIDTH - 4, top + 12,
                 text_bytes(rows[i].filled, filled, sizeof filled), text_bytes(rows[i].whole, whole, sizeof whole));
        page_add(page, "<rect class=\"area\" x=\"4\" y=\"%.1f\" width=\"%.1f\" height=\"10\"/>", top + 16, (double)rows[i].whole * unit);
        page_add(page, "<rect class=\"bar\" x=\"4\" y=\"%.1f\" width=\"%.1f\" height=\"10\"/>\n", top + 16, (double)rows[i].filled * unit);
    }
    chart_close(page);
}

void chart_interval(struct page *page, const struct chart_interval *interval) {
    bool limited = isfinite(interval->threshold);
    /* fmin and fmax leave out a bound that is no number. */
    double low = fmin(interval->estimate, interval->bound), high = fmax(interval->estimate, interval->bound);
    if (limited) {
        low = fmin(low, interval->threshold);
        high = fmax(high, interval->threshold);
    }
    double pad = high > low ? (high - low) * 0.15 : 1e-6;
    struct chart scale = {.x_low = low - pad, .x_high = high + pad};
    double estimate = place_x(&scale, interval->estimate);
    double bound = isfinite(interval->bound) ? place_x(&scale, interval->bound) : estimate;
    begin_picture(page, interval->title, "A line from the estimate to its confidence bound, and a mark at the threshold.", 52);
    page_add(page, "<path class=\"frame\" d=\"M%.1f 26H%.1f\"/><path class=\"line\" stroke-width=\"4\" d=\"M%.1f 26H%.1f\"/>", LEFT, RIGHT,
             fmin(estimate, bound), fmax(estimate, bound));
    page_add(page, "<circle class=\"dot\" cx=\"%.1f\" cy=\"26\" r=\"4\"/><text text-anchor=\"middle\" x=\"%.1f\" y=\"14\">%.5g</text>", estimate,
             estimate, interval->estimate);
    if (limited) {
        double at = place_x(&scale, interval->threshold);
        page_add(page, "<path class=\"line2\" d=\"M%.1f 16V36\"/><text text-anchor=\"middle\" x=\"%.1f\" y=\"48\">asked: %.5g</text>", at, at,
                 interval->threshold);
    }
    chart_close(page);
}
