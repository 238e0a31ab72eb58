/* SPDX-License-Identifier: Apache-2.0
 *
 * What a user can do with JOBS.yaml: plan, run, look, cancel, clear away. Like the jobs of job.h these print nothing;
 * docs/cli.md documents the results. [instance] per env. */
#ifndef BATCH_JOB_BATCH_H
#define BATCH_JOB_BATCH_H

#include <pipeline/job.h>

struct job_batch_options {
    const char *file;
    const char *engine;    /* "local" or "slurm" */
    uint64_t workers;      /* jobs that run at once; 0: as the file says, or one a processor */
    bool resume;           /* refuse a batch that has not begun */
    const char *program;   /* that understands `compress`; NULL: this one */
    const char *partition; /* of Slurm, or NULL */
};

/* One object a job; reads the sources, writes nothing. */
tsr_status job_batch_plan(const struct job_batch_options *options, const struct registry *registry,
                          const struct job_paths *paths, const struct env *env, json_t **result, tsr_error *err);
/* Runs what is not done. *result is set whenever the batch began, also when jobs failed: the status is then that of
 * the worst job. TSR_E_BUSY when another coordinator has the state. */
tsr_status job_batch_run(const struct job_batch_options *options, const struct job_paths *paths, const struct env *env,
                         json_t **result, tsr_error *err);
/* The same table from what is on disk, at any time. */
tsr_status job_batch_status(const struct job_batch_options *options, json_t **result, tsr_error *err);
/* Asks the coordinator to stop, waits until it has, and ends what a scheduler still holds. */
tsr_status job_batch_cancel(const struct job_batch_options *options, const struct env *env, json_t **result,
                            tsr_error *err);
/* Brings the store to its largest size and removes what ended runs left in the state. */
tsr_status job_batch_gc(const struct job_batch_options *options, const struct env *env, json_t **result, tsr_error *err);

#endif
