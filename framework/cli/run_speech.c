/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera run --text, --codes-in: speech into a file, or raw on standard output as it is made. */
#include "run_speech.h"

#include "view.h"

#include <math.h>
#include <pipeline/job_speak.h>
#include <string.h>

#define TOKENS_MAX 1000000

bool run_speech_wanted(const struct session *session) {
    static const enum option_id speech[] = {OPT_SAY, OPT_SOUND, OPT_SPEAKER, OPT_LANGUAGE, OPT_INSTRUCT, OPT_REF_AUDIO,
                                            OPT_REF_TEXT, OPT_CODES_IN, OPT_CODES_OUT};
    for (size_t i = 0; i < sizeof speech / sizeof speech[0]; i++) {
        if (session_has(session, speech[i])) return true;
    }
    return false;
}

/* ---- arguments ---- */

static tsr_status read_real(const struct session *session, enum option_id id, double low, double high, double *value,
                            tsr_error *err) {
    char what[40];
    const char *text = session_value(session, id);
    if (!text) return TSR_OK;
    (void)snprintf(what, sizeof what, "--%s", OPTIONS[id].name);
    return arguments_real(text, what, low, high, value, err);
}

static tsr_status read_number(const struct session *session, enum option_id id, uint64_t maximum, int64_t *value,
                              tsr_error *err) {
    char what[40];
    uint64_t number = 0;
    const char *text = session_value(session, id);
    if (!text) return TSR_OK;
    (void)snprintf(what, sizeof what, "--%s", OPTIONS[id].name);
    tsr_status st = arguments_number(text, what, maximum, &number, err);
    *value = (int64_t)number;
    return st;
}

static tsr_status read_rules(const struct session *session, struct speak_rules *rules, tsr_error *err) {
    const char *seed = session_value(session, OPT_SEED);
    *rules = (struct speak_rules){.temperature = -1, .top_p = -1, .repetition_penalty = -1, .rest_temperature = -1,
                                  .rest_top_p = -1, .top_k = -1, .rest_top_k = -1, .max_tokens = -1};
    rules->greedy = session_has(session, OPT_GREEDY);
    tsr_status st = read_real(session, OPT_TEMPERATURE, 0, 1000, &rules->temperature, err);
    if (st == TSR_OK) st = read_real(session, OPT_TOP_P, 1e-9, 1, &rules->top_p, err);
    if (st == TSR_OK) st = read_real(session, OPT_REPETITION_PENALTY, 1e-9, 1000, &rules->repetition_penalty, err);
    if (st == TSR_OK) st = read_real(session, OPT_SUB_TEMPERATURE, 0, 1000, &rules->rest_temperature, err);
    if (st == TSR_OK) st = read_real(session, OPT_SUB_TOP_P, 1e-9, 1, &rules->rest_top_p, err);
    if (st == TSR_OK) st = read_number(session, OPT_TOP_K, UINT32_MAX, &rules->top_k, err);
    if (st == TSR_OK) st = read_number(session, OPT_SUB_TOP_K, UINT32_MAX, &rules->rest_top_k, err);
    if (st == TSR_OK) st = read_number(session, OPT_MAX_TOKENS, TOKENS_MAX, &rules->max_tokens, err);
    if (st == TSR_OK && rules->max_tokens == 0) st = tsr_fail(err, TSR_E_CONFIG, "--max-tokens: expected 1 or more");
    return st == TSR_OK && seed ? arguments_number(seed, "--seed", UINT64_MAX, &rules->seed, err) : st;
}

/* One of a few words; *choice is its place. */
static tsr_status read_choice(const struct session *session, enum option_id id, const char *const *words, int *choice,
                              tsr_error *err) {
    const char *text = session_value(session, id);
    if (!text) return TSR_OK;
    for (*choice = 0; words[*choice]; ++*choice) {
        if (!strcmp(words[*choice], text)) return TSR_OK;
    }
    return tsr_fail(err, TSR_E_CONFIG, "--%s: \"%.40s\" is none of those that %s --help names", OPTIONS[id].name, text, "run");
}

static tsr_status read_options(const struct session *session, struct job_speak_options *options, tsr_error *err) {
    static const char *const formats[] = {"16", "24", "float", NULL}, *const layouts[] = {"usual", "streaming", "whole", NULL};
    const char *output = session_value(session, OPT_SOUND);
    int format = 0, layout = 0;
    *options = (struct job_speak_options){.model = session->arguments.operands[0],
                                          .text = session_value(session, OPT_SAY),
                                          .instruct = session_value(session, OPT_INSTRUCT),
                                          .speaker = session_value(session, OPT_SPEAKER),
                                          .language = session_value(session, OPT_LANGUAGE),
                                          .reference_audio = session_value(session, OPT_REF_AUDIO),
                                          .reference_text = session_value(session, OPT_REF_TEXT),
                                          .codes_in = session_value(session, OPT_CODES_IN),
                                          .codes_out = session_value(session, OPT_CODES_OUT),
                                          .output = output && strcmp(output, "-") ? output : NULL,
                                          .one_piece = session_has(session, OPT_ONE_PIECE)};
    if (!output && !options->codes_out) {
        return tsr_fail(err, TSR_E_CONFIG, "run needs --output FILE (or -) or --codes-out FILE for speech");
    }
    if (output && !options->output && session_has(session, OPT_JSON)) {
        return tsr_fail(err, TSR_E_CONFIG, "--output -: samples and --json cannot share standard output");
    }
    tsr_status st = read_choice(session, OPT_SAMPLE_FORMAT, formats, &format, err);
    if (st == TSR_OK) st = read_choice(session, OPT_TEXT_LAYOUT, layouts, &layout, err);
    options->encoding = (enum wave_encoding)format;
    options->layout = (enum speak_layout)layout;
    return st == TSR_OK ? read_rules(session, &options->rules, err) : st;
}

/* ---- samples on standard output ---- */

/* Signed, 16 bits, little-endian, one channel. */
static tsr_status print_samples(void *ctx, const float *samples, uint64_t count, tsr_error *err) {
    struct session *session = ctx;
    for (uint64_t i = 0; i < count; i++) {
        long value = lrintf(fminf(fmaxf(samples[i], -1), 1) * 32767);
        str_add_le(&session->output.text, (uint64_t)(value & 0xFFFF), 2);
    }
    tsr_status st = output_flush(&session->output, err);
    /* Nobody listens any more: there is no reason to go on. */
    return st == TSR_OK && session->output.pipe_ended ? tsr_fail(err, TSR_E_IO, "standard output: the reader went away") : st;
}

static void show(struct output *out, const json_t *result) {
    const char *output = field_text(result, "output");
    if (*output) view_pair(out, "sound", output);
    str_add_format(&out->text, "%llu frames, %.2f s; real-time factor %.2f (vocoder %.2f)\n",
                   (unsigned long long)field_count(result, "frames"),
                   (double)field_count(result, "samples") / fmax((double)field_count(result, "sample_rate"), 1),
                   field_real(result, "real_time_factor"), field_real(result, "vocoder_real_time_factor"));
}

tsr_status run_speech(struct session *session, tsr_error *err) {
    json_t *result = NULL;
    struct job_speak_options options;
    const char *output = session_value(session, OPT_SOUND);
    bool raw = output && !strcmp(output, "-");
    const struct job_speak_io io = {session, raw ? print_samples : NULL};
    tsr_status st = session_open(session, err);
    if (st == TSR_OK && session_has(session, OPT_PROMPT)) {
        st = tsr_fail(err, TSR_E_CONFIG, "--prompt: goes without the options for speech");
    }
    if (st == TSR_OK) st = read_options(session, &options, err);
    if (st == TSR_OK) st = session_plugins(session, err);
    if (st == TSR_OK) st = job_speak(&options, session->registry, &session->paths, &session->env, &io, &result, err);
    if (st == TSR_OK && !raw) st = view_summary(session, result, show, err);
    json_decref(result);
    return st;
}
