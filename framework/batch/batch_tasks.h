/* SPDX-License-Identifier: Apache-2.0
 *
 * The tasks of a batch on a scheduler: one a job, or one a shard and a merge. Each is known by array and index, which
 * stand in the ledger before anything is submitted: so a task is found again whatever ended the coordinator. */
#ifndef BATCH_BATCH_TASKS_H
#define BATCH_BATCH_TASKS_H

#include "batch_settle.h"
#include "slurm.h"

enum task_phase { TASK_NEW, TASK_SENT, TASK_DONE };

struct batch_task {
    uint64_t job;
    struct batch_share share;
    enum task_phase phase;
    uint64_t array, index;      /* once sent */
    char id[SLURM_ID_TEXT];     /* "12_3", once known */
    bool seen, held;            /* in the newest list of the queue; by Slurm itself, after a launch that failed */
    uint64_t releases;          /* how often it was let go again */
    uint64_t misses;            /* lists without it since */
};

struct batch_tasks {
    const struct batch *batch;
    struct batch_task *items; /* those of a job stand together, its last one finishes it */
    uint64_t count;
    uint64_t *first;   /* [batch->count + 1] */
    uint64_t arrays;   /* numbers that were given */
    char prefix[48];   /* of the names of our arrays: "tessera-DIGEST-" */
};

tsr_status batch_tasks_make(const struct batch *batch, struct batch_tasks **tasks, tsr_error *err);
void batch_tasks_destroy(struct batch_tasks *tasks);

/* What the ledger says of one; NULL: the job has ended. */
void batch_tasks_take(void *ctx, uint64_t job, const json_t *said);
/* The line of the ledger. */
json_t *batch_task_json(const struct batch_task *task);

/* The task that finishes a job. */
struct batch_task *batch_tasks_last(const struct batch_tasks *tasks, uint64_t job);

/* A script for these tasks (indexes into items), one case each; in fresh memory (mem_free), or NULL. */
char *batch_tasks_script(const struct batch_tasks *tasks, const uint64_t *chosen, uint64_t count, const char *program);

#endif
