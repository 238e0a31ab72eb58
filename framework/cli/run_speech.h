/* SPDX-License-Identifier: Apache-2.0
 *
 * The half of tessera run that speaks. */
#ifndef CLI_RUN_SPEECH_H
#define CLI_RUN_SPEECH_H

#include "session.h"

/* True when the options ask for a sound rather than for text. */
bool run_speech_wanted(const struct session *session);
tsr_status run_speech(struct session *session, tsr_error *err);

#endif
