/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs gates on what is on disk (docs/gates.md). compress calls this in a process of its own on the staged folder; `tessera
 * gate` runs the same on a finished output. */
#ifndef PIPELINE_JOB_GATE_H
#define PIPELINE_JOB_GATE_H

#include "job.h"

#include <measure/parity_kept.h>
#include <model/model_path.h>
#include <policy/gate_config.h>

struct job_gate_options {
    const char *output;    /* compressed or raw checkpoint under test */
    const char *reference; /* raw model it came from; NULL: parity becomes perplexity alone */
    const char *config;    /* its `gates`; a file or profile name, or NULL */
    struct gate_config gates; /* what the command line gave; used when `config` is NULL */
    enum model_path path;  /* of the output */
    bool controls;         /* parity also runs what it must accept and what it must refuse */
    bool weights_differ;   /* known: tensors need not be compared to see whether parity is implied */
    struct parity_kept *kept; /* what the reference says of the text, for the next output; NULL: it is not kept */
    const char *base;      /* folder that relative texts are looked for in first, or NULL */
};

/* *result: {"verdict", "gates": [{"gate", "verdict", "reason", ...figures}]}. TSR_E_GATE when the verdict is not PASS; err
 * says which gate and why. *result is set then too. */
tsr_status job_gate(const struct job_gate_options *options, const struct registry *registry, const struct job_paths *paths,
                    const struct env *env, json_t **result, tsr_error *err);

#endif
