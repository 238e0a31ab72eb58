/* SPDX-License-Identifier: Apache-2.0
 *
 * Gates on models that speak, each with its verdict and figures: parity and rollout over codes, and the sound itself. */
#ifndef MEASURE_GATE_SPEECH_H
#define MEASURE_GATE_SPEECH_H

#include "gate_json.h"
#include "speech_sound.h"

#include <policy/gate_config.h>

struct gate_speech {
    struct open_model *reference; /* NULL: none */
    struct open_model *other;
    const struct tokenizer *tokenizer;
    const struct gate_config *gates;
    const char *text; /* where the gate's text lies */
    const struct env *env;
    tsr_error *err;
};

tsr_status gate_speech_parity(const struct gate_speech *g, struct gate_entry *entry);
tsr_status gate_speech_rollout(const struct gate_speech *g, struct gate_entry *entry);
tsr_status gate_speech_sound(const struct gate_speech *g, struct gate_entry *entry);

#endif
