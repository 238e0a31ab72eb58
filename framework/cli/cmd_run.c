/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera run: text from a model, as it is made. */
#include "chat_input.h"
#include "commands.h"
#include "run_speech.h"
#include "session.h"
#include "view.h"

#include <pipeline/job_run.h>
#include <string.h>
#include <unistd.h>

#define MAX_TOKENS 256
#define TOKENS_MAX 1000000
#define CONTEXT_MAX ((uint64_t)1 << 32)

/* What the callbacks of a run see. */
struct talk {
    struct session *session;
    struct chat_input input;
};

/* Text of a model goes to a pipe as it is; a terminal gets no control characters but line ends and tabs. */
static void add_text(struct str *out, const char *text, size_t length, bool terminal) {
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        bool control = byte == 0x7F || (byte < 0x20 && byte != '\n' && byte != '\t');
        bool c1 = byte == 0xC2 && i + 1 < length && ((unsigned char)text[i + 1] & 0xE0) == 0x80;
        if (terminal && c1) i++;
        if (!terminal || !(control || c1)) str_add(out, &text[i], 1);
    }
}

static tsr_status print_text(void *ctx, const char *text, size_t length, tsr_error *err) {
    struct talk *talk = ctx;
    struct output *out = &talk->session->output;
    add_text(&out->text, text, length, isatty(STDOUT_FILENO) == 1);
    return output_flush(out, err);
}

static tsr_status end_answer(void *ctx, tsr_error *err) {
    return print_text(ctx, "\n", 1, err);
}

static tsr_status ask(void *ctx, struct str *message, enum job_run_wish *wish, tsr_error *err) {
    struct talk *talk = ctx;
    return chat_input_ask(&talk->input, message, wish, err);
}

static bool failed(void *ctx, tsr_status st, const tsr_error *err) {
    struct talk *talk = ctx;
    return chat_input_failed(&talk->input, st, err);
}

/* ---- arguments ---- */

struct number_option {
    enum option_id id;
    uint64_t *number;
    uint64_t maximum;
};

struct real_option {
    enum option_id id;
    double *real;
    double maximum;
};

static tsr_status read_numbers(const struct session *session, struct job_run_options *options, tsr_error *err) {
    struct sampling *sampling = &options->sampling;
    const struct number_option numbers[] = {{OPT_MAX_TOKENS, &options->max_tokens, TOKENS_MAX},
                                            {OPT_MIN_TOKENS, &options->min_tokens, TOKENS_MAX},
                                            {OPT_CONTEXT, &options->context, CONTEXT_MAX},
                                            {OPT_TOP_K, &sampling->top_k, UINT32_MAX},
                                            {OPT_SEED, &sampling->seed, UINT64_MAX}};
    const struct real_option reals[] = {{OPT_TEMPERATURE, &sampling->temperature, 1000},
                                        {OPT_TOP_P, &sampling->top_p, 1},
                                        {OPT_MIN_P, &sampling->min_p, 1},
                                        {OPT_REPETITION_PENALTY, &sampling->repetition_penalty, 1000}};
    tsr_status st = TSR_OK;
    char what[40];
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && st == TSR_OK; i++) {
        const char *text = session_value(session, numbers[i].id);
        (void)snprintf(what, sizeof what, "--%s", OPTIONS[numbers[i].id].name);
        if (text) st = arguments_number(text, what, numbers[i].maximum, numbers[i].number, err);
    }
    for (size_t i = 0; i < sizeof reals / sizeof reals[0] && st == TSR_OK; i++) {
        const char *text = session_value(session, reals[i].id);
        (void)snprintf(what, sizeof what, "--%s", OPTIONS[reals[i].id].name);
        if (text) st = arguments_real(text, what, 0, reals[i].maximum, reals[i].real, err);
    }
    return st;
}

/* One of two texts of the user, which may be absent. */
static tsr_status check_text(const char *text, const char *name, tsr_error *err) {
    if (!text || text_is_utf8(text, strlen(text))) return TSR_OK;
    return tsr_fail(err, TSR_E_INPUT, "--%s: is not text in UTF-8", name);
}

static tsr_status check_options(const struct session *session, tsr_error *err) {
    bool chat = session_has(session, OPT_CHAT), raw = session_has(session, OPT_RAW);
    if (!chat && !session_has(session, OPT_PROMPT)) {
        return tsr_fail(err, TSR_E_CONFIG, "run needs --prompt TEXT, --chat, or --text TEXT");
    }
    if (chat && session_has(session, OPT_JSON)) return tsr_fail(err, TSR_E_CONFIG, "--chat goes without --json");
    if (raw && (chat || session_has(session, OPT_SYSTEM))) {
        return tsr_fail(err, TSR_E_CONFIG, "--raw goes without --chat and --system, which a chat template is for");
    }
    tsr_status st = check_text(session_value(session, OPT_PROMPT), OPTIONS[OPT_PROMPT].name, err);
    return st == TSR_OK ? check_text(session_value(session, OPT_SYSTEM), OPTIONS[OPT_SYSTEM].name, err) : st;
}

static tsr_status read_options(struct session *session, struct job_run_options *options, tsr_error *err) {
    *options = (struct job_run_options){.model = session->arguments.operands[0],
                                        .prompt = session_value(session, OPT_PROMPT),
                                        .system = session_value(session, OPT_SYSTEM),
                                        .raw = session_has(session, OPT_RAW),
                                        .chat = session_has(session, OPT_CHAT),
                                        .max_tokens = MAX_TOKENS,
                                        .stops = session->arguments.repeats,
                                        .stop_count = session->arguments.repeat_count};
    tsr_status st = check_options(session, err);
    return st == TSR_OK ? read_numbers(session, options, err) : st;
}

static tsr_status run_text(struct session *session, tsr_error *err) {
    json_t *result = NULL;
    struct job_run_options options;
    bool json = session_has(session, OPT_JSON);
    struct talk talk = {session, {.session = session}};
    const struct job_run_io io = {&talk, json ? NULL : print_text, json ? NULL : end_answer, ask, failed};
    tsr_status st = session_open(session, err);
    if (st == TSR_OK) st = read_options(session, &options, err);
    if (st == TSR_OK) st = session_model_path(session, &options.path, err);
    if (st == TSR_OK) st = session_plugins(session, err);
    if (st == TSR_OK) st = job_run(&options, session->registry, &session->paths, &session->env, &io, &result, err);
    if (st == TSR_OK && json) st = output_json(&session->output, result, err);
    json_decref(result);
    chat_input_clear(&talk.input);
    return st;
}

static tsr_status run_run(struct session *session, tsr_error *err) {
    if (run_speech_wanted(session) && session_has(session, OPT_PATH)) {
        return tsr_fail(err, TSR_E_CONFIG, "--path is for models that write text");
    }
    return run_speech_wanted(session) ? run_speech(session, err) : run_text(session, err);
}

const struct command COMMAND_RUN = {
    .name = "run",
    .operands = "MODEL",
    .operand_min = 1,
    .operand_max = 1,
    .summary = "answer or continue a prompt, or speak a text",
    .doc = "MODEL is plain or compressed: a compressed one is decoded tensor by tensor as it is used, or multiplied straight from "
           "the payload (--path), and --memory bounds how much stays decoded and packed. The text is printed as it is made. A model with a chat template answers the prompt, "
           "with --raw it continues it as it stands, as any other model does. --chat is a conversation: Ctrl-C ends an "
           "answer, between answers the program. Without --temperature the most probable token is "
           "taken each time; the same --seed gives the same text. With -v the speed is told.\n"
           "A model that speaks says --text into the file given by --output, as its generation_config.json and the options "
           "say; names of voices and languages are told when one is unknown.",
    .required = {OPT_NONE},
    .options = {OPT_PROMPT, OPT_CHAT, OPT_SYSTEM, OPT_RAW, OPT_MAX_TOKENS, OPT_MIN_TOKENS, OPT_CONTEXT, OPT_STOP, OPT_TEMPERATURE, OPT_TOP_K,
                OPT_TOP_P, OPT_MIN_P, OPT_REPETITION_PENALTY, OPT_SEED, OPT_SAY, OPT_SOUND, OPT_SPEAKER, OPT_LANGUAGE, OPT_INSTRUCT,
                OPT_REF_AUDIO, OPT_REF_TEXT, OPT_CODES_IN, OPT_CODES_OUT, OPT_SAMPLE_FORMAT, OPT_TEXT_LAYOUT, OPT_ONE_PIECE,
                OPT_GREEDY, OPT_SUB_TEMPERATURE, OPT_SUB_TOP_K, OPT_SUB_TOP_P, OPT_PATH, OPT_JOBS, OPT_MEMORY, OPT_PLUGIN_PATH, OPT_JSON,
                OPT_QUIET, OPT_VERBOSE, OPT_HELP, OPT_NONE},
    .examples = {{"tessera run ./my-model --prompt \"Once upon a time\"", "the most probable continuation"},
                 {"tessera run my-model.tsr -p \"A poem:\" --temperature 0.8 --top-p 0.95 --seed 7", "another text a seed"},
                 {"tessera run my-model.tsr --chat --system \"Answer in one sentence.\"", "a conversation"},
                 {"tessera run my-voice --text \"Hello there.\" --speaker vivian -o hello.wav", "speech"}},
    .run = run_run,
};
