/* SPDX-License-Identifier: Apache-2.0
 *
 * The engines: each brings the waiting jobs of a batch to an end and tells the state. What they share is who may start:
 * the highest priority first, nobody before those it needs. */
#ifndef BATCH_BATCH_RUN_H
#define BATCH_BATCH_RUN_H

#include "batch_settle.h"
#include "energy.h"

#include <base/env.h>

struct batch_run {
    const struct batch *batch;
    struct batch_state *state;
    const struct env *env;
    const char *program;   /* NULL: this one */
    const char *partition; /* or NULL */
    uint64_t workers, memory_bytes; /* 0: no limit */
    struct energy *energy;          /* of this machine; NULL when the jobs run elsewhere */
};

/* Processes of this machine, each in a group of its own. TSR_E_CANCELLED when it was asked to stop: the jobs were stopped too
 * and wait. */
tsr_status batch_run_local(const struct batch_run *run, tsr_error *err);

/* Job arrays of a Slurm. Jobs stay in its queue when the coordinator ends; the next one follows them. */
tsr_status batch_run_slurm(const struct batch_run *run, tsr_error *err);
/* Before and after a state whose tasks shall be known. TSR_E_NOMEM. */
tsr_status batch_follow_slurm(const struct batch *batch, struct batch_state *state, tsr_error *err);
void batch_forget_slurm(struct batch_state *state);
/* Ends whatever of this batch Slurm still has. */
tsr_status batch_cancel_slurm(const struct batch_run *run, tsr_error *err);

/* ---- shared by the engines ---- */

/* Jobs in the order in which they may start (mem_free), or NULL. */
uint64_t *batch_order(const struct batch *batch);
/* Blocks what needs a job that failed. */
tsr_status batch_block(const struct batch_run *run, tsr_error *err);
/* Writes the end of a job down and tells who listens. */
tsr_status batch_finish(const struct batch_run *run, uint64_t job, tsr_error *err);
bool batch_wants_stop(const struct batch_run *run);

#endif
