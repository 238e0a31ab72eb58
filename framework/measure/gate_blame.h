/* SPDX-License-Identifier: Apache-2.0
 *
 * Which role costs how much: the raw model is run with the decoded weights of one role at a time (leave one in). */
#ifndef MEASURE_GATE_BLAME_H
#define MEASURE_GATE_BLAME_H

#include "parity.h"

#include <reading/members.h>

#define BLAME_POSITIONS 2048 /* scored for each role */

/* Adds the list "by_role": [{"role", "kld", "top1", "tensors"}], the costliest first. `raw` and `compressed` are the models
 * of a finished parity run; `raw_path` is opened once more. Roles whose tensors are all exact are left out. */
struct blame {
    const char *raw_path;
    struct open_model *raw, *compressed;
    const struct registry *registry;
    const struct model_paths *paths;
    const struct token_run *documents;
    uint64_t document_count;
    struct parity_options options; /* positions are set here */
};
tsr_status gate_blame(const struct blame *blame, const struct env *env, struct members *members, tsr_error *err);

#endif
