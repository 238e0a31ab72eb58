/* SPDX-License-Identifier: Apache-2.0
 *
 * calibrate: what the inputs of a model's linear operators look like on a text, as second moments, and how much the model's
 * answer depends on their outputs, for encoders that weigh errors by what they do. docs/stats.md describes the file.
 *
 * Memory: one layer with its matrices at a time, within env->memory_bytes (default 1 GiB; calibrate_memory.h). What is
 * finished is kept in OUTPUT.tessera-work, so that the same command continues after any kind of end. Bytes of the result
 * depend neither on memory nor on workers nor on interruptions. */
#ifndef PIPELINE_CALIBRATE_H
#define PIPELINE_CALIBRATE_H

#include "job.h"

#include <measure/parity.h>
#include <model/model_open.h>

#define CALIBRATE_MEMORY ((uint64_t)1 << 30)
#define CALIBRATE_WINDOW 512
#define CALIBRATE_FULL_MAX 4096
#define CALIBRATE_FISHER_TOKENS 8192

struct calibrate_options {
    uint64_t window;   /* tokens of a window, which sees nothing of the others; 0: CALIBRATE_WINDOW or the context */
    uint64_t full_max; /* widest input whose whole matrix is kept; 0: none is */
    uint64_t fisher_tokens; /* of windows that are read backwards too, at least; 0: none are */
    uint64_t seed;          /* of the labels */
    struct digest text;     /* of the text's bytes, for the record */
};

struct calibrate_result {
    uint64_t tokens, windows, tensors, full, passes, resumed;
    uint64_t fisher_tokens, fisher_tensors;
    uint64_t dead_columns; /* that never had an input */
    uint64_t narrow;       /* weights that saw fewer tokens than they have columns, */
    uint64_t unreached;    /* and among them those that saw none: experts that nobody chose */
    char fisher_missing[TSR_ERROR_TEXT]; /* why there are no Fisher values; empty when there are, or none were wanted */
};

/* `text` is one document. TSR_E_INPUT when it has no token. Cancelling keeps the finished passes. */
tsr_status calibrate_run(struct open_model *model, const struct token_run *text, const struct calibrate_options *options,
                         const char *output, const struct env *env, struct calibrate_result *result, tsr_error *err);

/* The command: text file in, statistics out. `force` replaces an existing output. */
struct job_calibrate_options {
    const char *model, *text, *output;
    uint64_t window, full_max, fisher_tokens, seed;
    bool force;
};
tsr_status job_calibrate(const struct job_calibrate_options *options, const struct registry *registry,
                         const struct job_paths *paths, const struct env *env, json_t **result, tsr_error *err);

#endif
