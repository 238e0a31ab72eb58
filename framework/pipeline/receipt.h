/* SPDX-License-Identifier: Apache-2.0
 *
 * tessera.json: what was done to which bytes and what came of it. The same on every machine and for any number of
 * workers or interruptions; everything that is not stands in tessera.run.json. Members: docs/cli.md. */
#ifndef PIPELINE_RECEIPT_H
#define PIPELINE_RECEIPT_H

#include "manifest.h"
#include "statistics.h"

#include <measure/compare.h>

#define RECEIPT_VERSION "1"

struct receipt_input {
    const struct checkpoint *checkpoint;
    const struct config *config;
    const struct plan *plan;
    const struct layout *layout;
    const struct source_facts *facts;
    const struct outcome *outcomes;
    const char *staged; /* folder whose files are listed */
    json_t *gates;      /* result of the gates, or NULL when the config asks for none */
    const struct statistics *statistics;
    const json_t *probes; /* that settled the budget, or NULL */
};

tsr_status receipt_make(const struct receipt_input *input, json_t **receipt, tsr_error *err);

/* Facts of this run. */
struct run_facts {
    double seconds_plan, seconds_encode, seconds_assemble, seconds_verify, seconds_gate;
    uint64_t workers, runs, reused_parts;
    uint64_t encoded_bytes, stored_bytes; /* source bytes that were encoded, and that a store had */
    int64_t started; /* seconds since 1970 */
};
tsr_status receipt_run(const struct run_facts *facts, json_t **run, tsr_error *err);

#endif
