/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera tokenize: ids of a text, text of ids, comparison with golden encodings. */
#include "commands.h"
#include "session.h"
#include "view.h"

#include <base/alloc.h>
#include <errno.h>
#include <model/tokenize.h>
#include <string.h>
#include <unistd.h>

#define INPUT_BYTES_MAX ((size_t)1 << 31)
#define SHOWN_MAX 400 /* bytes of a list or text in a difference */

static tsr_status read_input(struct str *text, tsr_error *err) {
    char buffer[65536];
    ssize_t got = 1;
    while (got) {
        got = read(STDIN_FILENO, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tsr_fail(err, TSR_E_IO, "standard input: %s", strerror(errno));
        str_add(text, buffer, (size_t)got);
        if (text->failed) return tsr_fail(err, TSR_E_NOMEM, "standard input: out of memory");
        if (text->length > INPUT_BYTES_MAX) return tsr_fail(err, TSR_E_LIMIT, "standard input: more than 2 GiB");
    }
    return TSR_OK;
}

static void show_ids(struct output *out, const json_t *result) {
    size_t i;
    json_t *id;
    json_array_foreach(json_object_get(result, "ids"), i, id) {
        str_add_format(&out->text, "%s%lld", i ? " " : "", (long long)json_integer_value(id));
    }
    str_add_text(&out->text, "\n");
}

/* Exactly the text: what stands in the ids is what comes out. */
static void show_text(struct output *out, const json_t *result) {
    const json_t *text = json_object_get(result, "text");
    str_add(&out->text, json_string_value(text), json_string_length(text));
}

static void show_value(struct output *out, const char *name, const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    size_t length = text ? strlen(text) : 0;
    str_add_format(&out->text, "  %-8s %.*s%s\n", name, SHOWN_MAX, text ? text : "", length > SHOWN_MAX ? "..." : "");
    mem_free(text);
}

static void show_golden(struct output *out, const json_t *result) {
    size_t i;
    json_t *difference;
    json_array_foreach(json_object_get(result, "differences"), i, difference) {
        str_add_format(&out->text, "line %llu: %s\n", (unsigned long long)field_count(difference, "line"),
                       field_text(difference, "what"));
        show_value(out, "expected", json_object_get(difference, "expected"));
        show_value(out, "found", json_object_get(difference, "found"));
    }
    if (!field_count(result, "differing")) {
        str_add_format(&out->text, "%llu lines, all equal\n", (unsigned long long)field_count(result, "lines"));
    }
}

static tsr_status run_golden(struct session *session, const char *model, tsr_error *err) {
    json_t *result = NULL;
    tsr_status status = job_tokenize_golden(model, session_value(session, OPT_GOLDEN), &result, err);
    /* Differences are a result too; the verdict stays. */
    if (result) {
        tsr_error view_err = {0};
        tsr_status viewed = view_result(session, result, show_golden, &view_err);
        if (viewed && !status) {
            status = viewed;
            if (err) *err = view_err;
        }
    }
    json_decref(result);
    return status;
}

static tsr_status run_text(struct session *session, const char *model, const char *text, size_t length,
                           tsr_error *err) {
    bool decode = session_has(session, OPT_DECODE), plain = session_has(session, OPT_NO_SPECIAL);
    json_t *result = NULL;
    tsr_status status = decode ? job_detokenize(model, text, length, plain, &result, err)
                               : job_tokenize(model, text, length, !plain, &result, err);
    if (!status) status = view_result(session, result, decode ? show_text : show_ids, err);
    json_decref(result);
    return status;
}

static tsr_status tokenize_run(struct session *session, tsr_error *err) {
    const char *model = session->arguments.operands[0], *given = session_value(session, OPT_PLAIN_TEXT);
    struct str input = {0};
    tsr_status status = session_open(session, err);
    if (!status && session_has(session, OPT_GOLDEN)) {
        if (given || session_has(session, OPT_DECODE) || session_has(session, OPT_NO_SPECIAL)) {
            return tsr_fail(err, TSR_E_CONFIG, "--golden goes without --text, --decode and --no-special");
        }
        return run_golden(session, model, err);
    }
    if (!status && !given) status = read_input(&input, err);
    const char *text = given ? given : input.length ? input.text : "";
    if (!status) status = run_text(session, model, text, given ? strlen(given) : input.length, err);
    str_clear(&input);
    return status;
}

const struct command COMMAND_TOKENIZE = {
    .name = "tokenize",
    .operands = "MODEL",
    .operand_min = 1,
    .operand_max = 1,
    .summary = "turn text into token ids and back",
    .doc =
        "MODEL is a folder with tokenizer.json (or vocab.json and merges.txt), or the file itself. The text comes from "
        "standard input, line ends included, or from --text; its ids are printed in one line. --golden compares with "
        "the encodings of another implementation, prints the first differences, and ends with 3 if there are any.",
    .options = {OPT_PLAIN_TEXT, OPT_NO_SPECIAL, OPT_DECODE, OPT_GOLDEN, OPT_JSON, OPT_QUIET, OPT_VERBOSE, OPT_HELP,
                OPT_NONE},
    .examples = {{"tessera tokenize my-model --text \"Hello\"", "ids, special tokens around them"},
                 {"echo 1 2 3 | tessera tokenize my-model --decode", "the text of three ids"},
                 {"tessera tokenize my-model --golden golden.jsonl", "is this tokenizer the same as theirs?"}},
    .run = tokenize_run,
};
