/* SPDX-License-Identifier: Apache-2.0
 *
 * The gates of the report: verdicts, bounds, controls, where divergence lies, and the worst changes of mind. */
#include "page_parts.h"

#include <math.h>
#include <reading/members.h>
#include <string.h>

#define TEXT_MAX 480 /* bytes of a context that are shown */

/* ---- verdicts ---- */

static void add_verdicts(struct page *page, const struct report *report) {
    static const char *const titles[] = {"gate", "verdict", "finding", NULL};
    const struct page_table table = {"Verdicts of the gates", titles, 9, false};
    size_t i;
    json_t *gate;
    page_table_begin(page, &table);
    json_array_foreach((json_t *)(uintptr_t)report->gates, i, gate) {
        const char *verdict = field_text(gate, "verdict");
        page_add(page, "<tr><td>%s</td><td class=\"%s\">%s</td><td class=\"wide\">", field_text(gate, "gate"), verdict, verdict);
        page_name(page, field_text(gate, "reason"));
        page_add(page, "</td></tr>\n");
    }
    page_table_end(page);
}

static double real_or_nan(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* "top1" and "kld" of the gate, or of one of its parts. */
static void add_judgement(struct page *page, const json_t *holder, const char *part, const char *key, const char *what) {
    const json_t *judgement = json_object_get(holder, key);
    if (!json_is_object(judgement)) return;
    struct str title = {0};
    str_add_format(&title, "%s%s%s", part, *part ? ": " : "", what);
    struct chart_interval interval = {title.text ? title.text : what, field_real(judgement, "estimate"), real_or_nan(judgement, "bound"),
                                      real_or_nan(judgement, "threshold")};
    if (interval.threshold <= 0) interval.threshold = (double)NAN;
    chart_interval(page, &interval);
    page_add(page, "<p>Estimate %.6g; ", interval.estimate);
    if (isfinite(interval.bound)) {
        page_add(page, "at %g&#160;%% confidence it is %s %.6g", 100 * field_real(judgement, "confidence"),
                 strcmp(key, "kld") ? "at least" : "at most", interval.bound);
    } else {
        page_add(page, "one window alone gives no bound");
    }
    if (isfinite(interval.threshold)) page_add(page, ", asked: %.6g", interval.threshold);
    page_add(page, ". Effective positions: %.0f", field_real(judgement, "effective_positions"));
    if (json_is_number(json_object_get(judgement, "positions_needed"))) {
        page_add(page, "; %.0f would decide", field_real(judgement, "positions_needed"));
    }
    page_add(page, ".</p>\n");
    chart_end(page);
    str_clear(&title);
}

static void add_intervals(struct page *page, const struct report *report) {
    static const char *const parts[] = {"talker", "predictor"};
    const json_t *parity = report_gate(report, "parity");
    if (!parity) return;
    page_add(page, "<div class=\"figures\">\n");
    add_judgement(page, parity, "", "top1", "Top-1 agreement");
    add_judgement(page, parity, "", "kld", "Mean KL divergence, nats");
    for (int i = 0; i < 2; i++) {
        const json_t *part = json_object_get(parity, parts[i]);
        add_judgement(page, part, parts[i], "top1", "top-1 agreement");
        add_judgement(page, part, parts[i], "kld", "mean KL divergence, nats");
    }
    page_add(page, "</div>\n");
}

/* ---- controls ---- */

static void add_controls(struct page *page, const struct report *report) {
    static const char *const titles[] = {"control", "must be", "was", "top-1", "KLD", NULL};
    const struct page_table table = {"Controls", titles, 3, false};
    const json_t *controls = json_object_get(report_gate(report, "parity"), "controls");
    size_t i;
    json_t *control;
    page_add(page, "<h3>Controls</h3>\n");
    if (!json_array_size(controls)) {
        page_add(page, "<p>No control ran beside these gates. Every gate has inputs that it must refuse, such as swapped layers, random "
                       "weights and silence; <code>make check</code> feeds them to it.</p>\n");
        return;
    }
    page_table_begin(page, &table);
    json_array_foreach((json_t *)(uintptr_t)controls, i, control) {
        bool ok = field_is(control, "ok");
        page_add(page, "<tr><td>%s</td><td>%s</td><td class=\"%s\">%s</td><td>%.4f</td><td>%.4g</td></tr>\n", field_text(control, "control"),
                 field_text(control, "expected"), ok ? "PASS" : "FAIL", field_text(control, "found"), field_real(control, "top1"),
                 field_real(control, "kld"));
    }
    page_table_end(page);
}

/* ---- distributions ---- */

#define BINS_MAX 64

/* Counts over the bins of `list`, whose upper edges stand under `key`; the last is open. */
static uint64_t read_bins(const json_t *list, const char *key, double *edges, uint64_t *counts, uint64_t *most) {
    uint64_t bins = json_array_size(list);
    if (bins > BINS_MAX) bins = BINS_MAX;
    *most = 1;
    for (uint64_t i = 0; i < bins; i++) {
        const json_t *bin = json_array_get(list, (size_t)i);
        edges[i] = real_or_nan(bin, key);
        counts[i] = field_count(bin, "positions");
        if (counts[i] > *most) *most = counts[i];
    }
    return bins;
}

static void add_bin_table(struct page *page, const char *const *titles, const double *edges, const uint64_t *counts, uint64_t bins) {
    const struct page_table table = {titles[1], titles, 0, false};
    report_numbers_begin(page, &table);
    for (uint64_t i = 0; i < bins; i++) {
        if (isfinite(edges[i])) {
            page_add(page, "<tr><td>%.3g</td><td>", edges[i]);
        } else {
            page_add(page, "<tr><td>above</td><td>");
        }
        page_count(page, counts[i]);
        page_add(page, "</td></tr>\n");
    }
    report_numbers_end(page);
}

static void add_bins(struct page *page, struct chart *chart, const double *edges, const uint64_t *counts, uint64_t bins) {
    chart_begin(page, chart);
    for (uint64_t i = 0; i < bins; i++) {
        double low = i ? edges[i - 1] : chart->x_low, high = isfinite(edges[i]) ? edges[i] : chart->x_high;
        char label[64];
        (void)snprintf(label, sizeof label, "up to %.3g: %llu positions", high, (unsigned long long)counts[i]);
        if (counts[i]) chart_bar(page, chart, low, high, (double)counts[i], label);
    }
    chart_close(page);
}

static void add_kld_histogram(struct page *page, const struct report *report, const json_t *gate) {
    static const char *const titles[] = {"KLD up to", "positions", NULL};
    double edges[BINS_MAX];
    uint64_t counts[BINS_MAX], most;
    uint64_t bins = read_bins(json_object_get(gate, "kld_histogram"), "at_most", edges, counts, &most);
    if (bins < 2) return;
    struct chart chart = {"KL divergence at each position", "How many positions have which divergence from the source, logarithmic.",
                          "nats", "positions", edges[0] / 10, edges[bins - 2] * 10, 0, (double)most, true, false, false};
    add_bins(page, &chart, edges, counts, bins);
    page_add(page, "<p>Equal distributions at %llu of %llu positions; median %.3g, 99&#160;%% below %.3g, largest %.3g.</p>\n",
             (unsigned long long)field_count(gate, "equal_distributions"), (unsigned long long)field_count(gate, "positions"),
             field_real(json_object_get(gate, "kld_percentiles"), "p50"), field_real(json_object_get(gate, "kld_percentiles"), "p99"),
             field_real(json_object_get(gate, "kld_percentiles"), "max"));
    page_origin(page, PAGE_MEASURED, "position by position on the gate's text.", report_command(report, COMMAND_GATES));
    add_bin_table(page, titles, edges, counts, bins);
    chart_end(page);
}

/* Agreement by margin: flips ought to lie where the source hesitates. */
static void add_agreement(struct page *page, const json_t *gate) {
    static const char *const titles[] = {"margin below", "positions", "top-1 agreement", NULL};
    const struct page_table table = {"Agreement by margin", titles, 0, false};
    size_t i;
    json_t *bucket;
    report_numbers_begin(page, &table);
    json_array_foreach(json_object_get(gate, "by_margin"), i, bucket) {
        page_add(page, "<tr><td>");
        page_real(page, "%.2f", real_or_nan(bucket, "margin_below"));
        page_add(page, "</td><td>");
        page_count(page, field_count(bucket, "positions"));
        page_add(page, "</td><td>");
        page_real(page, "%.4f", real_or_nan(bucket, "top1"));
        page_add(page, "</td></tr>\n");
    }
    report_numbers_end(page);
}

static void add_margin_histogram(struct page *page, const struct report *report, const json_t *gate) {
    double edges[BINS_MAX];
    uint64_t counts[BINS_MAX], most;
    uint64_t bins = read_bins(json_object_get(gate, "margin_histogram"), "margin_below", edges, counts, &most);
    if (bins < 2) return;
    struct chart chart = {"Margin of the source's decision", "How many positions have which margin between the source's two best logits.",
                          "logits", "positions", 0, edges[bins - 2] + edges[0], 0, (double)most, false, false, false};
    add_bins(page, &chart, edges, counts, bins);
    page_add(page, "<p>The last bar holds all above. %llu decisions changed.</p>\n", (unsigned long long)field_count(gate, "flips"));
    page_origin(page, PAGE_MEASURED, "on the source, position by position.", report_command(report, COMMAND_GATES));
    add_agreement(page, gate);
    chart_end(page);
}

/* ---- flips ---- */

/* Line ends are shown as \n: a context is one cell. */
static void add_context(struct page *page, const char *text) {
    size_t length = strlen(text), skip = length > TEXT_MAX ? length - TEXT_MAX : 0;
    while (((unsigned char)text[skip] & 0xC0) == 0x80) skip++;
    if (skip) page_add(page, "…");
    for (text += skip; *text;) {
        size_t plain = strcspn(text, "\n");
        char part[TEXT_MAX + 8];
        (void)snprintf(part, sizeof part, "%.*s", (int)plain, text);
        page_add(page, "%s", part);
        text += plain;
        if (*text) {
            page_add(page, "\\n");
            text++;
        }
    }
}

static void add_flips(struct page *page, const struct report *report, const json_t *gate) {
    static const char *const titles[] = {"after the text", "the source says", "the output says", "KLD", "margin", NULL};
    const struct page_table table = {"Worst changes of decision", titles, 3, false};
    const json_t *flips = json_object_get(gate, "worst_flips");
    size_t i;
    json_t *flip;
    if (!json_array_size(flips)) return;
    page_section(page, "flips", "Worst changes of decision");
    page_add(page, "<p>Positions where the most probable next token changed, the largest divergence first: %zu of %llu.</p>\n",
             json_array_size(flips), (unsigned long long)field_count(gate, "flips"));
    page_table_begin(page, &table);
    json_array_foreach((json_t *)(uintptr_t)flips, i, flip) {
        page_add(page, "<tr><td class=\"wide\">");
        add_context(page, field_text(flip, "context"));
        page_add(page, "</td><td><strong>");
        add_context(page, field_text(flip, "reference"));
        page_add(page, "</strong></td><td><strong>");
        add_context(page, field_text(flip, "other"));
        page_add(page, "</strong></td><td>%.3f</td><td>%.3f</td></tr>\n", field_real(flip, "kld"), field_real(flip, "margin"));
    }
    page_table_end(page);
    page_origin(page, PAGE_MEASURED, "on the gate's text.", report_command(report, COMMAND_GATES));
}

/* ---- other figures ---- */

static void add_roles(struct page *page, const json_t *gate) {
    static const char *const titles[] = {"role alone", "tensors", "KLD", "top-1", NULL};
    const struct page_table table = {"Cost of each role by itself", titles, 1, false};
    size_t i;
    json_t *role;
    if (!json_array_size(json_object_get(gate, "by_role"))) return;
    page_add(page, "<h3>What each role costs by itself</h3>\n");
    page_table_begin(page, &table);
    json_array_foreach(json_object_get(gate, "by_role"), i, role) {
        page_add(page, "<tr><td>%s</td><td>%llu</td><td>%.5g</td><td>%.4f</td></tr>\n", field_text(role, "role"),
                 (unsigned long long)field_count(role, "tensors"), field_real(role, "kld"), field_real(role, "top1"));
    }
    page_table_end(page);
}

static void add_measures(struct page *page, const json_t *gate) {
    static const char *const titles[] = {"measure of the speech", "ok", "value", "from", "to", NULL};
    const struct page_table table = {"Measures of speech", titles, 2, false};
    const char *name;
    json_t *measure;
    if (!json_object_size(json_object_get(gate, "measures"))) return;
    page_table_begin(page, &table);
    json_object_foreach(json_object_get(gate, "measures"), name, measure) {
        bool ok = field_is(measure, "ok");
        page_add(page, "<tr><td>%s</td><td class=\"%s\">%s</td><td>%.4g</td><td>", name, ok ? "PASS" : "FAIL", ok ? "yes" : "no",
                 field_real(measure, "value"));
        page_real(page, "%.4g", real_or_nan(measure, "low"));
        page_add(page, "</td><td>");
        page_real(page, "%.4g", real_or_nan(measure, "high"));
        page_add(page, "</td></tr>\n");
    }
    page_table_end(page);
}

/* Every plain figure of a gate that has no place of its own. */
static void add_figures(struct page *page, const json_t *gate) {
    static const char *const titles[] = {"figure", "value", NULL};
    const struct page_table table = {"Figures of the gate", titles, 1, false};
    const char *name;
    json_t *value;
    page_add(page, "<details><summary>Figures of gate %s</summary>\n", field_text(gate, "gate"));
    page_table_begin(page, &table);
    json_object_foreach((json_t *)(uintptr_t)gate, name, value) {
        if (json_is_integer(value)) {
            page_add(page, "<tr><td>%s</td><td>%lld</td></tr>\n", name, (long long)json_integer_value(value));
        } else if (json_is_real(value)) {
            page_add(page, "<tr><td>%s</td><td>%.7g</td></tr>\n", name, json_real_value(value));
        } else if (json_is_boolean(value)) {
            page_add(page, "<tr><td>%s</td><td>%s</td></tr>\n", name, json_is_true(value) ? "yes" : "no");
        }
    }
    page_table_end(page);
    page_add(page, "</details>\n");
}

void report_gates(struct page *page, const struct report *report) {
    const json_t *parity = report_gate(report, "parity");
    size_t i;
    json_t *gate;
    page_section(page, "gates", "Gates");
    if (!json_array_size(report->gates)) {
        page_add(page, "<p>No gate ran when this was made. A config's <code>gates</code>, or <code>tessera gate</code>, compare what the "
                       "source and the output decide; <code>--gates FILE</code> shows what <code>tessera gate --json</code> found.</p>\n");
        return;
    }
    add_verdicts(page, report);
    page_origin(page, PAGE_MEASURED, "from the bytes on disk, in a process of its own.", report_command(report, COMMAND_GATES));
    add_intervals(page, report);
    add_controls(page, report);
    json_array_foreach((json_t *)(uintptr_t)report->gates, i, gate) {
        add_measures(page, gate);
        add_roles(page, gate);
        add_figures(page, gate);
    }
    if (!json_array_size(json_object_get(parity, "kld_histogram"))) return;
    page_section(page, "divergence", "Divergence");
    page_add(page, "<div class=\"figures\">\n");
    add_kld_histogram(page, report, parity);
    add_margin_histogram(page, report, parity);
    page_add(page, "</div>\n");
    add_flips(page, report, parity);
}
