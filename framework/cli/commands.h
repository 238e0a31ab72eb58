/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands, one source file each. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "options.h"

extern const struct command COMMAND_INSPECT;
extern const struct command COMMAND_PLAN;
extern const struct command COMMAND_COMPRESS;
extern const struct command COMMAND_BATCH;
extern const struct command COMMAND_VERIFY;
extern const struct command COMMAND_DECOMPRESS;
extern const struct command COMMAND_DIFF;
extern const struct command COMMAND_GATE;
extern const struct command COMMAND_RUN;
extern const struct command COMMAND_CALIBRATE;
extern const struct command COMMAND_REPORT;
extern const struct command COMMAND_PLUGIN;
extern const struct command COMMAND_TOKENIZE;
extern const struct command COMMAND_SEARCH;
extern const struct command COMMAND_DOCTOR;
extern const struct command COMMAND_INIT;
extern const struct command COMMAND_HELP;

#endif
