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

static const struct table_column REPLAY_COLUMNS[] = {{"member", false}, {"receipt", false}, {"replay", false}};

static void add_value(struct table *table, const json_t *value) {
    if (json_is_string(value)) {
        table_cell(table, json_string_value(value));
    } else if (json_is_number(value)) {
        table_cell_format(table, "%.17g", json_number_value(value));
    } else {
        table_cell(table, json_is_null(value) ? "-" : json_is_true(value) ? "true" : json_is_false(value) ? "false" : "...");
    }
}

static void show_replay(struct output *out, const json_t *result) {
    struct table table = {.columns = REPLAY_COLUMNS, .column_count = 3};
    size_t i;
    json_t *difference;
    json_array_foreach(json_object_get(result, "differences"), i, difference) {
        table_cell(&table, field_text(difference, "member"));
        add_value(&table, json_object_get(difference, "receipt"));
        add_value(&table, json_object_get(difference, "replay"));
    }
    output_table(out, &table);
    if (field_is(result, "ok")) str_add_text(&out->text, "replayed: every figure of the receipt was found again\n");
}

static tsr_status run_replay(struct session *session, json_t **result, tsr_error *err) {
    struct job_compress_options options = {.model = session_value(session, OPT_REFERENCE),
                                           .config = session_value(session, OPT_CONFIG),
                                           .output = session->arguments.operands[0],
                                           .stats = session_value(session, OPT_STATS),
                                           .plugin_path = session_value(session, OPT_PLUGIN_PATH)};
    const char *shard = session_value(session, OPT_MAX_SHARD_SIZE);
    if (!options.model) return tsr_fail(err, TSR_E_CONFIG, "--replay: needs the source, --reference MODEL");
    tsr_status status = shard ? arguments_size(shard, "--max-shard-size", &options.max_shard_bytes, err) : TSR_OK;
    if (status) return status;
    return job_replay(&options, session->registry, &session->paths, &session->env, result, err);
}

static tsr_status run_verify(struct session *session, json_t **result, tsr_error *err) {
    char *json = NULL;
    tsr_status status = tsr_verify(session->library, session->arguments.operands[0], &json, err);
    return session_result(status, json, result, err);
}

static tsr_status verify_run(struct session *session, tsr_error *err) {
    json_t *result = NULL;
    bool replay = session_has(session, OPT_REPLAY);
    tsr_status status = session_open(session, err);
    if (!status) status = session_plugins(session, err);
    if (!status) status = replay ? run_replay(session, &result, err) : run_verify(session, &result, err);
    /* Damage is a result too; the verdict stays. */
    if (result) {
        tsr_error view_err = {0};
        tsr_status viewed = view_summary(session, result, replay ? show_replay : show, &view_err);
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
           "whose header is damaged; then the exit code is 2. With --replay the job is done again from its source and "
           "every figure of the receipt compared; a difference has exit code 3.",
    .options = {OPT_REPLAY, OPT_REFERENCE, OPT_CONFIG, OPT_STATS, OPT_MAX_SHARD_SIZE, OPT_ROLES_PATH, OPT_JOBS, OPT_MEMORY, OPT_PLUGIN_PATH, OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .examples = {{"tessera verify my-model.tsr", "prints \"intact\", or what is damaged"},
                 {"tessera verify small --replay --reference ./my-model -c job.yaml", "recomputes every figure"}},
    .run = verify_run,
};
