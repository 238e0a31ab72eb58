/* SPDX-License-Identifier: Apache-2.0
 *
 * run: text from a model, raw or compressed. Part of what job.h says a user can have done; prints nothing itself. */
#ifndef PIPELINE_JOB_RUN_H
#define PIPELINE_JOB_RUN_H

#include "job.h"

#include <model/generate.h>
#include <model/model_path.h>

struct job_run_options {
    const char *model;
    const char *prompt; /* NULL, in a chat only: the first message is asked for */
    const char *system; /* system message; NULL: that of the chat template */
    bool raw;           /* the prompt as it stands, no chat template */
    bool chat;          /* messages and answers until nobody asks any more */
    struct sampling sampling;
    uint64_t max_tokens, min_tokens; /* of an answer */
    uint64_t context; /* tokens of the whole text; 0: what is needed, in a chat 4096, at most the model's */
    const char *const *stops;
    uint64_t stop_count;
    enum model_path path; /* of a compressed model */
};

enum job_run_wish { JOB_RUN_MESSAGE, JOB_RUN_RESET, JOB_RUN_END };

/* Who gets the text. */
struct job_run_io {
    void *ctx;
    generate_sink text; /* NULL: nobody listens */
    /* An answer is complete, or was interrupted behind some text. NULL: nobody cares. */
    tsr_status (*answered)(void *ctx, tsr_error *err);
    /* What comes next in a chat; `message` is empty before, and holds the next one for JOB_RUN_MESSAGE. */
    tsr_status (*ask)(void *ctx, struct str *message, enum job_run_wish *wish, tsr_error *err);
    /* A message could not be answered (TSR_E_CANCELLED: its answer was interrupted). True: the chat goes on. */
    bool (*failed)(void *ctx, tsr_status st, const tsr_error *err);
};

/* env->memory_bytes bounds what of a compressed model stays decoded. *result describes the last answer. */
tsr_status job_run(const struct job_run_options *options, const struct registry *registry,
                   const struct job_paths *paths, const struct env *env, const struct job_run_io *io, json_t **result,
                   tsr_error *err);

#endif
