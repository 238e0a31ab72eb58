/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera help: the same text as --help; with the hidden --man and --completion what `make install` installs. */
#include "commands.h"
#include "help.h"
#include "session.h"

#include <string.h>

static tsr_status help_run(struct session *session, tsr_error *err) {
    struct str *out = &session->output.text;
    const char *man = session_value(session, OPT_MAN), *shell = session_value(session, OPT_COMPLETION);
    const char *name = man && strcmp(man, "tessera") != 0 ? man : session->arguments.operands[0];
    const struct command *command = name ? command_find(name, err) : NULL;
    if (name && !command) return TSR_E_CONFIG;
    if (man) {
        help_man(out, command);
    } else if (shell && !help_completion(out, shell)) {
        return tsr_fail(err, TSR_E_CONFIG, "--completion: \"%.40s\" is none of bash, zsh, fish", shell);
    } else if (command) {
        help_command(out, command, session->output.bold);
    } else if (!shell) {
        help_program(out, session->output.bold);
    }
    return TSR_OK;
}

const struct command COMMAND_HELP = {
    .name = "help",
    .operands = "[COMMAND]",
    .operand_max = 1,
    .summary = "explain a command",
    .doc = "Prints what --help of the command prints, or the list of commands.",
    .options = {OPT_HELP, OPT_MAN, OPT_COMPLETION, OPT_NONE},
    .examples = {{"tessera help compress", "options and examples of compress"}},
    .run = help_run,
};
