/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera decompress: back to plain safetensors. */
#include "commands.h"
#include "session.h"
#include "view.h"

#include <string.h>

#define LEVEL_MAX 64

static void show(struct output *out, const json_t *result) {
    view_pair(out, "output", field_text(result, "output"));
    view_pair_count(out, "files", json_array_size(json_object_get(result, "files")));
    view_pair_bytes(out, "bytes", field_count(result, "bytes"));
    view_pair(out, "tensors",
              field_is(result, "exact") ? "exact: every source file is restored byte for byte"
                                        : "approximate where the plan was lossy");
}

/* "base" is the first stage of a stack, "exact" all of them with nothing lost, a number so many. */
static tsr_status read_levels(const struct session *session, tsr_decompress_options *options, tsr_error *err) {
    const char *level = session_value(session, OPT_LEVEL), *codec = session_value(session, OPT_CODEC_LEVEL);
    tsr_status status = TSR_OK;
    if (level && !strcmp(level, "exact")) {
        options->exact = true;
    } else if (level && !strcmp(level, "base")) {
        options->stage_limit = 1;
    } else if (level) {
        status = arguments_count(level, "--level", LEVEL_MAX, &options->stage_limit, err);
    }
    if (!status && codec) status = arguments_count(codec, "--codec-level", LEVEL_MAX, &options->codec_level, err);
    return status;
}

static tsr_status decompress_run(struct session *session, tsr_error *err) {
    json_t *result = NULL;
    char *json = NULL;
    tsr_decompress_options options = {.struct_size = sizeof options,
                                      .path = session->arguments.operands[0],
                                      .destination = session_value(session, OPT_OUTPUT),
                                      .force = session_has(session, OPT_FORCE)};
    tsr_status status = read_levels(session, &options, err);
    if (!status) status = session_open(session, err);
    if (!status) status = tsr_decompress(session->library, &options, &json, err);
    status = session_result(status, json, &result, err);
    if (!status) status = view_summary(session, result, show, err);
    json_decref(result);
    return status;
}

const struct command COMMAND_DECOMPRESS = {
    .name = "decompress",
    .operands = "OUT",
    .operand_min = 1,
    .operand_max = 1,
    .summary = "turn a compressed checkpoint back into plain safetensors",
    .doc = "Writes every source file under its own name. A checkpoint that was compressed losslessly is restored byte "
           "for byte; "
           "otherwise the tensors are what the codecs kept of them, in the dtypes of the source.",
    .options = {OPT_OUTPUT, OPT_FORCE, OPT_LEVEL, OPT_CODEC_LEVEL, OPT_JOBS, OPT_MEMORY, OPT_PLUGIN_PATH, OPT_JSON, OPT_QUIET, OPT_VERBOSE,
                OPT_HELP, OPT_NONE},
    .required = {OPT_OUTPUT, OPT_NONE},
    .examples = {{"tessera decompress my-model.tsr -o my-model", "the files as they were"},
                 {"tessera decompress both.tsr -o small --level base", "the lossy model alone, of a file that holds both"}},
    .run = decompress_run,
};
