/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera plan: what compress would do, tensor by tensor, and why. */
#include "commands.h"
#include "session.h"
#include "view.h"

#include <base/fs.h>
#include <string.h>

static const struct table_column COLUMNS[] = {
    {"tensor", false},   {"role", false},   {"regime", false}, {"codec", false}, {"source", true},
    {"predicted", true}, {"error D", true}, {"bound D", true}, {"rule", false},  {"parameters", false},
};

/* Aliases have no bytes of their own. */
static void show_prediction(struct table *table, const json_t *tensor) {
    const char *alias = field_text(tensor, "alias_of");
    table_cell_bytes(table, field_count(tensor, "source_bytes"));
    if (*alias) {
        table_cell(table, "-");
        table_cell(table, "-");
        table_cell(table, "-");
        return;
    }
    table_cell_bytes(table, field_count(tensor, "predicted_bytes"));
    view_error(table, field_real(tensor, "predicted_error"));
    if (field_real(tensor, "predicted_error") > 0) {
        view_error(table, field_real(tensor, "bound_error"));
    } else {
        table_cell(table, "-");
    }
}

static void show_notes(struct output *out, const json_t *tensors) {
    size_t i;
    json_t *tensor;
    json_array_foreach(tensors, i, tensor) {
        const char *note = field_text(tensor, "note");
        if (!*note) continue;
        str_add_safe(&out->text, field_text(tensor, "name"));
        str_add_text(&out->text, ": ");
        str_add_safe(&out->text, note);
        str_add_text(&out->text, "\n");
    }
}

#define CHECKS_SHOWN 3

/* Checks in the order in which they were found, the tensors of one id after the first few as a number. */
static void show_checks(struct output *out, const json_t *checks) {
    size_t i, j;
    json_t *check, *other;
    json_array_foreach(checks, i, check) {
        const char *id = field_text(check, "id");
        uint64_t before = 0, after = 0;
        json_array_foreach(checks, j, other) {
            if (strcmp(field_text(other, "id"), id) != 0) continue;
            before += j < i;
            after += j > i;
        }
        if (before >= CHECKS_SHOWN) continue;
        str_add_format(&out->text, "%s: ", id);
        if (*field_text(check, "tensor")) {
            str_add_safe(&out->text, field_text(check, "tensor"));
            str_add_text(&out->text, ": ");
        }
        str_add_safe(&out->text, field_text(check, "why"));
        str_add_format(&out->text, "; instead: %s", field_text(check, "instead"));
        if (before + 1 == CHECKS_SHOWN && after) {
            str_add_format(&out->text, " (and %llu more tensors)", (unsigned long long)after);
        }
        str_add_text(&out->text, "\n");
    }
}

static const struct table_column BUDGET_COLUMNS[] = {
    {"tensor", false}, {"bits", true}, {"importance", true}, {"share of loss", true},
};

static void show_shares(struct output *out, const json_t *tensors) {
    struct table table = {.columns = BUDGET_COLUMNS, .column_count = 4};
    size_t i;
    json_t *tensor;
    json_array_foreach(tensors, i, tensor) {
        if (!json_is_number(json_object_get(tensor, "bits"))) continue;
        table_cell(&table, field_text(tensor, "name"));
        table_cell_format(&table, "%.3f", field_real(tensor, "bits"));
        double importance = field_real(tensor, "importance"), share = field_real(tensor, "loss_share");
        if (importance > 0) {
            table_cell_format(&table, "%.3g", importance);
            table_cell_format(&table, "%.2f %%", 100 * share);
        } else {
            table_cell(&table, "-");
            table_cell(&table, "-");
        }
    }
    output_table(out, &table);
    str_add_text(&out->text, "\n");
}

/* How a budget was divided, and what that is predicted to do. */
static void show_budget(struct output *out, const json_t *result) {
    const json_t *budget = json_object_get(result, "budget");
    if (!json_is_object(budget)) return;
    show_shares(out, json_object_get(result, "tensors"));
    uint64_t known = field_count(budget, "tensors_with_importance"), all = field_count(budget, "tensors");
    str_add_format(&out->text, "budget: %s %g, %.3f bits a weight for %llu tensors, ", field_text(budget, "asked"),
                   field_real(budget, "value"), field_real(budget, "bits"), (unsigned long long)all);
    if (known == 0) {
        str_add_text(&out->text, "the same for all: without the importance of outputs (--stats) steps follow the RMS of rows\n");
    } else if (known < all) {
        str_add_format(&out->text, "by importance, which %llu of them have not\n", (unsigned long long)(all - known));
    } else {
        str_add_format(&out->text, "by importance; predicted divergence %.3g nats a position, not measured\n",
                       field_real(budget, "predicted_kld"));
    }
}

static void show(struct output *out, const json_t *result) {
    const json_t *tensors = json_object_get(result, "tensors"), *totals = json_object_get(result, "totals");
    struct table table = {.columns = COLUMNS, .column_count = 10};
    size_t i;
    json_t *tensor;
    json_array_foreach(tensors, i, tensor) {
        const char *alias = field_text(tensor, "alias_of");
        table_cell(&table, field_text(tensor, "name"));
        table_cell(&table, field_text(tensor, "role"));
        table_cell(&table, field_text(tensor, "regime"));
        view_codecs(&table, tensor, *alias ? "same as" : NULL);
        show_prediction(&table, tensor);
        table_cell(&table, fs_base_name(field_text(tensor, "rule")));
        table_cell(&table, *alias ? alias : field_text(tensor, "params"));
    }
    output_table(out, &table);
    str_add_text(&out->text, "\n");
    show_notes(out, tensors);
    show_checks(out, json_object_get(result, "checks"));
    show_budget(out, result);
    view_pair(out, "config", field_text(result, "config"));
    view_pair(out, "roles", field_text(result, "roles"));
    view_pair_bytes(out, "source", field_count(totals, "source_bytes"));
    view_pair_bytes(out, "without duplicates", field_count(totals, "unique_bytes"));
    view_pair_bytes(out, "predicted", field_count(totals, "predicted_bytes"));
    view_pair_ratio(out, "ratio", field_real(totals, "ratio"));
    view_pair_ratio(out, "ratio, no duplicates", field_real(totals, "ratio_unique"));
    if (field_count(totals, "unknown")) view_pair_count(out, "without a role", field_count(totals, "unknown"));
}

static tsr_status plan_run(struct session *session, tsr_error *err) {
    json_t *result = NULL;
    struct job_plan_options options = {.model = session->arguments.operands[0],
                                       .config = session_value(session, OPT_CONFIG),
                                       .stats = session_value(session, OPT_STATS)};
    const char *target = session_value(session, OPT_TARGET_KLD);
    tsr_status status = target ? arguments_real(target, "--target-kld", 1e-6, 100, &options.target_kld, err) : TSR_OK;
    if (!status) status = session_open(session, err);
    if (!status) status = session_plugins(session, err);
    if (!status) {
        status = job_plan(&options, session->registry, &session->paths, &session->env, &result, err);
    }
    if (!status) status = view_result(session, result, show, err);
    json_decref(result);
    return status;
}

const struct command COMMAND_PLAN = {
    .name = "plan",
    .operands = "MODEL",
    .operand_min = 1,
    .operand_max = 1,
    .summary = "show what compress would do, and why",
    .doc = "One line a tensor: role, regime, codec, parameters, predicted bytes and error from a trial encoding of a "
           "sample, "
           "an estimate of the smallest error any code could have at that rate, and the rule (file:line) that decided. "
           "Writes nothing.",
    .options = {OPT_CONFIG, OPT_STATS, OPT_TARGET_KLD, OPT_ROLES_PATH, OPT_PLUGIN_PATH, OPT_JOBS, OPT_MEMORY, OPT_JSON, OPT_QUIET, OPT_VERBOSE,
                OPT_HELP, OPT_NONE},
    .examples = {{"tessera plan ./my-model", "the lossless plan"},
                 {"tessera plan ./my-model -c job.yaml", "the plan of a config of your own"},
                 {"tessera plan ./my-model -c small --stats my.stats", "where a budget puts its bits, and why"}},
    .run = plan_run,
};
