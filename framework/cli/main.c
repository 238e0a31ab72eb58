/* SPDX-License-Identifier: Apache-2.0
 *
 * The program: a table of commands, and the one place where a status becomes an exit code. */
#include "commands.h"
#include "help.h"
#include "session.h"

#include <base/alloc.h>
#include <base/error.h>
#include <string.h>
#include <tessera/version.h>

const struct command *const COMMANDS[] = {
    &COMMAND_INSPECT, &COMMAND_PLAN,   &COMMAND_COMPRESS, &COMMAND_VERIFY,    &COMMAND_DECOMPRESS,
    &COMMAND_DIFF,    &COMMAND_GATE,   &COMMAND_REPORT,   &COMMAND_RUN,       &COMMAND_CALIBRATE,
    &COMMAND_BATCH,   &COMMAND_SEARCH, &COMMAND_PLUGIN,   &COMMAND_TOKENIZE, &COMMAND_INIT,
    &COMMAND_DOCTOR,  &COMMAND_HELP,   NULL,
};

static tsr_status run_command(struct session *session, const struct command *command, char *const *words,
                              tsr_error *err) {
    tsr_status status = arguments_parse(command, words, &session->arguments, err);
    if (status) {
        session->hint = arena_format(&session->arena, "tessera %s --help tells more", command->name);
        return status;
    }
    if (session_has(session, OPT_HELP)) {
        help_command(&session->output.text, command, session->output.bold);
        return TSR_OK;
    }
    return command->run(session, err);
}

static tsr_status run_words(struct session *session, char *const *words, tsr_error *err) {
    const char *first = words[0];
    if (!first) {
        session->hint = "tessera --help lists the commands";
        return tsr_fail(err, TSR_E_CONFIG, "a command is needed");
    }
    if (!strcmp(first, "--version") || !strcmp(first, "-V")) {
        str_add_format(&session->output.text, "tessera %s\n", TSR_VERSION);
        return TSR_OK;
    }
    if (!strcmp(first, "--help") || !strcmp(first, "-h")) {
        help_program(&session->output.text, session->output.bold);
        return TSR_OK;
    }
    const struct command *command = command_find(first, err);
    if (command) return run_command(session, command, words + 1, err);
    session->hint = "tessera --help lists the commands";
    return TSR_E_CONFIG;
}

int main(int argc, char **argv) {
    struct session session;
    tsr_error err = {0};
    mem_setup();
    session_init(&session);
    tsr_status status = run_words(&session, argc > 0 ? argv + 1 : argv, &err);
    console_settle(&session.console);
    if (status) console_error(&session.console, err.message, session.hint);
    tsr_error out_err = {0};
    tsr_status flushed = output_flush(&session.output, &out_err);
    if (flushed && !status) {
        console_error(&session.console, out_err.message, NULL);
        status = flushed;
    }
    session_destroy(&session);
    return status ? error_exit_code(status) : session.exit_code;
}
