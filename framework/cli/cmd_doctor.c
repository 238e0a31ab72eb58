/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera doctor: is everything there that the program needs, and why is something not found. */
#include "commands.h"
#include "session.h"
#include "view.h"

#include <pipeline/job_doctor.h>
#include <string.h>

#define EXIT_SYSTEM 4

static const struct table_column PLUGIN_COLUMNS[] = {{"plugin folder", false}, {"plugins", true}, {"refused", true}};
static const struct table_column DATA_COLUMNS[] = {{"data folder", false}, {"kind", false}, {"files", true}};

static void show_plugins(struct output *out, const json_t *folders) {
    struct table table = {.columns = PLUGIN_COLUMNS, .column_count = 3};
    size_t i, j;
    json_t *folder, *plugin;
    json_array_foreach(folders, i, folder) {
        const json_t *plugins = json_object_get(folder, "plugins");
        size_t refused = 0;
        json_array_foreach(plugins, j, plugin) refused += *field_text(plugin, "refused") != '\0';
        table_cell(&table, field_text(folder, "folder"));
        if (field_is(folder, "there")) {
            table_cell_format(&table, "%zu", json_array_size(plugins) - refused);
        } else {
            table_cell(&table, "not there");
        }
        table_cell_format(&table, "%zu", refused);
    }
    output_table(out, &table);
    str_add_text(&out->text, "\n");
}

static void show_data(struct output *out, const json_t *folders) {
    struct table table = {.columns = DATA_COLUMNS, .column_count = 3};
    size_t i;
    json_t *folder;
    json_array_foreach(folders, i, folder) {
        table_cell(&table, field_text(folder, "folder"));
        table_cell(&table, field_text(folder, "kind"));
        if (field_is(folder, "there")) {
            table_cell_format(&table, "%llu", (unsigned long long)field_count(folder, "files"));
        } else {
            table_cell(&table, "not there");
        }
    }
    output_table(out, &table);
    str_add_text(&out->text, "\n");
}

static void show_libraries(struct output *out, const json_t *libraries) {
    size_t i;
    json_t *library;
    json_array_foreach(libraries, i, library) {
        const char *version = field_text(library, "version");
        view_pair(out, field_text(library, "name"), *version ? version : "left out of this build");
    }
}

static void show_machine(struct output *out, const json_t *result) {
    const json_t *cpu = json_object_get(result, "cpu"), *memory = json_object_get(result, "memory"), *disk = json_object_get(result, "disk");
    size_t i;
    json_t *path;
    view_pair(out, "processor", field_text(cpu, "name"));
    view_pair_count(out, "workers", field_count(cpu, "workers"));
    json_array_foreach(json_object_get(cpu, "paths"), i, path) view_pair(out, field_text(path, "for"), field_text(path, "kernels"));
    view_pair(out, "kernels of BLAS", field_text(cpu, "blas_kernels"));
    view_pair_bytes(out, "memory", field_count(memory, "total"));
    view_pair_bytes(out, "available", field_count(memory, "available"));
    if (field_count(memory, "limit")) view_pair_bytes(out, "limit of its group", field_count(memory, "limit"));
    view_pair_bytes(out, "free disk here", field_count(disk, "free"));
}

static void show(struct output *out, const json_t *result) {
    size_t i;
    json_t *finding;
    view_pair(out, "tessera", field_text(result, "version"));
    view_pair(out, "compiler", field_text(result, "compiler"));
    show_libraries(out, json_object_get(result, "libraries"));
    str_add_text(&out->text, "\n");
    show_plugins(out, json_object_get(result, "plugin_folders"));
    show_data(out, json_object_get(result, "data_folders"));
    show_machine(out, result);
    str_add_text(&out->text, "\n");
    json_array_foreach(json_object_get(result, "findings"), i, finding) {
        str_add_format(&out->text, "%s: ", field_text(finding, "level"));
        str_add_safe(&out->text, field_text(finding, "what"));
        str_add_format(&out->text, "\n  do: %s\n", field_text(finding, "hint"));
    }
    str_add_text(&out->text, field_is(result, "ok") ? "nothing is missing that the program needs\n"
                                                    : "the program cannot do its work here\n");
}

static tsr_status doctor_run(struct session *session, tsr_error *err) {
    tsr_error plugin_err = {0};
    json_t *result = NULL;
    struct job_doctor_options options = {.plugin_path = session_value(session, OPT_PLUGIN_PATH)};
    tsr_status status = session_open(session, err);
    if (status) return status;
    session->console.level = TSR_LOG_ERROR - 1; /* refused plugins are findings here */
    if (session_plugins(session, &plugin_err)) {
        options.registry_failure = plugin_err.message;
    } else {
        options.registry = session->registry;
    }
    status = job_doctor(&options, &session->paths, &session->env, &result, err);
    if (!status) status = view_result(session, result, show, err);
    if (!status && !field_is(result, "ok")) session->exit_code = EXIT_SYSTEM;
    json_decref(result);
    return status;
}

const struct command COMMAND_DOCTOR = {
    .name = "doctor",
    .operands = "",
    .summary = "say what this installation has, and why something is not found",
    .doc = "Version, libraries, every folder that is searched for plugins, roles, configs and families with what was found there, plugins "
           "that were refused and why, which kernels the processor was given, memory and disk. What is wrong is listed last, with what to do "
           "about it. The exit code is 4 when something is missing that the program needs.",
    .options = {OPT_PLUGIN_PATH, OPT_ROLES_PATH, OPT_JOBS, OPT_JSON, OPT_HELP, OPT_NONE},
    .examples = {{"tessera doctor", "is everything there"},
                 {"TESSERA_PLUGIN_PATH=./mine tessera doctor", "why a plugin of one's own is not used"}},
    .run = doctor_run,
};
