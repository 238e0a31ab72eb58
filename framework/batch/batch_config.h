/* SPDX-License-Identifier: Apache-2.0
 *
 * JOBS.yaml: models x configs with defaults and overrides, expanded into a plain list of jobs. Strict like every config:
 * file, line, column and the nearest name. Looks at no model; docs/batch.md documents the keys. */
#ifndef BATCH_BATCH_CONFIG_H
#define BATCH_BATCH_CONFIG_H

#include <base/arena.h>
#include <stdbool.h>
#include <tessera/status.h>

#define BATCH_JOBS_MAX 100000

struct batch_job {
    const char *name;   /* unique; letters, digits, '.', '_', '-' */
    const char *model;
    const char *config; /* file or profile; NULL: lossless */
    const char *output;
    const char *plugin_path, *roles_path; /* or NULL */
    uint32_t line, column;                /* of its entry */
    uint64_t memory_bytes;                /* 0: not declared */
    uint64_t threads, shards;
    uint64_t wall_seconds, idle_seconds; /* 0: no limit */
    uint64_t retries;
    uint64_t max_shard_bytes;
    int64_t priority;
    bool force;
    uint64_t *needs; /* indexes of jobs that must be done before */
    uint64_t need_count;
};

struct batch {
    struct arena arena;
    const char *path;   /* of the file */
    const char *state;  /* folder */
    const char *store;  /* folder, or NULL */
    uint64_t store_max_bytes;  /* 0: no limit */
    uint64_t workers, memory_bytes; /* of all jobs together; 0: not said */
    uint64_t retry_milliseconds;    /* before the first retry; doubles */
    bool stop_on_failure;
    struct batch_job *jobs;
    uint64_t count;
};

/* Zero-initialise; batch_close in any case. TSR_E_CONFIG. */
tsr_status batch_load(const char *path, struct batch *batch, tsr_error *err);
void batch_close(struct batch *batch);

/* What a job asks of memory: declared, or what a run with so many threads takes. [any] */
uint64_t batch_footprint(const struct batch_job *job);

#endif
