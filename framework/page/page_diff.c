/* SPDX-License-Identifier: Apache-2.0
 *
 * Two checkpoints side by side as a page. Identical tensors are counted, not listed. */
#include "job_page.h"
#include "page.h"

#include <math.h>
#include <reading/members.h>
#include <string.h>

#define ROWS_BYTES_MAX (PAGE_BYTES_MAX - 60000)

static double real_or_nan(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static void say_totals(struct page *page, const json_t *result) {
    const json_t *totals = json_object_get(result, "totals");
    page_add(page, "<h1>Difference</h1>\n<p class=\"lede\">B (<code>%s</code>) against A (<code>%s</code>): ", field_text(result, "b"),
             field_text(result, "a"));
    page_count(page, field_count(totals, "identical"));
    page_add(page, " of ");
    page_count(page, field_count(totals, "tensors"));
    page_add(page, " tensors are identical. ");
    if (field_count(totals, "differing")) {
        page_add(page, "Over those that differ the squared error is %.3e of the energy of A (cosine %.6f).", field_real(totals, "relative_error"),
                 field_real(totals, "cosine"));
    }
    page_add(page, "</p>\n");
}

static void add_row(struct page *page, const json_t *tensor) {
    static const char *const keys[] = {"relative_error", "cosine", "sqnr_db", "max_abs_error", "worst_row_error"};
    page_add(page, "<tr><td>");
    page_name(page, field_text(tensor, "name"));
    page_add(page, "</td><td>%s</td>", field_text(tensor, "status"));
    for (int i = 0; i < 5; i++) {
        page_add(page, "<td>");
        page_real(page, "%.6g", real_or_nan(tensor, keys[i]));
        page_add(page, "</td>");
    }
    page_add(page, "</tr>\n");
}

static void add_tensors(struct page *page, const json_t *result) {
    static const char *const titles[] = {"tensor", "status", "error D", "cosine", "SQNR, dB", "largest", "worst row", NULL};
    const struct page_table table = {"Tensors that differ", titles, 2, true};
    uint64_t left_out = 0;
    size_t i;
    json_t *tensor;
    page_table_begin(page, &table);
    json_array_foreach(json_object_get(result, "tensors"), i, tensor) {
        if (!strcmp(field_text(tensor, "status"), "identical")) continue;
        if (page->body.length < ROWS_BYTES_MAX) {
            page_row(page, &table);
            add_row(page, tensor);
        } else {
            left_out++;
        }
    }
    page_table_end(page);
    if (left_out) page_add(page, "<p>%llu more tensors differ: the page has no room for them.</p>\n", (unsigned long long)left_out);
}

tsr_status job_diff_page(const json_t *result, const char *path, tsr_error *err) {
    struct page page = {0};
    struct str command = {0};
    str_add_text(&command, "tessera diff ");
    page_shell_word(&command, field_text(result, "a"));
    str_add_text(&command, " ");
    page_shell_word(&command, field_text(result, "b"));
    say_totals(&page, result);
    page_section(&page, "tensors", "Tensors that differ");
    page_origin(&page, PAGE_MEASURED, "on the decoded tensors of both.", command.text);
    add_tensors(&page, result);
    str_clear(&command);
    tsr_status st = page_write(&page, "tessera diff", path, err);
    page_clear(&page);
    return st;
}
