/* SPDX-License-Identifier: Apache-2.0
 *
 * Is the ruler straight? Beside a parity gate two inputs are run whose answer is known: the raw model against itself, and the
 * raw model with the weights of its layers moved on by one, which no threshold may accept. A gate that gets one of them wrong
 * proves nothing, whatever it found about the output. */
#ifndef MEASURE_GATE_CONTROLS_H
#define MEASURE_GATE_CONTROLS_H

#include "parity.h"

#include <reading/members.h>

#define CONTROL_POSITIONS 1024

struct controls {
    const char *raw_path; /* opened once more */
    struct open_model *raw;
    const struct registry *registry;
    const struct model_paths *paths;
    const struct token_run *documents;
    uint64_t document_count;
    struct parity_options options; /* positions are set here */
    double min_top1, max_kld;      /* of the gate; 0 and below 0: not asked */
    double output_kld;             /* of what the gate measured: the measure where nothing was asked */
};

/* Adds the list "controls": [{"control", "expected", "found", "top1", "kld", "ok"}]. *wrong names the first that is not ok, or is NULL. A
 * model of one layer has no second control. */
tsr_status gate_controls(const struct controls *controls, const struct env *env, struct members *members, const char **wrong,
                         tsr_error *err);

#endif
