/* SPDX-License-Identifier: Apache-2.0
 *
 * Figures come from the ledger alone, so that a look at thousands of jobs reads one file. */
#include "batch_json.h"

#include "batch_settle.h"
#include "members.h"

#include <base/alloc.h>
#include <base/str.h>
#include <math.h>
#include <string.h>

static void add_paths(struct members *object, const struct batch *batch, const struct batch_job *job) {
    char *log = batch_state_path(batch, "logs", job->name, ".log");
    members_text(object, "output", job->output);
    members_text(object, "log", log);
    mem_free(log);
}

static void add_job(struct members *list, const struct batch *batch, const struct batch_job *job,
                    const struct batch_result *result) {
    struct members object = members_object();
    double ratio = result->output_bytes ? (double)result->source_bytes / (double)result->output_bytes : INFINITY;
    members_text(&object, "name", job->name);
    members_text(&object, "state", batch_phase_name(result->phase));
    members_text(&object, "model", job->model);
    members_text(&object, "config", job->config);
    add_paths(&object, batch, job);
    members_count(&object, "attempts", result->attempts);
    members_count(&object, "exit_code", (uint64_t)result->exit_code);
    members_text(&object, "reason", result->reason[0] ? result->reason : NULL);
    members_text(&object, "message", result->message);
    members_text(&object, "hint", batch_hint(result->reason)[0] ? batch_hint(result->reason) : NULL);
    members_real(&object, "seconds", result->seconds);
    members_count(&object, "source_bytes", result->source_bytes);
    members_count(&object, "output_bytes", result->output_bytes);
    members_count(&object, "encoded_bytes", result->encoded_bytes);
    members_count(&object, "stored_bytes", result->stored_bytes);
    members_real(&object, "ratio", ratio);
    members_real(&object, "kld", result->kld < 0 ? INFINITY : result->kld);
    members_real(&object, "top1", result->top1 < 0 ? INFINITY : result->top1);
    members_real(&object, "energy_joules", result->joules < 0 ? INFINITY : result->joules);
    members_append(list, &object);
}

static void add_totals(struct members *whole, const struct batch *batch, const struct batch_state *state) {
    struct members counts = members_object(), totals = members_object();
    uint64_t by_phase[BATCH_STOPPED + 1] = {0};
    struct batch_result sums = {0};
    for (uint64_t i = 0; i < batch->count; i++) {
        const struct batch_result *result = &state->results[i];
        by_phase[result->phase]++;
        sums.seconds += result->seconds;
        sums.encoded_bytes += result->encoded_bytes;
        sums.stored_bytes += result->stored_bytes;
        if (result->phase != BATCH_DONE) continue;
        sums.source_bytes += result->source_bytes;
        sums.output_bytes += result->output_bytes;
    }
    for (unsigned i = 0; i <= BATCH_STOPPED; i++) members_count(&counts, batch_phase_name((enum batch_phase)i), by_phase[i]);
    members_count(&totals, "jobs", batch->count);
    members_count(&totals, "source_bytes", sums.source_bytes);
    members_count(&totals, "output_bytes", sums.output_bytes);
    members_count(&totals, "encoded_bytes", sums.encoded_bytes);
    members_count(&totals, "stored_bytes", sums.stored_bytes);
    members_real(&totals, "job_seconds", sums.seconds);
    members_real(&totals, "energy_joules", batch_state_joules(state) < 0 ? INFINITY : batch_state_joules(state));
    members_nest(whole, "counts", &counts);
    members_nest(whole, "totals", &totals);
}

/* Why the newest run has no figure, or NULL when it has. */
static const char *missing_energy(const struct batch_state *state) {
    if (state->energy_missing[0]) return state->energy_missing;
    return batch_state_joules(state) < 0 ? "no run has measured it" : NULL;
}

tsr_status batch_json_make(const struct batch *batch, const struct batch_state *state, bool running, json_t **result,
                           tsr_error *err) {
    struct members whole = members_object(), list = members_list();
    members_text(&whole, "batch", batch->path);
    members_text(&whole, "state", batch->state);
    members_bool(&whole, "running", running);
    members_text(&whole, "coordinator", state->holder[0] ? state->holder : NULL);
    members_count(&whole, "runs", state->runs);
    members_count(&whole, "exit_code", (uint64_t)batch_exit_code(batch, state->results));
    members_text(&whole, "energy_missing", missing_energy(state));
    add_totals(&whole, batch, state);
    for (uint64_t i = 0; i < batch->count; i++) add_job(&list, batch, &batch->jobs[i], &state->results[i]);
    members_nest(&whole, "jobs", &list);
    return members_finish(&whole, result, err);
}

/* ---- the page ---- */

static void add_escaped(struct str *out, const char *text) {
    for (; *text; text++) {
        const char *escaped = *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;" : *text == '"' ? "&quot;" : NULL;
        if (escaped) {
            str_add_text(out, escaped);
        } else {
            str_add(out, text, 1);
        }
    }
}

static void add_text_cell(struct str *out, const json_t *job, const char *key) {
    const char *text = json_string_value(json_object_get(job, key));
    str_add_text(out, "<td>");
    add_escaped(out, text ? text : "");
    str_add_text(out, "</td>");
}

static void add_number_cell(struct str *out, const json_t *job, const char *key, const char *format) {
    const json_t *value = json_object_get(job, key);
    char text[48] = "";
    if (json_is_number(value) && json_number_value(value) > 0) {
        /* Formats are ours, one %f-like conversion each. */
        if (!strcmp(format, "bytes")) {
            (void)text_bytes((uint64_t)json_integer_value(value), text, sizeof text);
        } else if (!strcmp(format, "ratio")) {
            (void)snprintf(text, sizeof text, "%.3f", json_number_value(value));
        } else {
            (void)snprintf(text, sizeof text, "%.5g", json_number_value(value));
        }
    }
    str_add_format(out, "<td class=n>%s</td>", text);
}

/* Below the table: energy of the whole, or why there is none. */
static void add_energy(struct str *out, const json_t *result) {
    const json_t *joules = json_object_get(json_object_get(result, "totals"), "energy_joules");
    const char *missing = json_string_value(json_object_get(result, "energy_missing"));
    str_add_text(out, "<p>Energy of the machine (processors and memory, whatever used them) over the batch: ");
    if (json_is_number(joules)) str_add_format(out, "%.1f J%s", json_number_value(joules), missing ? "; the newest run: " : "");
    if (missing) str_add_text(out, "not readable: ");
    add_escaped(out, missing ? missing : "");
    str_add_text(out, ". A job's is the machine's while it ran: jobs that ran at once each show the same joules.</p>\n");
}

static void add_link_cell(struct str *out, const json_t *job) {
    const char *output = json_string_value(json_object_get(job, "output"));
    const char *log = json_string_value(json_object_get(job, "log"));
    str_add_text(out, "<td><a href=\"");
    add_escaped(out, output ? output : "");
    str_add_text(out, "/tessera.json\">receipt</a> <a href=\"");
    add_escaped(out, log ? log : "");
    str_add_text(out, "\">log</a></td>");
}

tsr_status batch_html_make(const json_t *result, char **text, tsr_error *err) {
    struct str out = {0};
    size_t i;
    json_t *job;
    str_add_text(&out, "<!doctype html><html lang=en><meta charset=utf-8><title>tessera batch</title><style>"
                       "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}td,th{padding:.2em .8em;"
                       "border-bottom:1px solid #ccc;text-align:left}.n{text-align:right}.failed,.blocked{background:#fdd}"
                       "</style><h1>");
    add_escaped(&out, json_string_value(json_object_get(result, "batch")));
    str_add_text(&out, "</h1><table><tr><th>job<th>state<th>source<th>output<th>ratio<th>KLD<th>top-1<th>seconds"
                       "<th>machine, J<th>files<th>reason<th>message</tr>\n");
    json_array_foreach(json_object_get(result, "jobs"), i, job) {
        str_add_format(&out, "<tr class=%s>", json_string_value(json_object_get(job, "state")));
        add_text_cell(&out, job, "name");
        add_text_cell(&out, job, "state");
        add_number_cell(&out, job, "source_bytes", "bytes");
        add_number_cell(&out, job, "output_bytes", "bytes");
        add_number_cell(&out, job, "ratio", "ratio");
        add_number_cell(&out, job, "kld", "real");
        add_number_cell(&out, job, "top1", "real");
        add_number_cell(&out, job, "seconds", "real");
        add_number_cell(&out, job, "energy_joules", "real");
        add_link_cell(&out, job);
        add_text_cell(&out, job, "reason");
        add_text_cell(&out, job, "message");
        str_add_text(&out, "</tr>\n");
    }
    str_add_text(&out, "</table>\n");
    add_energy(&out, result);
    str_add_text(&out, "</html>\n");
    if (out.failed) {
        str_clear(&out);
        return tsr_fail(err, TSR_E_NOMEM, "out of memory for a page");
    }
    *text = out.text;
    return TSR_OK;
}
