/* SPDX-License-Identifier: Apache-2.0
 *
 * run: text from a model, raw or compressed. Part of what job.h says a user can have done; prints nothing itself. */
#ifndef PIPELINE_JOB_RUN_H
#define PIPELINE_JOB_RUN_H

#include "generate.h"
#include "job.h"

struct job_run_options {
    const char *model;
    const char *prompt;
    bool raw;           /* the prompt as it stands, no chat template */
    struct sampling sampling;
    uint64_t max_tokens;
    const char *const *stops;
    uint64_t stop_count;
};

/* Who gets the text. */
struct job_run_io {
    void *ctx;
    generate_sink text; /* NULL: nobody listens */
    /* An answer is complete. NULL: nobody cares. */
    tsr_status (*answered)(void *ctx, tsr_error *err);
};

/* env->memory_bytes bounds what of a compressed model stays decoded. *result describes the last answer. */
tsr_status job_run(const struct job_run_options *options, const struct registry *registry, const struct job_paths *paths,
                   const struct env *env, const struct job_run_io *io, json_t **result, tsr_error *err);

#endif
