/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera gate: does what is on disk still make the same decisions. */
#include "commands.h"
#include "session.h"
#include "view.h"

#include <pipeline/job_gate.h>

static const struct table_column FLIP_COLUMNS[] = {
    {"flip", true}, {"KLD", true}, {"margin", true}, {"reference", false}, {"now", false}, {"context", false}};

#define FLIPS_SHOWN 5

static void show_flips(struct output *out, const json_t *gate) {
    struct table table = {.columns = FLIP_COLUMNS, .column_count = 6};
    size_t i;
    json_t *flip;
    json_array_foreach(json_object_get(gate, "worst_flips"), i, flip) {
        if (i == FLIPS_SHOWN) break;
        table_cell_format(&table, "%zu", i + 1);
        table_cell_format(&table, "%.3f", field_real(flip, "kld"));
        table_cell_format(&table, "%.3f", field_real(flip, "margin"));
        table_cell(&table, field_text(flip, "reference"));
        table_cell(&table, field_text(flip, "other"));
        table_cell(&table, field_text(flip, "context"));
    }
    output_table(out, &table);
}

static void show_controls(struct output *out, const json_t *gate) {
    size_t i;
    json_t *control;
    json_array_foreach(json_object_get(gate, "controls"), i, control) {
        str_add_format(&out->text, "control: %s: expected %s, found %s (top-1 %.4f, KLD %.4g)%s\n", field_text(control, "control"),
                       field_text(control, "expected"), field_text(control, "found"), field_real(control, "top1"), field_real(control, "kld"),
                       field_is(control, "ok") ? "" : ": THIS GATE CANNOT BE TRUSTED");
    }
}

static void show(struct output *out, const json_t *result) {
    const json_t *gates = json_object_get(result, "gates");
    size_t i;
    json_t *gate;
    view_gates(out, gates);
    json_array_foreach(gates, i, gate) {
        if (json_array_size(json_object_get(gate, "worst_flips"))) show_flips(out, gate);
        show_controls(out, gate);
    }
}

static tsr_status read_number(const struct session *session, enum option_id id, double low, double high, double *value,
                              tsr_error *err) {
    char what[40];
    const char *text = session_value(session, id);
    if (!text) return TSR_OK;
    (void)snprintf(what, sizeof what, "--%s", OPTIONS[id].name);
    return arguments_real(text, what, low, high, value, err);
}

static tsr_status read_count(const struct session *session, enum option_id id, uint64_t *value, tsr_error *err) {
    char what[40];
    const char *text = session_value(session, id);
    if (!text) return TSR_OK;
    (void)snprintf(what, sizeof what, "--%s", OPTIONS[id].name);
    return arguments_count(text, what, 1000000000, value, err);
}

/* A text without thresholds is measured and passes: what is asked for is the figures. */
static tsr_status read_parity(const struct session *session, struct gate_config *gates, tsr_error *err) {
    gates->parity.text = session_value(session, OPT_TEXT);
    gates->parity.wanted = gates->parity.text != NULL;
    tsr_status st = read_count(session, OPT_POSITIONS, &gates->parity.positions, err);
    if (!st) st = read_count(session, OPT_WINDOW, &gates->parity.window, err);
    if (!st) st = read_count(session, OPT_SKIP, &gates->parity.skip, err);
    if (!st) st = read_number(session, OPT_MIN_TOP1, 0, 1, &gates->parity.min_top1, err);
    if (!st) st = read_number(session, OPT_MAX_KLD, 0, 100, &gates->parity.max_kld, err);
    if (!st) st = read_number(session, OPT_CONFIDENCE, 0.5, 0.999999, &gates->parity.confidence, err);
    if (!st && gates->parity.skip >= gates->parity.window) {
        st = tsr_fail(err, TSR_E_CONFIG, "--skip: must be below --window");
    }
    return st;
}

static tsr_status read_others(const struct session *session, struct gate_config *gates, tsr_error *err) {
    gates->reference.fixture = session_value(session, OPT_FIXTURE);
    gates->reference.wanted = gates->reference.fixture != NULL;
    gates->rollout.prompts = session_value(session, OPT_PROMPTS);
    gates->rollout.wanted = gates->rollout.prompts != NULL;
    gates->speech.text = session_value(session, OPT_SPEECH);
    gates->speech.wanted = gates->speech.text != NULL;
    gates->speech.picture = session_value(session, OPT_PICTURE);
    gates->speech.sounds = session_value(session, OPT_SOUNDS);
    gates->chain.wanted = session_has(session, OPT_MIN_COS);
    tsr_status st = read_number(session, OPT_TOLERANCE, 0, 1, &gates->reference.tolerance, err);
    if (!st) st = read_count(session, OPT_MAX_TOKENS, &gates->rollout.tokens, err);
    if (!st) st = read_number(session, OPT_MIN_MATCH, 0, 1, &gates->rollout.min_match, err);
    if (!st) st = read_number(session, OPT_MIN_COS, 0, 1, &gates->chain.min_cos, err);
    if (!st && gates->speech.picture && !gates->speech.wanted) st = tsr_fail(err, TSR_E_CONFIG, "--picture: needs --speech");
    if (!st && gates->speech.sounds && !gates->speech.wanted) st = tsr_fail(err, TSR_E_CONFIG, "--sounds: needs --speech");
    if (!st && gates->chain.wanted && !gates->parity.text) st = tsr_fail(err, TSR_E_CONFIG, "--min-cos: needs --text");
    return st;
}

/* Several outputs: one object with the results of all. */
static void show_all(struct output *out, const json_t *result) {
    const json_t *results = json_object_get(result, "outputs");
    size_t i;
    json_t *one;
    json_array_foreach(results, i, one) {
        str_add_format(&out->text, "%s%s\n", i ? "\n" : "", field_text(one, "output"));
        show(out, one);
    }
}

static tsr_status show_results(struct session *session, const json_t *results, tsr_error *err) {
    if (session->arguments.operand_count == 1) {
        const json_t *only = json_array_get(results, 0);
        return only ? view_summary(session, only, show, err) : TSR_OK;
    }
    json_t *whole = json_pack("{s:O}", "outputs", results);
    if (!whole) return tsr_fail(err, TSR_E_NOMEM, "out of memory for results");
    tsr_status st = view_summary(session, whole, show_all, err);
    json_decref(whole);
    return st;
}

/* A verdict against an output is a result too, and the next output is still looked at; the first such verdict is the status. */
static tsr_status gate_outputs(struct session *session, struct job_gate_options *options, json_t *results, tsr_error *err) {
    struct parity_kept kept = {0};
    tsr_status status = TSR_OK;
    if (session->arguments.operand_count > 1) options->kept = &kept;
    for (uint64_t i = 0; i < session->arguments.operand_count && (!status || status == TSR_E_GATE); i++) {
        json_t *result = NULL;
        tsr_error one = {0};
        options->output = session->arguments.operands[i];
        tsr_status st = job_gate(options, session->registry, &session->paths, &session->env, &result, &one);
        if (result && json_array_append_new(results, result)) st = tsr_fail(&one, TSR_E_NOMEM, "out of memory for results");
        if (!st || (status && st == TSR_E_GATE)) continue;
        status = st;
        if (err) *err = one;
    }
    parity_kept_clear(&kept);
    return status;
}

static tsr_status gate_all(struct session *session, struct job_gate_options *options, tsr_error *err) {
    json_t *results = json_array();
    tsr_error view_err = {0};
    tsr_status status = results ? gate_outputs(session, options, results, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory for results");
    tsr_status viewed = json_array_size(results) ? show_results(session, results, &view_err) : TSR_OK;
    if (viewed && !status) {
        status = viewed;
        if (err) *err = view_err;
    }
    json_decref(results);
    return status;
}

static tsr_status gate_run(struct session *session, tsr_error *err) {
    struct job_gate_options options = {.reference = session_value(session, OPT_REFERENCE),
                                       .config = session_value(session, OPT_CONFIG),
                                       .controls = session_has(session, OPT_CONTROLS)};
    gate_config_init(&options.gates);
    tsr_status status = read_parity(session, &options.gates, err);
    if (!status) status = read_others(session, &options.gates, err);
    if (!status) status = session_model_path(session, &options.path, err);
    if (!status && options.controls && !options.reference) status = tsr_fail(err, TSR_E_CONFIG, "--controls: needs --reference");
    if (!status && options.config && gate_config_any(&options.gates)) {
        status = tsr_fail(err, TSR_E_CONFIG, "--config: holds the gates, give it or thresholds, not both");
    }
    if (!status && (options.gates.speech.picture || options.gates.speech.sounds) && session->arguments.operand_count > 1) {
        status = tsr_fail(err, TSR_E_CONFIG, "--picture, --sounds: are of one output");
    }
    if (!status) status = session_open(session, err);
    if (!status) status = session_plugins(session, err);
    return status ? status : gate_all(session, &options, err);
}

const struct command COMMAND_GATE = {
    .name = "gate",
    .operands = "OUT [OTHER...]",
    .operand_min = 1,
    .operand_max = OPERANDS_MAX,
    .summary = "prove that a checkpoint still makes the same decisions",
    .doc = "Runs gates on what is on disk. --text compares OUT with --reference position by position (without a reference "
           "it gives the perplexity); --prompts lets both continue freely; --min-cos looks behind every layer; --fixture "
           "compares with an independent implementation; --speech measures what a model that speaks says. A threshold is met by the confidence bound, not by the estimate. "
           "Of several outputs that are compared with one reference, it reads the text once. "
           "The exit code is 3 when a gate does not pass, and when --controls shows that it accepts what it must refuse.",
    .options = {OPT_REFERENCE, OPT_CONFIG, OPT_TEXT, OPT_MIN_TOP1, OPT_MAX_KLD, OPT_CONFIDENCE, OPT_POSITIONS, OPT_WINDOW,
                OPT_SKIP, OPT_PROMPTS, OPT_MAX_TOKENS, OPT_MIN_MATCH, OPT_MIN_COS, OPT_FIXTURE, OPT_TOLERANCE, OPT_CONTROLS, OPT_SPEECH,
                OPT_PICTURE, OPT_SOUNDS, OPT_PATH, OPT_JOBS, OPT_MEMORY, OPT_PLUGIN_PATH, OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .examples = {{"tessera gate small --reference ./my-model --text eval.txt --min-top1 0.97 --max-kld 0.02",
                  "parity on held-out text"},
                 {"tessera gate small smaller --reference ./my-model --text eval.txt", "what two outputs of one model differ by"},
                 {"tessera gate ./my-model --fixture golden.safetensors", "the engine against the official one"},
                 {"tessera gate ./my-model --text eval.txt", "perplexity"}},
    .run = gate_run,
};
