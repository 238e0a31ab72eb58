/* SPDX-License-Identifier: Apache-2.0
 *
 * Settles a budget by measuring (docs/budget.md): outputs are made beside OUT and compared with the model on a text. Where
 * size is limited, bits divided by importance compete with the same bits for all at equal bytes, and the better one is
 * kept; where quality is, the fewest bits are searched at which its confidence bound holds. What was encoded on the way stays in
 * a store, so that the job proper takes it from there. */
#ifndef PIPELINE_BUDGET_H
#define PIPELINE_BUDGET_H

#include "job.h"

#include <policy/plan.h>
#include <reading/members.h>

struct budget_search {
    const struct job_compress_options *options; /* of the job */
    const struct config *config;
    const struct plan *plan; /* a first one, with what it says of the budget */
    const struct registry *registry;
    const struct job_paths *paths;
    const struct env *env;
    const char *folder; /* that probes may fill */
    const char *store;  /* of encoded tensors */
    const char *text;
};

/* *probes: list of what was measured. TSR_E_GATE when nothing within reach keeps to the budget. */
tsr_status budget_search(const struct budget_search *search, struct plan_allocation *found, json_t **probes,
                         tsr_error *err);

/* Member "budget" of a receipt or a plan: null without one. `probes` may be NULL. */
void budget_tell(struct members *members, const struct config *config, const struct plan *plan, const json_t *probes);
/* The allocation that such a member records; TSR_E_INPUT when it is none. */
tsr_status budget_read(const json_t *member, struct plan_allocation *allocation, tsr_error *err);

#endif
