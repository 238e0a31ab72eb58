/* SPDX-License-Identifier: Apache-2.0
 *
 * A config to start from, made for one model: its own roles, with their sizes, and what has none. */
#ifndef PIPELINE_JOB_INIT_H
#define PIPELINE_JOB_INIT_H

#include "job.h"

/* The text of the config in fresh memory (mem_free). It plans without an error or a rule that takes nothing. Reads headers
 * only, no weights. */
tsr_status job_init(const char *model, const struct registry *registry, const struct job_paths *paths, const struct env *env,
                    char **text, tsr_error *err);

#endif
