/* SPDX-License-Identifier: Apache-2.0
 *
 * Talks to a Slurm through its own commands: submit, list, ask, cancel. Knows nothing of batches. Commands are looked for in
 * PATH. A controller that does not answer is TSR_E_IO: it may come back. */
#ifndef BATCH_SLURM_H
#define BATCH_SLURM_H

#include <base/env.h>
#include <base/str.h>
#include <stdbool.h>

#define SLURM_ID_TEXT 24

struct slurm_request {
    const char *script; /* file */
    const char *name;
    const char *folder; /* in which it runs */
    uint64_t tasks;     /* array indexes 0..tasks-1 */
    uint64_t threads;
    uint64_t memory_bytes, wall_seconds; /* 0: the cluster's default */
    uint64_t nice;
    const char *dependency; /* "afterok:12_0:13_4", or NULL */
    const char *partition;  /* or NULL */
};

/* *id gets that of the array. TSR_E_CONFIG when Slurm refuses the request, TSR_E_IO when it does not answer. */
tsr_status slurm_submit(const struct slurm_request *request, const struct env *env, char id[SLURM_ID_TEXT],
                        tsr_error *err);

/* One waiting or running task of this user. */
struct slurm_line {
    const char *name, *id, *state, *reason;
    uint64_t index;
    bool running;
};
/* Calls take for each; strings live for the call only. */
tsr_status slurm_list(const struct env *env, void (*take)(void *ctx, const struct slurm_line *line), void *ctx,
                      tsr_error *err);

/* What Slurm still knows of a task that has left the queue ("12_3"): its state ("COMPLETED", "TIMEOUT" ...), "" when nothing; code
 * and signal. sacct is asked where scontrol has forgotten it. */
struct slurm_fate {
    char state[24];
    int code, signal;
};
tsr_status slurm_ask(const struct env *env, const char *id, struct slurm_fate *fate, tsr_error *err);

tsr_status slurm_cancel(const struct env *env, const char *id, tsr_error *err);
/* Lets a held task go. */
tsr_status slurm_release(const struct env *env, const char *id, tsr_error *err);
/* Most tasks of one array. */
uint64_t slurm_array_max(const struct env *env);

#endif
