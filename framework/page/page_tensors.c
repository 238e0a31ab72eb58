/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of tensors. A page has a size limit: of more tensors than it has room for, those with the most bytes are shown. */
#include "page_parts.h"

#include <base/alloc.h>
#include <reading/members.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 5000 /* more take a browser too long to lay out, once they are unfolded */
#define FRAME_BYTES 40000 /* head, style, script, contents, ends */

struct ranked {
    const json_t *tensor, *planned;
    uint64_t bytes, index;
};

static int compare_ranked(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static const char *short_name(const char *id) {
    const char *dot = strrchr(id, '.');
    return dot ? dot + 1 : id;
}

static void add_codecs(struct page *page, const json_t *tensor) {
    size_t i;
    json_t *stage;
    if (*field_text(tensor, "alias_of")) {
        page_add(page, "same as another");
        return;
    }
    page_add(page, "%s", short_name(field_text(tensor, "codec")));
    json_array_foreach(json_object_get(tensor, "stages"), i, stage) page_add(page, "+%s", short_name(field_text(stage, "codec")));
}

static void add_sizes(struct page *page, const json_t *tensor) {
    uint64_t source = field_count(tensor, "source_bytes"), stored = field_count(tensor, "bytes") + field_count(tensor, "index_bytes");
    page_add(page, "</td><td>");
    page_count(page, source);
    page_add(page, "</td><td>");
    page_count(page, stored);
    page_add(page, "</td><td>");
    if (stored) {
        page_add(page, "%.3f", (double)source / (double)stored);
    } else {
        page_add(page, "–");
    }
    page_add(page, "</td><td>");
    page_error(page, field_is(tensor, "exact") ? 0 : field_real(tensor, "relative_error"));
    page_add(page, "</td><td>%.6f</td>", field_real(tensor, "cosine"));
}

static void add_row(struct page *page, const struct report *report, const struct ranked *ranked) {
    const json_t *tensor = ranked->tensor, *layer = json_object_get(tensor, "layer");
    page_add(page, "<tr><td>");
    page_name(page, field_text(tensor, "name"));
    page_add(page, "</td><td>%s</td><td>", field_text(tensor, "role"));
    if (json_is_integer(layer)) page_add(page, "%lld", (long long)json_integer_value(layer));
    page_add(page, "</td><td>");
    add_codecs(page, tensor);
    add_sizes(page, tensor);
    if (report->plan) {
        page_add(page, "<td>");
        page_count(page, field_count(ranked->planned, "predicted_bytes"));
        page_add(page, "</td><td>");
        page_error(page, field_real(ranked->planned, "predicted_error"));
        page_add(page, "</td>");
    }
    page_add(page, "</tr>\n");
}

static json_t *planned_by_name(const struct report *report) {
    json_t *names = json_object();
    size_t i;
    json_t *tensor;
    json_array_foreach(json_object_get(report->plan, "tensors"), i, tensor) {
        if (json_object_set(names, field_text(tensor, "name"), tensor)) break;
    }
    return names;
}

/* Rows with the most bytes, as many as fit; then in the order of the checkpoint. */
static void add_rows(struct page *page, const struct page_table *table, const struct report *report, struct ranked *ranked, size_t count) {
    struct page trial = {0};
    size_t room = page->body.length + FRAME_BYTES < PAGE_BYTES_MAX ? PAGE_BYTES_MAX - FRAME_BYTES - page->body.length : 0, fit = 0;
    qsort(ranked, count, sizeof *ranked, compare_ranked);
    for (; fit < count && fit < ROWS_MAX; fit++) {
        page_row(&trial, table);
        size_t before = trial.body.length;
        add_row(&trial, report, &ranked[fit]);
        if (trial.body.length <= room) continue;
        str_truncate(&trial.body, before);
        break;
    }
    if (!trial.body.failed) str_add(&page->body, trial.body.text ? trial.body.text : "", trial.body.length);
    page->body.failed = page->body.failed || trial.body.failed;
    page->folded = trial.folded;
    page_clear(&trial);
    page_table_end(page);
    if (fit < count) {
        page_add(page, "<p>%zu smaller tensors are not shown: the page has no room for them. tessera.json has all.</p>\n", count - fit);
    }
}

void report_tensors(struct page *page, const struct report *report) {
    static const char *const titles[] = {"tensor", "role", "layer", "codec", "source bytes", "stored bytes", "ratio", "error D", "cosine",
                                         "predicted bytes", "predicted D", NULL};
    static const char *const measured[] = {"tensor", "role", "layer", "codec", "source bytes", "stored bytes", "ratio", "error D",
                                           "cosine", NULL};
    const struct page_table table = {"Tensors", report->plan ? titles : measured, 4, true};
    const json_t *tensors = json_object_get(report->receipt, "tensors");
    size_t count = json_array_size(tensors), i;
    struct ranked *ranked = mem_alloc_array(count ? count : 1, sizeof *ranked);
    json_t *planned = planned_by_name(report), *tensor;
    page_section(page, "tensors", "Tensors");
    page_origin(page, PAGE_MEASURED, "from what was decoded from disk; the columns called predicted are from the plan's trial encodings.",
                report_command(report, COMMAND_COMPARE));
    page_table_begin(page, &table);
    page->body.failed = page->body.failed || !ranked || !planned;
    if (ranked && planned) {
        json_array_foreach((json_t *)(uintptr_t)tensors, i, tensor) {
            ranked[i] = (struct ranked){tensor, json_object_get(planned, field_text(tensor, "name")), field_count(tensor, "bytes"), i};
        }
        add_rows(page, &table, report, ranked, count);
    } else {
        page_table_end(page);
    }
    json_decref(planned);
    mem_free(ranked);
}
