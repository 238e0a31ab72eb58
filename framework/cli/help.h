/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything that describes the program, made from the tables of options.h: --help, man pages, completions. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "options.h"

#include <base/str.h>

void help_program(struct str *out, bool bold);
void help_command(struct str *out, const struct command *command, bool bold);
/* Page "tessera" (command NULL) or "tessera-COMMAND" in man(7) macros. */
void help_man(struct str *out, const struct command *command);
/* "bash", "zsh" or "fish". False for any other shell. */
bool help_completion(struct str *out, const char *shell);

#endif
