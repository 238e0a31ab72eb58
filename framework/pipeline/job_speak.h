/* SPDX-License-Identifier: Apache-2.0
 *
 * run, for models that speak: text, or codes, to a sound. Part of what job.h says a user can have done; prints nothing
 * itself. */
#ifndef PIPELINE_JOB_SPEAK_H
#define PIPELINE_JOB_SPEAK_H

#include "job.h"

#include <format/wave.h>

enum speak_layout { SPEAK_USUAL, SPEAK_STREAMING, SPEAK_WHOLE_TEXT };

/* What the command line says of decisions; below 0: as generation_config.json says. */
struct speak_rules {
    double temperature, top_p, repetition_penalty;
    double rest_temperature, rest_top_p;
    int64_t top_k, rest_top_k, max_tokens;
    bool greedy;
    uint64_t seed;
};

struct job_speak_options {
    const char *model;
    const char *text, *instruct, *speaker, *language; /* text NULL: codes_in */
    const char *reference_audio, *reference_text;     /* voice clone; without the text by speaker vector alone */
    const char *codes_in, *codes_out;                 /* safetensors with codes [frames, groups] I32 */
    const char *output;                               /* .wav, .flac, or NULL */
    enum wave_encoding encoding;
    enum speak_layout layout;
    bool one_piece; /* the vocoder never starts anew */
    struct speak_rules rules;
};

struct job_speak_io {
    void *ctx;
    /* Samples as they are made, -1..1; NULL: nobody listens. */
    tsr_status (*samples)(void *ctx, const float *samples, uint64_t count, tsr_error *err);
};

/* The file named by output is whole or not there. *result is described in docs/cli.md, "run". */
tsr_status job_speak(const struct job_speak_options *options, const struct registry *registry, const struct job_paths *paths,
                     const struct env *env, const struct job_speak_io *io, json_t **result, tsr_error *err);

#endif
