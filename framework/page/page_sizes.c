/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the bytes are, what they buy beside other outputs and other programs, and what each layer lost. Divergences are only
 * drawn together where source and text are the same. */
#include "page_parts.h"

#include <base/alloc.h>
#include <math.h>
#include <reading/members.h>
#include <string.h>

#define POINTS_MAX 64
#define ROLES_MAX 64 /* the last row takes all further ones */
#define LAYERS_MAX 256

/* ---- size against quality ---- */

struct point {
    const char *name;
    double size;    /* percent of the source's bytes */
    double quality; /* divergence, or error of the weights */
    bool foreign;   /* of another program */
};

struct points {
    struct point list[POINTS_MAX];
    uint64_t count;
    bool by_divergence;
    const char *text; /* digest of the gate's text, "" where there is none */
    struct str left_out;
};

static const json_t *parity_of(const json_t *gates) {
    size_t i;
    json_t *gate;
    json_array_foreach((json_t *)(uintptr_t)gates, i, gate) {
        if (!strcmp(field_text(gate, "gate"), "parity")) return gate;
    }
    return NULL;
}

static void add_point(struct points *points, const char *name, double size, double quality, bool foreign) {
    if (points->count == POINTS_MAX || !(size > 0)) return;
    points->list[points->count++] = (struct point){name, size, quality, foreign};
}

static void leave_out(struct points *points, const char *name, const char *why) {
    str_add_format(&points->left_out, "%s%.*s: %s", points->left_out.length ? "; " : "", PAGE_NAME_MAX, name, why);
}

static double size_of(const json_t *totals) {
    double source = field_real(totals, "source_bytes");
    return source > 0 ? 100 * field_real(totals, "output_bytes") / source : 0;
}

static void add_other(struct points *points, const struct report *report, uint64_t index) {
    const json_t *receipt = json_object_get(report->others[index], "receipt"), *totals = json_object_get(receipt, "totals");
    const json_t *parity = parity_of(report->other_gates[index]);
    const char *name = report->options->others[index];
    if (strcmp(field_text(json_object_get(receipt, "source"), "digest"), field_text(json_object_get(report->receipt, "source"), "digest"))) {
        leave_out(points, name, "made of another source");
    } else if (!points->by_divergence) {
        add_point(points, name, size_of(totals), field_real(totals, "relative_error"), false);
    } else if (field_is(totals, "exact")) {
        add_point(points, name, size_of(totals), 0, false);
    } else if (strcmp(field_text(parity, "text_xxh3_128"), points->text)) {
        leave_out(points, name, "no parity gate on the same text");
    } else {
        add_point(points, name, size_of(totals), field_real(json_object_get(parity, "kld"), "estimate"), false);
    }
}

/* Points of other programs say for which source and text they hold. */
static void add_foreign(struct points *points, const struct report *report) {
    const char *source = field_text(report->points, "source"), *text = field_text(report->points, "text");
    double bytes = field_real(json_object_get(report->receipt, "totals"), "source_bytes");
    size_t i;
    json_t *point;
    if (!report->points) return;
    if (strcmp(source, field_text(json_object_get(report->receipt, "source"), "digest"))) {
        leave_out(points, report->options->points, "its points are of another source");
        return;
    }
    if (points->by_divergence && strcmp(text, points->text)) {
        leave_out(points, report->options->points, "its points are of another text");
        return;
    }
    json_array_foreach(json_object_get(report->points, "points"), i, point) {
        const json_t *quality = json_object_get(point, points->by_divergence ? "kld" : "relative_error");
        if (!json_is_number(quality)) {
            leave_out(points, field_text(point, "name"), "has no figure of this kind");
            continue;
        }
        add_point(points, field_text(point, "name"), 100 * field_real(point, "bytes") / bytes, json_number_value(quality), true);
    }
}

static void gather_points(struct points *points, const struct report *report) {
    const json_t *totals = json_object_get(report->receipt, "totals"), *parity = report_gate(report, "parity");
    const json_t *kld = json_object_get(parity, "kld");
    points->by_divergence = json_is_object(kld) && !field_is(parity, "lossless");
    points->text = field_text(parity, "text_xxh3_128");
    add_point(points, report->options->output, size_of(totals),
              points->by_divergence ? field_real(kld, "estimate") : field_real(totals, "relative_error"), false);
    for (uint64_t i = 0; i < report->options->other_count && i < REPORT_OTHERS_MAX; i++) add_other(points, report, i);
    add_foreign(points, report);
}

static void fit_points(const struct points *points, struct chart *chart) {
    chart->x_low = chart->x_high = points->list[0].size;
    chart->y_low = INFINITY;
    for (uint64_t i = 0; i < points->count; i++) {
        const struct point *point = &points->list[i];
        chart->x_low = fmin(chart->x_low, point->size);
        chart->x_high = fmax(chart->x_high, point->size);
        if (point->quality > 0) chart->y_low = fmin(chart->y_low, point->quality);
        chart->y_high = fmax(chart->y_high, point->quality);
    }
    if (!isfinite(chart->y_low)) chart->y_low = chart->y_high = 1e-6;
    chart->y_low *= 0.9; /* a decade below: there nothing lies but what is exact */
    chart->x_low = fmax(chart->x_low - 3, 0);
    chart->x_high += 3;
}

static void add_point_table(struct page *page, const struct points *points) {
    static const char *const titles[] = {"output", "% of the source", "divergence or error", NULL};
    const struct page_table table = {"Size and quality", titles, 1, false};
    report_numbers_begin(page, &table);
    for (uint64_t i = 0; i < points->count; i++) {
        page_add(page, "<tr><td>");
        page_name(page, points->list[i].name);
        page_add(page, "</td><td>%.2f</td><td>%.4g</td></tr>\n", points->list[i].size, points->list[i].quality);
    }
    report_numbers_end(page);
}

static void add_quality(struct page *page, const struct report *report) {
    struct points points = {0};
    gather_points(&points, report);
    struct chart chart = {.title = points.by_divergence ? "Size against KL divergence" : "Size against squared error of the weights",
                          .description = "Each output by its size and by what it lost; further down and left is better.",
                          .x_label = "bytes, % of the source", .y_label = points.by_divergence ? "nats" : "relative squared error",
                          .y_log = true};
    if (points.count) {
        fit_points(&points, &chart);
        chart_begin(page, &chart);
        for (uint64_t i = 0; i < points.count; i++) {
            const struct point *point = &points.list[i];
            const char *name = strrchr(point->name, '/') && strrchr(point->name, '/')[1] ? strrchr(point->name, '/') + 1 : point->name;
            chart_dot(page, &chart, point->foreign ? CHART_SECOND : CHART_FIRST, point->size, point->quality, name, true);
        }
        chart_close(page);
        page_add(page, "<p>What lost nothing lies on the lower edge.%s</p>\n",
                 report->points ? "" : " No points of other programs were given (--points FILE).");
        if (points.left_out.length) page_add(page, "<p>Left out: %s.</p>\n", points.left_out.text);
        page_origin(page, PAGE_MEASURED, points.by_divergence ? "whole files; divergence on the gate's text." : "whole files and decoded weights.",
                    report_command(report, points.by_divergence ? COMMAND_GATES : COMMAND_COMPARE));
        add_point_table(page, &points);
        chart_end(page);
    }
    str_clear(&points.left_out);
}

/* ---- bytes by role ---- */

static struct chart_row *row_of(struct chart_row *rows, uint64_t *count, const char *role) {
    for (uint64_t i = 0; i < *count; i++) {
        if (!strcmp(rows[i].name, role)) return &rows[i];
    }
    if (*count == ROLES_MAX) return &rows[ROLES_MAX - 1];
    rows[*count] = (struct chart_row){.name = *count + 1 == ROLES_MAX ? "other roles" : role};
    return &rows[(*count)++];
}

static void sort_rows(struct chart_row *rows, uint64_t count) {
    for (uint64_t i = 1; i < count; i++) {
        struct chart_row row = rows[i];
        uint64_t at = i;
        for (; at && rows[at - 1].whole < row.whole; at--) rows[at] = rows[at - 1];
        rows[at] = row;
    }
}

static void add_roles(struct page *page, const struct report *report) {
    static const char *const titles[] = {"role", "source bytes", "stored bytes", "ratio", NULL};
    const struct page_table table = {"Bytes by role", titles, 1, false};
    struct chart_row rows[ROLES_MAX];
    uint64_t count = 0;
    size_t i;
    json_t *tensor;
    json_array_foreach(json_object_get(report->receipt, "tensors"), i, tensor) {
        struct chart_row *row = row_of(rows, &count, field_text(tensor, "role"));
        row->whole += field_count(tensor, "source_bytes");
        row->filled += field_count(tensor, "bytes") + field_count(tensor, "index_bytes");
    }
    sort_rows(rows, count);
    chart_rows(page, "Bytes by role", "For each role the bytes of the source, and the part of them that is left.", rows, count);
    page_add(page, "<p>Payloads alone: headers are in the size of the files, duplicates have no bytes of their own.</p>\n");
    page_origin(page, PAGE_MEASURED, "payloads on disk.", report_command(report, COMMAND_REPLAY));
    report_numbers_begin(page, &table);
    for (uint64_t r = 0; r < count; r++) {
        page_add(page, "<tr><td>%s</td><td>", rows[r].name);
        page_count(page, rows[r].whole);
        page_add(page, "</td><td>");
        page_count(page, rows[r].filled);
        page_add(page, "</td><td>");
        page_real(page, "%.3f", rows[r].filled ? (double)rows[r].whole / (double)rows[r].filled : (double)INFINITY);
        page_add(page, "</td></tr>\n");
    }
    report_numbers_end(page);
    chart_end(page);
}

void report_sizes(struct page *page, const struct report *report) {
    page_section(page, "sizes", "Size and quality");
    page_add(page, "<div class=\"figures\">\n");
    add_quality(page, report);
    add_roles(page, report);
    page_add(page, "</div>\n");
}

/* ---- layers ---- */

struct layer {
    uint64_t tensors;
    double low, high, sum, weight; /* relative squared errors; the mean is weighted by bytes */
};

static uint64_t gather_layers(const struct report *report, struct layer *layers) {
    uint64_t count = 0;
    size_t i;
    json_t *tensor;
    json_array_foreach(json_object_get(report->receipt, "tensors"), i, tensor) {
        uint64_t at = field_count(tensor, "layer");
        double error = field_real(tensor, "relative_error"), weight = field_real(tensor, "source_bytes");
        if (!json_is_integer(json_object_get(tensor, "layer")) || at >= LAYERS_MAX || !(error > 0)) continue;
        struct layer *layer = &layers[at];
        layer->low = layer->tensors ? fmin(layer->low, error) : error;
        layer->high = fmax(layer->high, error);
        layer->sum += error * weight;
        layer->weight += weight;
        layer->tensors++;
        if (at >= count) count = at + 1;
    }
    return count;
}

static void add_layer_table(struct page *page, const struct layer *layers, uint64_t count) {
    static const char *const titles[] = {"layer", "lossy tensors", "least", "mean", "largest", NULL};
    const struct page_table table = {"Errors by layer", titles, 0, false};
    report_numbers_begin(page, &table);
    for (uint64_t i = 0; i < count; i++) {
        if (!layers[i].tensors) continue;
        page_add(page, "<tr><td>%llu</td><td>%llu</td><td>%.3e</td><td>%.3e</td><td>%.3e</td></tr>\n", (unsigned long long)i,
                 (unsigned long long)layers[i].tensors, layers[i].low, layers[i].sum / layers[i].weight, layers[i].high);
    }
    report_numbers_end(page);
}

static void add_layer_errors(struct page *page, const struct report *report, const struct layer *layers, uint64_t count) {
    struct chart chart = {.title = "Errors of weights by layer",
                          .description = "For each layer the least, mean and largest relative squared error of its lossy tensors.",
                          .x_label = "layer", .y_label = "relative squared error", .x_high = (double)count - 1, .y_low = INFINITY,
                          .y_log = true, .x_whole = true};
    for (uint64_t i = 0; i < count; i++) {
        if (layers[i].tensors) chart.y_low = fmin(chart.y_low, layers[i].low);
        chart.y_high = fmax(chart.y_high, layers[i].high);
    }
    chart_begin(page, &chart);
    for (uint64_t i = 0; i < count; i++) {
        char label[64];
        double mean = layers[i].sum / layers[i].weight;
        if (!layers[i].tensors) continue;
        (void)snprintf(label, sizeof label, "layer %llu: %.2e", (unsigned long long)i, mean);
        chart_span(page, &chart, (double)i, layers[i].low, layers[i].high);
        chart_dot(page, &chart, CHART_FIRST, (double)i, mean, label, false);
    }
    chart_close(page);
    page_origin(page, PAGE_MEASURED, "on decoded weights; the dot is the mean by bytes.", report_command(report, COMMAND_COMPARE));
    add_layer_table(page, layers, count);
    chart_end(page);
}

static void add_chain_table(struct page *page, const json_t *list) {
    static const char *const titles[] = {"behind layer", "mean cosine", "worst cosine", "relative error", NULL};
    const struct page_table table = {"Hidden states by layer", titles, 0, false};
    size_t i;
    json_t *layer;
    report_numbers_begin(page, &table);
    json_array_foreach((json_t *)(uintptr_t)list, i, layer) {
        if (i == LAYERS_MAX) break;
        page_add(page, "<tr><td>%llu</td><td>%.7f</td><td>%.7f</td><td>%.3e</td></tr>\n", (unsigned long long)field_count(layer, "layer"),
                 field_real(layer, "mean_cosine"), field_real(layer, "worst_cosine"), field_real(layer, "relative_error"));
    }
    report_numbers_end(page);
}

static void add_chain(struct page *page, const struct report *report, const json_t *list) {
    double x[LAYERS_MAX], mean[LAYERS_MAX], worst[LAYERS_MAX];
    uint64_t count = json_array_size(list) < LAYERS_MAX ? json_array_size(list) : LAYERS_MAX;
    struct chart chart = {.title = "Hidden states behind each layer",
                          .description = "How far the hidden state of the output is from that of the source: one minus the cosine, mean and worst.",
                          .x_label = "layer", .y_label = "1 − cosine", .x_high = (double)count - 1, .y_low = INFINITY, .y_log = true,
                          .x_whole = true};
    for (uint64_t i = 0; i < count; i++) {
        const json_t *layer = json_array_get(list, (size_t)i);
        x[i] = (double)i;
        mean[i] = fmax(1 - field_real(layer, "mean_cosine"), 1e-12);
        worst[i] = fmax(1 - field_real(layer, "worst_cosine"), 1e-12);
        chart.y_low = fmin(chart.y_low, mean[i]);
        chart.y_high = fmax(chart.y_high, worst[i]);
    }
    chart_begin(page, &chart);
    chart_line(page, &chart, CHART_FIRST, x, mean, count);
    chart_line(page, &chart, CHART_SECOND, x, worst, count);
    chart_close(page);
    page_add(page, "<p>Whole line: mean over tokens; dashed: worst token.</p>\n");
    page_origin(page, PAGE_MEASURED, "both models on the gate's text.", report_command(report, COMMAND_GATES));
    add_chain_table(page, list);
    chart_end(page);
}

void report_layers(struct page *page, const struct report *report) {
    struct layer *layers = mem_alloc_zero(LAYERS_MAX, sizeof *layers);
    const json_t *chain = json_object_get(report_gate(report, "chain"), "layers");
    uint64_t count = layers ? gather_layers(report, layers) : 0;
    page->body.failed = page->body.failed || !layers;
    if (count || json_array_size(chain)) {
        page_section(page, "layers", "Layer by layer");
        page_add(page, "<div class=\"figures\">\n");
        if (count) add_layer_errors(page, report, layers, count);
        if (json_array_size(chain)) add_chain(page, report, chain);
        page_add(page, "</div>\n");
    }
    mem_free(layers);
}
