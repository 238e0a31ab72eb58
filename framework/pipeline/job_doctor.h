/* SPDX-License-Identifier: Apache-2.0
 *
 * Is this installation whole, and what does this machine give it. */
#ifndef PIPELINE_JOB_DOCTOR_H
#define PIPELINE_JOB_DOCTOR_H

#include "job.h"

struct job_doctor_options {
    const char *plugin_path;         /* folder that is searched first, or NULL */
    const struct registry *registry; /* NULL when plugins could not be loaded at all */
    const char *registry_failure;    /* why, then */
};

/* *result: docs/cli.md, "doctor". Problems are no failure of the job: "ok" in the result says whether there are any. */
tsr_status job_doctor(const struct job_doctor_options *options, const struct job_paths *paths, const struct env *env,
                      json_t **result, tsr_error *err);

#endif
