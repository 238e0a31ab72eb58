/* SPDX-License-Identifier: Apache-2.0
 *
 * Measurements of the gates as JSON members (docs/cli.md, "gate"). Figures are rounded to seven significant digits, so that
 * equal results print equally. */
#ifndef MEASURE_GATE_JSON_H
#define MEASURE_GATE_JSON_H

#include "chain.h"
#include "gate_reference.h"
#include "gate_text.h"
#include "parity.h"
#include "rollout.h"
#include "speech_reference.h"

#include <reading/members.h>

/* One gate's object being built: name, verdict and reason are set at its end. */
struct gate_entry {
    struct members members;
    enum verdict verdict;
    char reason[TSR_ERROR_TEXT];
};

struct gate_entry gate_entry_begin(const char *gate);
void gate_entry_end(struct members *list, struct gate_entry *entry);
/* Sets verdict and reason. */
void gate_entry_say(struct gate_entry *entry, enum verdict verdict, const char *format, ...) TSR_PRINTF(3, 4);

void gate_json_number(struct members *members, const char *key, double value);
void gate_json_judgement(struct members *members, const char *key, const struct judgement *judgement, double confidence);
void gate_json_parity(struct members *members, const struct parity_result *result, const struct gate_text *text,
                      const struct tokenizer *tokenizer);
void gate_json_rollout(struct members *members, const struct rollout_result *result);
void gate_json_reference(struct members *members, const struct reference_result *result);
void gate_json_speech_reference(struct members *members, const struct speech_reference_result *result);
void gate_json_chain(struct members *members, const struct chain_result *result);

#endif
