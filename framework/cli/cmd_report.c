/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera report: the receipt of a compressed checkpoint as text. */
#include "commands.h"
#include "session.h"
#include "view.h"

#include <page/job_page.h>
#include <string.h>

static const struct table_column COLUMNS[] = {
    {"tensor", false}, {"role", false}, {"codec", false},  {"source", true},
    {"stored", true},  {"ratio", true}, {"error D", true}, {"cosine", true},
};

static void show_tensor(struct table *table, const json_t *tensor) {
    uint64_t source = field_count(tensor, "source_bytes"), stored = field_count(tensor, "bytes");
    const char *alias = field_text(tensor, "alias_of");
    table_cell(table, field_text(tensor, "name"));
    table_cell(table, field_text(tensor, "role"));
    view_codecs(table, tensor, *alias ? "same as another" : NULL);
    table_cell_bytes(table, source);
    if (*alias) {
        table_cell(table, "-");
    } else {
        table_cell_bytes(table, stored);
    }
    if (*alias || !stored) {
        table_cell(table, "-");
    } else {
        table_cell_format(table, "%.3f", (double)source / (double)stored);
    }
    if (field_is(tensor, "exact")) {
        table_cell(table, "exact");
        table_cell(table, "1");
        return;
    }
    view_error(table, field_real(tensor, "relative_error"));
    table_cell_format(table, "%.6f", field_real(tensor, "cosine"));
}

/* Seconds by stage. */
static void show_times(struct output *out, const json_t *seconds) {
    const char *stage;
    json_t *value;
    const char *separator = "";
    if (!json_object_size(seconds)) return;
    str_add_format(&out->text, "%-22s", "seconds");
    json_object_foreach((json_t *)seconds, stage, value) {
        str_add_format(&out->text, "%s%s %.1f", separator, stage, json_number_value(value));
        separator = ", ";
    }
    str_add_text(&out->text, "\n");
}

static void show(struct output *out, const json_t *result) {
    const json_t *receipt = json_object_get(result, "receipt"), *run = json_object_get(result, "run");
    struct table table = {.columns = COLUMNS, .column_count = 8};
    size_t i;
    json_t *tensor;
    json_array_foreach(json_object_get(receipt, "tensors"), i, tensor) show_tensor(&table, tensor);
    output_table(out, &table);
    str_add_text(&out->text, "\n");
    view_totals(out, receipt);
    view_gates(out, json_object_get(json_object_get(receipt, "gates"), "results"));
    show_times(out, json_object_get(run, "seconds"));
}

static tsr_status write_page(struct session *session, tsr_error *err) {
    const struct arguments *arguments = &session->arguments;
    const struct report_page_options options = {.output = arguments->operands[0],
                                                .others = arguments->operands + 1,
                                                .other_count = arguments->operand_count - 1,
                                                .gates = session_value(session, OPT_GATES_FILE),
                                                .plan = session_value(session, OPT_PLAN_FILE),
                                                .points = session_value(session, OPT_POINTS),
                                                .sounds = arguments->repeats,
                                                .sound_count = arguments->repeat_count};
    return job_report_page(&options, session_value(session, OPT_HTML), err);
}

/* What only the page can show is refused without one. */
static tsr_status check_page_options(const struct session *session, tsr_error *err) {
    static const enum option_id ids[] = {OPT_GATES_FILE, OPT_PLAN_FILE, OPT_POINTS, OPT_SOUND_FILE};
    if (session_has(session, OPT_HTML)) return TSR_OK;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        if (session_has(session, ids[i])) return tsr_fail(err, TSR_E_CONFIG, "--%s: needs --html FILE", OPTIONS[ids[i]].name);
    }
    if (session->arguments.operand_count == 1) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "report: several outputs are shown beside each other with --html FILE alone");
}

static tsr_status report_run(struct session *session, tsr_error *err) {
    json_t *result = NULL;
    tsr_status status = check_page_options(session, err);
    if (!status) status = job_report(session->arguments.operands[0], &result, err);
    if (!status && session_has(session, OPT_HTML)) status = write_page(session, err);
    bool wanted = !session_has(session, OPT_HTML) || session_has(session, OPT_JSON);
    if (!status && wanted) status = view_result(session, result, show, err);
    json_decref(result);
    return status;
}

const struct command COMMAND_REPORT = {
    .name = "report",
    .operands = "OUT [OTHER...]",
    .operand_min = 1,
    .operand_max = OPERANDS_MAX,
    .summary = "show the receipt of a compressed checkpoint, or make a page of it",
    .doc = "Per tensor what it became, how many bytes it takes and what was measured from disk; then the totals. Nothing is "
           "decoded again: verify does that. --html writes a page instead, with charts, gates and the worst changes of "
           "decision; other outputs of the same source are drawn beside this one.",
    .options = {OPT_HTML, OPT_GATES_FILE, OPT_PLAN_FILE, OPT_POINTS, OPT_SOUND_FILE, OPT_JSON, OPT_QUIET, OPT_HELP, OPT_NONE},
    .examples = {{"tessera report my-model.tsr", "the receipt as a table"},
                 {"tessera report my-model.tsr --html report.html", "as a page"},
                 {"tessera report small.tsr smaller.tsr --gates gates.json --html report.html",
                  "with what `tessera gate --json` found, and another output beside it"}},
    .run = report_run,
};
