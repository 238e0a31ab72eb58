/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera plugin: which plugins there are, what a codec declares, and whether a plugin keeps the contract. */
#include "commands.h"
#include "plugin_view.h"
#include "session.h"
#include "view.h"

#include <string.h>

static const struct table_column LIST_COLUMNS[] = {
    {"plugin", false}, {"version", false}, {"license", false}, {"codecs", false}, {"models", false}, {"path", false},
};
static const struct table_column PARAM_COLUMNS[] = {
    {"parameter", false}, {"type", false}, {"range", false}, {"default", false}, {"meaning", false},
};

/* The strings of a list with commas between. */
static void joined_cell(struct table *table, const json_t *names) {
    struct str text = {0};
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name) str_add_format(&text, i ? ", %s" : "%s", json_string_value(name));
    table_cell(table, text.text);
    str_clear(&text);
}

static void show_list(struct output *out, const json_t *result) {
    struct table table = {.columns = LIST_COLUMNS, .column_count = 6};
    size_t i;
    json_t *plugin;
    json_array_foreach(json_object_get(result, "plugins"), i, plugin) {
        const char *refused = field_text(plugin, "refused");
        table_cell(&table, *refused ? "(refused)" : field_text(plugin, "name"));
        table_cell(&table, field_text(plugin, "version"));
        table_cell(&table, field_text(plugin, "license"));
        joined_cell(&table, json_object_get(plugin, "codecs"));
        joined_cell(&table, json_object_get(plugin, "models"));
        table_cell(&table, field_text(plugin, "path"));
    }
    if (!table.cell_count) str_add_text(&out->text, "no plugins found\n");
    output_table(out, &table);
}

static void range_cell(struct table *table, const json_t *param) {
    const json_t *choices = json_object_get(param, "choices");
    if (json_is_array(choices)) {
        joined_cell(table, choices);
    } else if (json_is_null(json_object_get(param, "minimum"))) {
        table_cell(table, "");
    } else {
        table_cell_format(table, "%g..%g", field_real(param, "minimum"), field_real(param, "maximum"));
    }
}

static void show_codec(struct output *out, const json_t *codec) {
    view_pair(out, "id", field_text(codec, "id"));
    view_pair(out, "name", field_text(codec, "name"));
    view_pair(out, "description", field_text(codec, "description"));
    view_pair(out, "path", field_text(codec, "path"));
    view_pair_count(out, "bitstream version", field_count(codec, "bitstream_version"));
    view_pair_count(out, "oldest it reads", field_count(codec, "bitstream_oldest"));
    struct table table = {.columns = PARAM_COLUMNS, .column_count = 5};
    size_t i;
    json_t *param;
    json_array_foreach(json_object_get(codec, "params"), i, param) {
        table_cell(&table, field_text(param, "name"));
        table_cell(&table, field_text(param, "type"));
        range_cell(&table, param);
        table_cell(&table, field_text(param, "default"));
        table_cell(&table, field_text(param, "doc"));
    }
    str_add_text(&out->text, table.cell_count ? "\n" : "");
    output_table(out, &table);
}

static tsr_status list_plugins(struct session *session, tsr_error *err) {
    json_t *result = plugin_list_json(session->registry);
    if (!result) return tsr_fail(err, TSR_E_NOMEM, "plugin list: out of memory");
    tsr_status status = view_result(session, result, show_list, err);
    json_decref(result);
    return status;
}

static tsr_status show_plugin(struct session *session, const char *name, tsr_error *err) {
    const tsr_codec *codec = NULL;
    const struct registry_plugin *owner = NULL;
    tsr_status status = registry_codec(session->registry, name, &codec, &owner, err);
    if (status) return status;
    json_t *result = plugin_codec_json(codec, owner);
    if (!result) return tsr_fail(err, TSR_E_NOMEM, "plugin show: out of memory");
    status = view_result(session, result, show_codec, err);
    json_decref(result);
    return status;
}

enum verb { VERB_LIST, VERB_SHOW, VERB_CHECK, VERB_CHECK_ONE, VERB_COUNT };
static const char *const VERBS[] = {"list", "show", "check", "check-one", NULL}; /* the last one is for ourselves */
static const uint64_t VERB_OPERANDS[] = {0, 1, 1, 4};

static tsr_status find_verb(const struct arguments *arguments, enum verb *verb, tsr_error *err) {
    const char *name = arguments->operands[0];
    *verb = VERB_LIST;
    while (*verb < VERB_COUNT && strcmp(VERBS[*verb], name) != 0) ++*verb;
    if (*verb == VERB_COUNT) {
        const char *nearest = text_nearest(name, VERBS);
        return tsr_fail(err, TSR_E_CONFIG, "plugin: \"%.40s\" is none of list, show, check%s%s%s", name,
                        nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
    }
    uint64_t given = arguments->operand_count - 1, wanted = VERB_OPERANDS[*verb];
    if (given < wanted) {
        return tsr_fail(err, TSR_E_CONFIG, "plugin %s needs %s", name, *verb == VERB_SHOW ? "NAME" : "FILE");
    }
    if (given > wanted) {
        return tsr_fail(err, TSR_E_CONFIG, "plugin %s: \"%.60s\" is one operand too many", name,
                        arguments->operands[wanted + 1]);
    }
    return TSR_OK;
}

static tsr_status plugin_run(struct session *session, tsr_error *err) {
    enum verb verb;
    const char *const *operands = session->arguments.operands + 1;
    tsr_status status = find_verb(&session->arguments, &verb, err);
    if (status) return status;
    if (verb == VERB_CHECK_ONE) return plugin_check_one(session, operands, err);
    if (verb == VERB_CHECK) return plugin_check(session, operands[0], err);
    status = session_open(session, err);
    if (!status) status = session_plugins(session, err);
    if (status) return status;
    return verb == VERB_LIST ? list_plugins(session, err) : show_plugin(session, operands[0], err);
}

const struct command COMMAND_PLUGIN = {
    .name = "plugin",
    .operands = "list | show NAME | check FILE",
    .operand_min = 1,
    .operand_max = OPERANDS_MAX,
    .summary = "list plugins, show a codec's parameters, check a plugin",
    .doc =
        "list: every plugin that was found, also refused ones. show: what the codec NAME declares, its parameters with "
        "range, default and meaning. check: runs the conformance suite on the plugin FILE in processes of its own, one "
        "line a "
        "property; the exit code is 3 when one does not hold.",
    .options = {OPT_PLUGIN_PATH, OPT_JOBS, OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .examples = {{"tessera plugin list", "what is there"},
                 {"tessera plugin show scalar", "parameters of the codec scalar"},
                 {"tessera plugin check ./tessera-codec-mine.so", "does it keep the contract"}},
    .run = plugin_run,
};
