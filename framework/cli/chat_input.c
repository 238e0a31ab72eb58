/* SPDX-License-Identifier: Apache-2.0
 *
 * Waits with poll(2) and a short timeout: a signal may be delivered to a worker's thread, and then nothing but the stop
 * flag tells of it. */
#include "chat_input.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MILLISECONDS 100
#define LINE_BYTES_MAX ((size_t)16 << 20)
#define PROMPT "> "
#define PROMPT_CONTINUED ". "

void chat_input_clear(struct chat_input *input) {
    str_clear(&input->bytes);
}

static bool is_person(void) {
    return isatty(STDIN_FILENO) == 1;
}

static void show_prompt(const struct chat_input *input, const char *prompt) {
    if (is_person() && !session_has(input->session, OPT_QUIET)) console_text(&input->session->console, prompt);
}

static tsr_status read_more(struct chat_input *input, tsr_error *err) {
    struct pollfd ready = {.fd = STDIN_FILENO, .events = POLLIN};
    char buffer[4096];
    ssize_t got = -1;
    while (got < 0) {
        if (env_cancelled(&input->session->env)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
        if (poll(&ready, 1, WAIT_MILLISECONDS) <= 0) continue;
        got = read(STDIN_FILENO, buffer, sizeof buffer);
        if (got < 0 && errno != EINTR) return tsr_fail(err, TSR_E_IO, "standard input: %s", strerror(errno));
    }
    input->ended = got == 0;
    str_add(&input->bytes, buffer, (size_t)got);
    if (input->bytes.failed) return tsr_fail(err, TSR_E_NOMEM, "standard input: out of memory");
    if (input->bytes.length > LINE_BYTES_MAX) {
        return tsr_fail(err, TSR_E_LIMIT, "standard input: a line of more than %zu bytes", LINE_BYTES_MAX);
    }
    return TSR_OK;
}

/* Appends the next line without its end. False when there is none. */
static bool take_line(struct chat_input *input, struct str *line) {
    struct str *bytes = &input->bytes;
    char *end = bytes->length ? memchr(bytes->text, '\n', bytes->length) : NULL;
    if (!end && !(input->ended && bytes->length)) return false;
    size_t length = end ? (size_t)(end - bytes->text) : bytes->length, used = length + (end != NULL);
    bool carriage = length && bytes->text[length - 1] == '\r';
    str_add(line, bytes->text, length - carriage);
    memmove(bytes->text, bytes->text + used, bytes->length - used);
    str_truncate(bytes, bytes->length - used);
    return true;
}

/* A line, with those that a backslash at its end joins to it. `wish` becomes JOB_RUN_END when the input is over. */
static tsr_status read_line(struct chat_input *input, struct str *line, enum job_run_wish *wish, tsr_error *err) {
    show_prompt(input, PROMPT);
    for (;;) {
        if (take_line(input, line)) {
            if (!line->length || line->text[line->length - 1] != '\\') return TSR_OK;
            line->text[line->length - 1] = '\n';
            show_prompt(input, PROMPT_CONTINUED);
        } else if (input->ended) {
            if (!line->length) *wish = JOB_RUN_END;
            show_prompt(input, "\n");
            return TSR_OK;
        } else {
            tsr_status st = read_more(input, err);
            if (st != TSR_OK) show_prompt(input, "\n");
            if (st != TSR_OK) return st;
        }
    }
}

static bool is_blank(const char *text) {
    return text[strspn(text, " \t\n\r")] == 0;
}

tsr_status chat_input_ask(struct chat_input *input, struct str *message, enum job_run_wish *wish, tsr_error *err) {
    *wish = JOB_RUN_MESSAGE;
    for (;;) {
        str_truncate(message, 0);
        tsr_status st = read_line(input, message, wish, err);
        const char *text = message->text;
        if (st != TSR_OK || *wish == JOB_RUN_END || message->failed) return st;
        if (!text || is_blank(text)) continue;
        if (memchr(text, 0, message->length)) return tsr_fail(err, TSR_E_INPUT, "standard input: a NUL in a message");
        if (*text != '/') return TSR_OK;
        if (!strcmp(text, "/exit")) *wish = JOB_RUN_END;
        if (!strcmp(text, "/reset")) *wish = JOB_RUN_RESET;
        if (*wish != JOB_RUN_MESSAGE) return TSR_OK;
        if (text[1] == '/') {
            memmove(message->text, text + 1, message->length);
            str_truncate(message, message->length - 1);
            return TSR_OK;
        }
        console_log(&input->session->console, TSR_LOG_WARNING,
                    "commands are /exit and /reset; a message that begins with / is written with two");
    }
}

bool chat_input_failed(struct chat_input *input, tsr_status st, const tsr_error *err) {
    if (st == TSR_E_CANCELLED) return session_resume(input->session);
    if (!is_person() || (st != TSR_E_LIMIT && st != TSR_E_INPUT)) return false;
    console_log(&input->session->console, TSR_LOG_WARNING, err->message);
    return true;
}
