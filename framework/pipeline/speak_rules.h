/* SPDX-License-Identifier: Apache-2.0
 *
 * How a model that speaks decides: the command line, then generation_config.json, then what the official code assumes. */
#ifndef PIPELINE_SPEAK_RULES_H
#define PIPELINE_SPEAK_RULES_H

#include "job_speak.h"

#include <model/speech_model.h>

/* *frames: the longest answer. TSR_E_INPUT names the member of the file that makes no sense. */
tsr_status speak_rules_read(const char *root, const struct speak_rules *asked, tsr_speech_rules *rules, uint64_t *frames,
                            tsr_error *err);

#endif
