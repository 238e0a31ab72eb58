/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera inspect: what is in a checkpoint. */
#include "commands.h"
#include "session.h"
#include "view.h"

static const struct table_column TENSOR_COLUMNS[] = {
    {"tensor", false}, {"dtype", false},  {"shape", false},   {"bytes", true},
    {"role", false},   {"regime", false}, {"same as", false},
};
static const struct table_column GROUP_COLUMNS[] = {{"", false}, {"tensors", true}, {"bytes", true}};

static void show_tensors(struct output *out, const json_t *tensors) {
    struct table table = {.columns = TENSOR_COLUMNS, .column_count = 7};
    size_t i;
    json_t *tensor;
    json_array_foreach(tensors, i, tensor) {
        table_cell(&table, field_text(tensor, "name"));
        table_cell(&table, field_text(tensor, "dtype"));
        view_shape(&table, tensor);
        table_cell_bytes(&table, field_count(tensor, "bytes"));
        table_cell(&table, field_text(tensor, "role"));
        table_cell(&table, field_text(tensor, "regime"));
        table_cell(&table, field_text(tensor, "alias_of"));
    }
    output_table(out, &table);
}

/* Counts by dtype or by role. */
static void show_groups(struct output *out, const char *title, const json_t *groups) {
    struct table_column columns[3] = {GROUP_COLUMNS[0], GROUP_COLUMNS[1], GROUP_COLUMNS[2]};
    columns[0].title = title;
    struct table table = {.columns = columns, .column_count = 3};
    const char *name;
    json_t *group;
    json_object_foreach((json_t *)groups, name, group) {
        table_cell(&table, name);
        table_cell_format(&table, "%llu", (unsigned long long)field_count(group, "tensors"));
        table_cell_bytes(&table, field_count(group, "bytes"));
    }
    if (table.cell_count) str_add_text(&out->text, "\n");
    output_table(out, &table);
}

static void show(struct output *out, const json_t *result) {
    const json_t *totals = json_object_get(result, "totals");
    show_tensors(out, json_object_get(result, "tensors"));
    show_groups(out, "dtype", json_object_get(totals, "dtypes"));
    show_groups(out, "role", json_object_get(totals, "roles_used"));
    str_add_text(&out->text, "\n");
    view_pair(out, "model", field_text(result, "model"));
    view_pair(out, "family", field_text(result, "model_type"));
    view_pair(out, "roles", field_text(result, "roles"));
    view_pair_count(out, "files", json_array_size(json_object_get(result, "files")));
    view_pair_count(out, "tensors", field_count(totals, "tensors"));
    view_pair_count(out, "weights", field_count(totals, "weights"));
    view_pair_bytes(out, "bytes", field_count(totals, "bytes"));
    view_pair_bytes(out, "without duplicates", field_count(totals, "unique_bytes"));
    if (field_count(totals, "unknown")) view_pair_count(out, "without a role", field_count(totals, "unknown"));
}

static tsr_status inspect_run(struct session *session, tsr_error *err) {
    json_t *result = NULL;
    char *json = NULL;
    tsr_status status = session_open(session, err);
    if (!status) status = tsr_inspect(session->library, session->arguments.operands[0], &json, err);
    status = session_result(status, json, &result, err);
    if (!status) status = view_result(session, result, show, err);
    json_decref(result);
    return status;
}

const struct command COMMAND_INSPECT = {
    .name = "inspect",
    .operands = "MODEL",
    .operand_min = 1,
    .operand_max = 1,
    .summary = "show what is in a checkpoint",
    .doc = "MODEL is a folder in the Hugging Face layout or one .safetensors file. Shows each tensor with its dtype, "
           "shape, "
           "role and regime, which tensors hold the same bytes, and totals by dtype and role.",
    .options = {OPT_ROLES_PATH, OPT_JOBS, OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .examples = {{"tessera inspect ./my-model", "tensors, roles and totals"},
                 {"tessera inspect model.safetensors --json", "the same for a script"}},
    .run = inspect_run,
};
