/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera diff: two checkpoints, tensor by tensor. */
#include "commands.h"
#include "session.h"
#include "view.h"

#include <page/job_page.h>
#include <string.h>

static const struct table_column COLUMNS[] = {
    {"tensor", false}, {"", false}, {"error D", true}, {"cosine", true}, {"SQNR dB", true}, {"max abs", true},
};

static void show_numbers(struct table *table, const json_t *tensor) {
    if (strcmp(field_text(tensor, "status"), "differs") != 0) {
        for (int i = 0; i < 4; i++) table_cell(table, "");
        return;
    }
    view_error(table, field_real(tensor, "relative_error"));
    table_cell_format(table, "%.6f", field_real(tensor, "cosine"));
    table_cell_format(table, "%.2f", field_real(tensor, "sqnr_db"));
    table_cell_format(table, "%.3g", field_real(tensor, "max_abs_error"));
}

static void show(struct output *out, const json_t *result) {
    const json_t *totals = json_object_get(result, "totals");
    struct table table = {.columns = COLUMNS, .column_count = 6};
    size_t i;
    json_t *tensor;
    json_array_foreach(json_object_get(result, "tensors"), i, tensor) {
        const char *status = field_text(tensor, "status");
        if (!strcmp(status, "identical")) continue;
        table_cell(&table, field_text(tensor, "name"));
        table_cell(&table, status);
        show_numbers(&table, tensor);
    }
    if (table.cell_count) output_table(out, &table);
    str_add_format(&out->text, "%llu of %llu tensors identical", (unsigned long long)field_count(totals, "identical"),
                   (unsigned long long)field_count(totals, "tensors"));
    if (field_count(totals, "differing")) {
        str_add_format(&out->text, "; over those that differ: relative error D %.3e, cosine %.6f",
                       field_real(totals, "relative_error"), field_real(totals, "cosine"));
    }
    str_add_text(&out->text, "\n");
}

static tsr_status diff_run(struct session *session, tsr_error *err) {
    json_t *result = NULL;
    tsr_status status = session_open(session, err);
    if (!status) status = session_plugins(session, err);
    if (!status) {
        status = job_diff(session->arguments.operands[0], session->arguments.operands[1], session->registry,
                          &session->env, &result, err);
    }
    const char *page = session_value(session, OPT_HTML);
    if (!status && page) status = job_diff_page(result, page, err);
    if (!status && (!page || session_has(session, OPT_JSON))) status = view_result(session, result, show, err);
    json_decref(result);
    return status;
}

const struct command COMMAND_DIFF = {
    .name = "diff",
    .operands = "A B",
    .operand_min = 2,
    .operand_max = 2,
    .summary = "compare two checkpoints tensor by tensor",
    .doc = "A and B are plain or compressed, in any combination. Shows for each tensor that differs the relative "
           "squared error, "
           "cosine, signal to noise ratio and largest absolute error of B against A. A difference is a result: the "
           "exit code is 0.",
    .options = {OPT_HTML, OPT_JOBS, OPT_MEMORY, OPT_PLUGIN_PATH, OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .examples = {{"tessera diff ./my-model my-model.tsr", "what compression cost"},
                 {"tessera diff old.tsr new.tsr --html diff.html", "as a page"}},
    .run = diff_run,
};
