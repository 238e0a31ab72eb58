/* SPDX-License-Identifier: Apache-2.0
 *
 * The user's side of a chat: messages from standard input, line by line. */
#ifndef CLI_CHAT_INPUT_H
#define CLI_CHAT_INPUT_H

#include "session.h"

#include <pipeline/job_run.h>

/* Zero-initialise all but session; release with chat_input_clear. */
struct chat_input {
    struct session *session;
    struct str bytes; /* read and not yet used */
    bool ended;
};
void chat_input_clear(struct chat_input *input);

/* The next message or wish (job_run_io.ask); TSR_E_CANCELLED when the user interrupts while we wait. */
tsr_status chat_input_ask(struct chat_input *input, struct str *message, enum job_run_wish *wish, tsr_error *err);
/* True when the chat goes on after a failure (job_run_io.failed): an answer was interrupted from the keyboard, or a
 * message of a person was not one that can be answered, which is told. */
bool chat_input_failed(struct chat_input *input, tsr_status st, const tsr_error *err);

#endif
