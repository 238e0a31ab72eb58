/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of a batch as a page. */
#include "page.h"

#include <batch/batch_json.h>
#include <reading/members.h>
#include <string.h>

#define ROWS_BYTES_MAX (PAGE_BYTES_MAX - 60000)

static void add_bytes(struct page *page, const json_t *job, const char *key) {
    uint64_t bytes = field_count(job, key);
    page_add(page, "<td>");
    if (bytes) page_count(page, bytes);
    page_add(page, "</td>");
}

static void add_real(struct page *page, const json_t *job, const char *key) {
    const json_t *value = json_object_get(job, key);
    page_add(page, "<td>");
    if (json_is_number(value) && json_number_value(value) > 0) page_add(page, "%.5g", json_number_value(value));
    page_add(page, "</td>");
}

static void add_links(struct page *page, const json_t *job) {
    struct str receipt = {0};
    str_add_format(&receipt, "%s/tessera.json", field_text(job, "output"));
    page_add(page, "<td><a ");
    page_link(page, receipt.text ? receipt.text : "");
    page_add(page, ">receipt</a> <a ");
    page_link(page, field_text(job, "log"));
    page_add(page, ">log</a></td>");
    str_clear(&receipt);
}

static void add_job(struct page *page, const json_t *job) {
    const char *state = field_text(job, "state");
    page_add(page, "<tr><td>");
    page_name(page, field_text(job, "name"));
    page_add(page, "</td><td class=\"%s\">%s</td>", state, state);
    add_links(page, job);
    page_add(page, "<td>%s</td>", field_text(job, "reason"));
    add_bytes(page, job, "source_bytes");
    add_bytes(page, job, "output_bytes");
    add_real(page, job, "ratio");
    add_real(page, job, "kld");
    add_real(page, job, "top1");
    add_real(page, job, "seconds");
    add_real(page, job, "energy_joules");
    page_add(page, "<td class=\"wide\">");
    page_name(page, field_text(job, "message"));
    page_add(page, "</td></tr>\n");
}

static void add_jobs(struct page *page, const json_t *result) {
    static const char *const titles[] = {"job", "state", "files", "reason", "source bytes", "output bytes", "ratio", "KLD", "top-1",
                                         "seconds", "machine, J", "message", NULL};
    const struct page_table table = {"Jobs", titles, 4, true};
    uint64_t left_out = 0;
    size_t i;
    json_t *job;
    page_table_begin(page, &table);
    json_array_foreach(json_object_get(result, "jobs"), i, job) {
        if (page->body.length < ROWS_BYTES_MAX) {
            page_row(page, &table);
            add_job(page, job);
        } else {
            left_out++;
        }
    }
    page_table_end(page);
    if (left_out) page_add(page, "<p>%llu more jobs: the page has no room for them.</p>\n", (unsigned long long)left_out);
}

static void say_counts(struct page *page, const json_t *result) {
    const json_t *totals = json_object_get(result, "totals");
    const char *name;
    json_t *count;
    page_add(page, "<p class=\"lede\">%llu jobs:", (unsigned long long)field_count(totals, "jobs"));
    json_object_foreach(json_object_get(result, "counts"), name, count) {
        if (json_integer_value(count)) page_add(page, " %lld %s,", (long long)json_integer_value(count), name);
    }
    page_add(page, " ");
    page_bytes(page, field_count(totals, "source_bytes"));
    page_add(page, " became ");
    page_bytes(page, field_count(totals, "output_bytes"));
    page_add(page, " where jobs are done.</p>\n");
}

/* Below the table: energy of the whole, or why there is none. */
static void say_energy(struct page *page, const json_t *result) {
    const json_t *joules = json_object_get(json_object_get(result, "totals"), "energy_joules");
    const char *missing = field_text(result, "energy_missing");
    page_add(page, "<p>Energy of the machine (processors and memory, whatever used them) over the batch: ");
    if (json_is_number(joules)) page_add(page, "%.1f J%s", json_number_value(joules), *missing ? "; the newest run: " : "");
    if (*missing) page_add(page, "not readable: %s", missing);
    page_add(page, ". A job's is the machine's while it ran: jobs that ran at once each show the same joules.</p>\n");
}

tsr_status batch_page_make(const json_t *result, char **text, tsr_error *err) {
    struct page page = {0};
    struct str command = {0};
    str_add_text(&command, "tessera batch status ");
    page_shell_word(&command, field_text(result, "batch"));
    page_add(&page, "<h1>Batch %s</h1>\n", field_text(result, "batch"));
    say_counts(&page, result);
    page_section(&page, "jobs", "Jobs");
    page_origin(&page, PAGE_MEASURED, "by the jobs, as the state of the batch has it.", command.text);
    add_jobs(&page, result);
    say_energy(&page, result);
    str_clear(&command);
    return page_finish(&page, "tessera batch", text, err);
}
