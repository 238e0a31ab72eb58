/* SPDX-License-Identifier: Apache-2.0
 *
 * The gates of a job, run in a fresh process on the staged folder: nothing that encoding left in memory can help them.
 */
#ifndef PIPELINE_GATE_PROCESS_H
#define PIPELINE_GATE_PROCESS_H

#include <base/env.h>
#include <jansson.h>

struct gate_process {
    const char *program;     /* that understands `gate`; NULL: this one */
    const char *staged;      /* folder under test */
    const char *model;       /* reference */
    const char *config;      /* as the user named it */
    const char *plugin_path; /* or NULL */
    uint64_t workers;
};

/* *result is what `gate --json` printed, also with TSR_E_GATE. */
tsr_status gate_process_run(const struct gate_process *process, const struct env *env, json_t **result, tsr_error *err);

#endif
