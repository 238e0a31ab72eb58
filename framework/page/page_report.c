/* SPDX-License-Identifier: Apache-2.0
 *
 * The report: what was done in three sentences and the figures behind them; parts come from their own files. */
#include "page_parts.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <format/json.h>
#include <pipeline/job.h>
#include <reading/members.h>
#include <reading/output_digest.h>
#include <string.h>

#define INPUT_BYTES_MAX ((uint64_t)256 << 20)
#define FILES_SHOWN 100

const char *report_command(const struct report *report, enum report_command which) {
    return report->commands[which].text ? report->commands[which].text : "";
}

const json_t *report_gate(const struct report *report, const char *name) {
    size_t i;
    json_t *gate;
    json_array_foreach((json_t *)(uintptr_t)report->gates, i, gate) {
        if (!strcmp(field_text(gate, "gate"), name)) return gate;
    }
    return NULL;
}

void report_numbers_begin(struct page *page, const struct page_table *table) {
    page_add(page, "<details><summary>The numbers</summary>\n");
    page_table_begin(page, table);
}

void report_numbers_end(struct page *page) {
    page_table_end(page);
    page_add(page, "</details>\n");
}

/* ---- three sentences ---- */

static uint64_t exact_tensors(const json_t *tensors) {
    uint64_t exact = 0;
    size_t i;
    json_t *tensor;
    json_array_foreach((json_t *)(uintptr_t)tensors, i, tensor) exact += field_is(tensor, "exact");
    return exact;
}

static void say_sizes(struct page *page, const struct report *report) {
    const json_t *totals = json_object_get(report->receipt, "totals");
    const json_t *tool = json_object_get(report->receipt, "tool");
    page_add(page, "<p class=\"lede\">tessera %s turned ", field_text(tool, "version"));
    page_count(page, json_array_size(json_object_get(report->receipt, "tensors")));
    page_add(page, " tensors, ");
    page_bytes(page, field_count(totals, "source_bytes"));
    page_add(page, " of safetensors files, into ");
    page_bytes(page, field_count(totals, "output_bytes"));
    page_add(page, " by the config <code>%s</code>: %.3f&#160;:&#160;1, whole files against whole files. ",
             field_text(report->receipt, "config"), field_real(totals, "ratio"));
}

static void say_errors(struct page *page, const struct report *report) {
    const json_t *totals = json_object_get(report->receipt, "totals"), *tensors = json_object_get(report->receipt, "tensors");
    if (field_is(totals, "exact")) {
        page_add(page, "Every tensor is exact: decompression gives back each source file byte for byte. ");
        return;
    }
    page_count(page, exact_tensors(tensors));
    page_add(page, " of ");
    page_count(page, json_array_size(tensors));
    page_add(page, " tensors are exact; the others differ by a squared error of %.2e of their energy (cosine %.6f), measured on what was "
                   "decoded from disk. ",
             field_real(totals, "relative_error"), field_real(totals, "cosine"));
}

static void say_gates(struct page *page, const struct report *report) {
    size_t count = json_array_size(report->gates), passed = 0, i;
    json_t *gate;
    json_array_foreach((json_t *)(uintptr_t)report->gates, i, gate) passed += !strcmp(field_text(gate, "verdict"), "PASS");
    if (!count) {
        page_add(page, "%s</p>\n", field_is(json_object_get(report->receipt, "totals"), "exact")
                     ? "No gate ran, and none is needed: equal bytes decide equally."
                     : "No gate ran: whether the model still decides the same was not asked.");
    } else if (passed == 1 && count == 1) {
        page_add(page, "Its gate passed.</p>\n");
    } else if (passed == count) {
        page_add(page, "All %zu gates passed.</p>\n", count);
    } else {
        page_add(page, "<span class=\"FAIL\">Of %zu gates only %zu passed</span>: see the verdicts.</p>\n", count, passed);
    }
}

static void begin_card(struct page *page, const char *name) {
    page_add(page, "<div><dt>%s</dt><dd>", name);
}

static void add_cards(struct page *page, const struct report *report) {
    const json_t *totals = json_object_get(report->receipt, "totals");
    page_add(page, "<dl class=\"cards\">\n");
    begin_card(page, "source");
    page_bytes(page, field_count(totals, "source_bytes"));
    page_add(page, "<small>%llu bytes</small></dd></div>\n", (unsigned long long)field_count(totals, "source_bytes"));
    begin_card(page, "output");
    page_bytes(page, field_count(totals, "output_bytes"));
    page_add(page, "<small>%llu bytes</small></dd></div>\n", (unsigned long long)field_count(totals, "output_bytes"));
    begin_card(page, "ratio");
    page_add(page, "%.4f : 1<small>%.4f without duplicates</small></dd></div>\n", field_real(totals, "ratio"),
             field_real(totals, "ratio_unique"));
    begin_card(page, "bits a weight");
    page_add(page, "%.3f<small>payloads and dictionaries</small></dd></div>\n", field_real(totals, "bits_per_weight"));
    begin_card(page, "squared error");
    page_error(page, field_real(totals, "relative_error"));
    page_add(page, "<small>of the energy, lossy tensors</small></dd></div>\n");
    begin_card(page, "cosine");
    page_add(page, "%.6f<small>lossy tensors</small></dd></div>\n</dl>\n", field_real(totals, "cosine"));
    page_origin(page, PAGE_MEASURED, "on the published bytes, after they were written.", report_command(report, COMMAND_REPLAY));
}

/* Only with a plan that was handed in. */
static void add_prediction(struct page *page, const struct report *report) {
    const json_t *planned = json_object_get(report->plan, "totals"), *totals = json_object_get(report->receipt, "totals");
    if (!report->plan) return;
    uint64_t predicted = field_count(planned, "predicted_bytes"), payload = field_count(totals, "payload_bytes");
    payload += field_count(totals, "dictionary_bytes");
    page_add(page, "<p>The plan predicted %llu bytes of payloads from trial encodings of samples; they came to %llu (%+.2f %%).</p>\n",
             (unsigned long long)predicted, (unsigned long long)payload,
             predicted ? 100 * ((double)payload / (double)predicted - 1) : 0);
    page_origin(page, PAGE_PREDICTED, "what stands under this word was not measured on the output.",
                report_command(report, COMMAND_PREDICT));
}

/* ---- files and the run ---- */

static void add_files(struct page *page, const struct report *report) {
    static const char *const titles[] = {"file", "what it is", "digest (XXH3-128)", "bytes", NULL};
    const struct page_table table = {"Files", titles, 3, false};
    size_t i;
    json_t *file;
    page_section(page, "files", "Files");
    page_add(page, "<p>Source digest <code>%s</code>, receipt digest <code>%s</code>.</p>\n",
             field_text(json_object_get(report->receipt, "source"), "digest"), field_text(report->receipt, "digest"));
    page_table_begin(page, &table);
    json_array_foreach(json_object_get(report->receipt, "files"), i, file) {
        if (i == FILES_SHOWN) break;
        page_add(page, "<tr><td>");
        page_name(page, field_text(file, "name"));
        page_add(page, "</td><td>%s</td><td>%s</td><td>", field_text(file, "kind"), field_text(file, "digest"));
        page_count(page, field_count(file, "bytes"));
        page_add(page, "</td></tr>\n");
    }
    page_table_end(page);
    size_t all = json_array_size(json_object_get(report->receipt, "files"));
    if (all > FILES_SHOWN) page_add(page, "<p>%zu more files are in tessera.json.</p>\n", all - FILES_SHOWN);
    struct str command = {0};
    str_add_text(&command, "tessera verify ");
    page_shell_word(&command, report->options->output);
    page_origin(page, PAGE_MEASURED, "when the files were written.", command.text);
    str_clear(&command);
}

static void add_run(struct page *page, const struct report *report) {
    const char *stage;
    json_t *seconds;
    if (!report->run) return;
    page_section(page, "run", "The run");
    page_add(page, "<p>%s on %s (%s), %llu workers", field_text(report->run, "started"), field_text(report->run, "host"),
             field_text(report->run, "cpu"), (unsigned long long)field_count(report->run, "workers"));
    if (field_count(report->run, "resumes")) page_add(page, ", resumed %llu times", (unsigned long long)field_count(report->run, "resumes"));
    page_add(page, ". Seconds:");
    json_object_foreach(json_object_get(report->run, "seconds"), stage, seconds) {
        page_add(page, " %s %.2f;", stage, json_number_value(seconds));
    }
    page_add(page, "</p>\n");
    page_origin(page, PAGE_MEASURED, "by the run that wrote the files; another one takes another time.", NULL);
}

/* ---- the whole ---- */

static tsr_status read_json(const char *path, json_t **value, tsr_error *err) {
    char *text = NULL;
    uint64_t size = 0;
    if (!path) return TSR_OK;
    tsr_status st = fs_read_whole(path, INPUT_BYTES_MAX, &text, &size, err);
    if (st == TSR_OK) st = json_parse(text, (size_t)size, path, value, err);
    mem_free(text);
    return st;
}

static const json_t *receipt_gates(const json_t *receipt) {
    return json_object_get(json_object_get(receipt, "gates"), "results");
}

/* In what `tessera gate --json` printed, of one output or of several: the gates of the output with these files, or NULL. */
static const json_t *find_gates(const json_t *given, const char *output_digest) {
    const json_t *several = json_object_get(given, "outputs");
    size_t i;
    json_t *one;
    if (!several) return strcmp(field_text(given, "output_digest"), output_digest) ? NULL : json_object_get(given, "gates");
    json_array_foreach((json_t *)(uintptr_t)several, i, one) {
        if (!strcmp(field_text(one, "output_digest"), output_digest)) return json_object_get(one, "gates");
    }
    return NULL;
}

/* Gates of a file where it has them, else the receipt's: findings about other bytes are not shown. */
static tsr_status choose_gates(const struct report *report, const json_t *receipt, const json_t **gates, tsr_error *err) {
    struct digest digest;
    char hex[DIGEST_HEX];
    *gates = NULL;
    if (report->given_gates) {
        tsr_status st = output_digest_listed(json_object_get(receipt, "files"), &digest, err);
        if (st != TSR_OK) return st;
        *gates = find_gates(report->given_gates, digest_to_hex(&digest, hex));
    }
    if (!*gates) *gates = receipt_gates(receipt);
    return TSR_OK;
}

static tsr_status choose_all_gates(struct report *report, tsr_error *err) {
    const struct report_page_options *options = report->options;
    tsr_status st = choose_gates(report, report->receipt, &report->gates, err);
    if (st == TSR_OK && report->given_gates && report->gates == receipt_gates(report->receipt)) {
        return tsr_fail(err, TSR_E_INPUT, "%s: holds no gates of %s: what it measured has other bytes (output_digest)", options->gates, options->output);
    }
    for (uint64_t i = 0; i < options->other_count && i < REPORT_OTHERS_MAX && st == TSR_OK; i++) {
        st = choose_gates(report, json_object_get(report->others[i], "receipt"), &report->other_gates[i], err);
    }
    return st;
}

static tsr_status expect_gates(const json_t *value, const char *path, tsr_error *err) {
    if (!value || json_is_array(json_object_get(value, "gates")) || json_is_array(json_object_get(value, "outputs"))) return TSR_OK;
    return tsr_fail(err, TSR_E_INPUT, "%s: expected what `tessera gate --json` prints, found no list \"gates\"", path);
}

static tsr_status expect_list(const json_t *value, const char *path, const char *member, const char *made_by, tsr_error *err) {
    if (!value || json_is_array(json_object_get(value, member))) return TSR_OK;
    return tsr_fail(err, TSR_E_INPUT, "%s: expected %s, found no list \"%s\"", path, made_by, member);
}

static void make_commands(struct report *report) {
    static const char *const fronts[] = {"tessera verify ", "tessera diff MODEL ", "tessera gate ", "tessera plan MODEL -c CONFIG"};
    static const char *const backs[] = {" --replay --reference MODEL -c CONFIG", "", " --reference MODEL -c CONFIG", ""};
    for (int i = 0; i < 4; i++) {
        str_add_text(&report->commands[i], fronts[i]);
        if (i != COMMAND_PREDICT) page_shell_word(&report->commands[i], report->options->output);
        str_add_text(&report->commands[i], backs[i]);
    }
}

static tsr_status open_report(struct report *report, const struct report_page_options *options, tsr_error *err) {
    tsr_status st = job_report(options->output, &report->whole, err);
    for (uint64_t i = 0; i < options->other_count && i < REPORT_OTHERS_MAX && st == TSR_OK; i++) {
        st = job_report(options->others[i], &report->others[i], err);
    }
    if (st == TSR_OK) st = read_json(options->gates, &report->given_gates, err);
    if (st == TSR_OK) st = read_json(options->plan, &report->plan, err);
    if (st == TSR_OK) st = read_json(options->points, &report->points, err);
    if (st == TSR_OK) st = expect_gates(report->given_gates, options->gates, err);
    if (st == TSR_OK) st = expect_list(report->plan, options->plan, "tensors", "what `tessera plan --json` prints", err);
    if (st == TSR_OK) st = expect_list(report->points, options->points, "points", "a file of points (docs/report.md)", err);
    if (st != TSR_OK) return st;
    report->receipt = json_object_get(report->whole, "receipt");
    report->run = json_object_get(report->whole, "run");
    if (json_is_null(report->run)) report->run = NULL;
    make_commands(report);
    return choose_all_gates(report, err);
}

static void close_report(struct report *report) {
    json_decref(report->whole);
    json_decref(report->given_gates);
    json_decref(report->plan);
    json_decref(report->points);
    for (int i = 0; i < REPORT_OTHERS_MAX; i++) json_decref(report->others[i]);
    for (int i = 0; i < 4; i++) str_clear(&report->commands[i]);
}

static void add_legend(struct page *page) {
    page_add(page, "<p class=\"origin\">In the commands MODEL is the source and CONFIG the config that the output was made of. Every number "
                   "is marked <span class=\"tag measured\">measured</span> or <span class=\"tag predicted\">predicted</span>. This page is "
                   "one file: it needs no network, and no script to be read.</p>\n");
}

tsr_status job_report_page(const struct report_page_options *options, const char *path, tsr_error *err) {
    struct report report = {.options = options};
    struct page page = {0};
    struct str title = {0};
    tsr_status st = open_report(&report, options, err);
    if (st == TSR_OK) {
        str_add_format(&title, "%.200s: report", options->output);
        page_add(&page, "<h1>");
        page_name(&page, options->output);
        page_add(&page, "</h1>\n");
        say_sizes(&page, &report);
        say_errors(&page, &report);
        say_gates(&page, &report);
        add_cards(&page, &report);
        add_prediction(&page, &report);
        add_legend(&page);
        report_gates(&page, &report);
        report_sizes(&page, &report);
        report_layers(&page, &report);
        st = report_sounds(&page, &report, err);
    }
    if (st == TSR_OK) {
        add_files(&page, &report);
        add_run(&page, &report);
        report_tensors(&page, &report);
        st = page_write(&page, title.text ? title.text : "report", path, err);
    }
    page_clear(&page);
    str_clear(&title);
    close_report(&report);
    return st;
}
