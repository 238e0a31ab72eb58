/* SPDX-License-Identifier: Apache-2.0
 *
 * From how a job's command ended to what became of the job: the reason, whether another attempt makes sense, and what a
 * person should do. The same for every engine. */
#ifndef BATCH_BATCH_SETTLE_H
#define BATCH_BATCH_SETTLE_H

#include "batch_process.h"
#include "batch_state.h"

#include <pipeline/job.h>

/* Which part of a job a command does. */
enum batch_cut { BATCH_WHOLE, BATCH_SHARD, BATCH_MERGE };
struct batch_share {
    enum batch_cut cut;
    uint64_t index; /* from 1, of a shard */
};

/* How it ended, as far as the engine knows. */
struct batch_ending {
    enum process_verdict verdict;
    int code, signal;
    double seconds;
    const char *reason, *message; /* what a scheduler said, instead of verdict, code and signal; or NULL */
};

/* Reads record and log of that share of the job and fills in the result: BATCH_DONE or BATCH_FAILED. *transient: it may go
 * well next time. [any] */
void batch_settle(const struct batch *batch, uint64_t job, const struct batch_share *share,
                  const struct batch_ending *ending, struct batch_result *result, bool *transient);
/* Adds what a share that is done cost to the job's figures. [any] */
void batch_add_share(const struct batch *batch, uint64_t job, const struct batch_share *share, struct batch_result *result);
/* What a person should do about a failure of this reason; "" when there is nothing to say. [any] */
const char *batch_hint(const char *reason);
/* Exit code of a whole batch: that of its worst job (docs/batch.md gives the order). [any] */
int batch_exit_code(const struct batch *batch, const struct batch_result *results);

/* Digest of everything about a job that its output depends on but the model's bytes. [any] */
void batch_definition(const struct batch_job *job, const struct job_paths *paths, char definition[DIGEST_HEX]);

/* Before the first attempt: done jobs of an equal definition whose output is still there stay done, all others wait. */
void batch_begin(const struct batch *batch, const struct job_paths *paths, struct batch_state *state);

/* The command of a job (NULL-terminated, arena memory of `arena`): compress with all that the batch says. `share` of a
 * shard or a merge, or NULL for the whole. NULL when memory is short. */
const char *const *batch_command(const struct batch *batch, uint64_t job, const struct batch_share *share,
                                 struct arena *arena);
/* Name of the record and log of a share: NAME, or NAME.shard-2. Arena memory, or NULL. */
const char *batch_share_name(const struct batch *batch, uint64_t job, const struct batch_share *share,
                             struct arena *arena);

#endif
