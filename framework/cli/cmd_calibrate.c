/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera calibrate: statistics of a model's matrices on a text. */
#include "commands.h"
#include "session.h"
#include "view.h"

#include <pipeline/calibrate.h>

#define WINDOW_MAX 1000000
#define FULL_MAX_MAX 65536
#define FISHER_TOKENS_MAX 1000000000

static void show(struct output *out, const json_t *result) {
    view_pair(out, "statistics", field_text(result, "output"));
    view_pair_count(out, "tokens", field_count(result, "tokens"));
    view_pair_count(out, "tensors", field_count(result, "tensors"));
    view_pair_count(out, "with whole matrix", field_count(result, "full"));
    view_pair_count(out, "with Fisher values", field_count(result, "fisher_tensors"));
    view_pair(out, "no Fisher values", field_text(result, "fisher_missing"));
    view_pair_count(out, "tokens read backwards", field_count(result, "fisher_tokens"));
    view_pair_count(out, "columns without input", field_count(result, "dead_columns"));
    view_pair_count(out, "weights short of text", field_count(result, "narrow"));
    view_pair_count(out, "weights never reached", field_count(result, "unreached"));
    view_pair_count(out, "passes", field_count(result, "passes"));
}

static tsr_status calibrate_command(struct session *session, tsr_error *err) {
    const char *window = session_value(session, OPT_WINDOW), *full_max = session_value(session, OPT_FULL_MAX);
    const char *fisher = session_value(session, OPT_FISHER_TOKENS), *seed = session_value(session, OPT_SEED);
    struct job_calibrate_options options = {.model = session->arguments.operands[0],
                                            .text = session_value(session, OPT_TEXT),
                                            .output = session_value(session, OPT_OUTPUT),
                                            .full_max = CALIBRATE_FULL_MAX,
                                            .fisher_tokens = CALIBRATE_FISHER_TOKENS,
                                            .force = session_has(session, OPT_FORCE)};
    json_t *result = NULL;
    tsr_status st = session_open(session, err);
    if (st == TSR_OK && window) st = arguments_count(window, "--window", WINDOW_MAX, &options.window, err);
    if (st == TSR_OK && full_max) st = arguments_number(full_max, "--full-max", FULL_MAX_MAX, &options.full_max, err);
    if (st == TSR_OK && fisher) st = arguments_number(fisher, "--fisher-tokens", FISHER_TOKENS_MAX, &options.fisher_tokens, err);
    if (st == TSR_OK && seed) st = arguments_number(seed, "--seed", UINT64_MAX, &options.seed, err);
    if (st == TSR_OK) st = session_plugins(session, err);
    if (st == TSR_OK) st = job_calibrate(&options, session->registry, &session->paths, &session->env, &result, err);
    if (st == TSR_OK) st = view_summary(session, result, show, err);
    json_decref(result);
    return st;
}

const struct command COMMAND_CALIBRATE = {
    .name = "calibrate",
    .operands = "MODEL",
    .operand_min = 1,
    .operand_max = 1,
    .summary = "gather statistics of a model's matrices on a text",
    .doc = "The model reads the text, and the second moments of what enters each of its matrices are written to the file "
           "given by --output; so is, from a part of the text, how much the model's answer depends on each output. The text passes layer "
           "after layer within --memory (default 1Gi; what else is needed goes to disk beside the output); an interrupted run "
           "continues with the same command. The result depends neither on memory nor on workers.",
    .options = {OPT_TEXT, OPT_OUTPUT, OPT_WINDOW, OPT_FULL_MAX, OPT_FISHER_TOKENS, OPT_SEED, OPT_FORCE, OPT_JOBS, OPT_MEMORY, OPT_PLUGIN_PATH,
                OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .required = {OPT_TEXT, OPT_OUTPUT},
    .examples = {{"tessera calibrate ./my-model --text sample.txt -o my-model.stats", "statistics of a text like those it "
                                                                                      "will see"}},
    .run = calibrate_command,
};
