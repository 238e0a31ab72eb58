/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera verify: are the bytes on disk what compress wrote. */
#include "commands.h"
#include "session.h"
#include "view.h"

static const struct table_column COLUMNS[] = {{"file", false}, {"tensor", false}, {"damage", false}};

static void show(struct output *out, const json_t *result) {
    struct table table = {.columns = COLUMNS, .column_count = 3};
    size_t i;
    json_t *damage;
    json_array_foreach(json_object_get(result, "damage"), i, damage) {
        const char *tensor = field_text(damage, "tensor");
        table_cell(&table, field_text(damage, "file"));
        table_cell(&table, *tensor ? tensor : "(header)");
        table_cell(&table, field_text(damage, "what"));
    }
    output_table(out, &table);
    if (!field_is(result, "ok")) return;
    char bytes[32];
    str_add_format(&out->text, "intact: %llu tensors, %llu tiles, %s in %llu files\n",
                   (unsigned long long)field_count(result, "tensors"), (unsigned long long)field_count(result, "tiles"),
                   text_bytes(field_count(result, "bytes"), bytes, sizeof bytes),
                   (unsigned long long)field_count(result, "files"));
}

static tsr_status verify_run(struct session *session, tsr_error *err) {
    json_t *result = NULL;
    tsr_status status = session_open(session, err);
    if (!status) status = session_plugins(session, err);
    if (!status) status = job_verify(session->arguments.operands[0], session->registry, &session->env, &result, err);
    /* Damage is a result too; the verdict stays. */
    if (result) {
        tsr_error view_err = {0};
        tsr_status viewed = view_summary(session, result, show, &view_err);
        if (viewed && !status) {
            status = viewed;
            if (err) *err = view_err;
        }
    }
    json_decref(result);
    return status;
}

const struct command COMMAND_VERIFY = {
    .name = "verify",
    .operands = "OUT",
    .operand_min = 1,
    .operand_max = 1,
    .summary = "check every byte of a compressed checkpoint",
    .doc = "Checks all checksums and decodes every tile, in a fresh reading from disk. Names each damaged tensor, or "
           "the file "
           "whose header is damaged; then the exit code is 2.",
    .options = {OPT_JOBS, OPT_MEMORY, OPT_PLUGIN_PATH, OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .examples = {{"tessera verify my-model.tsr", "prints \"intact\", or what is damaged"}},
    .run = verify_run,
};
