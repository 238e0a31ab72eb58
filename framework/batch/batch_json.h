/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of a batch as the JSON that `batch run --json` and `batch status --json` print (docs/cli.md). */
#ifndef BATCH_BATCH_JSON_H
#define BATCH_BATCH_JSON_H

#include "batch_state.h"

/* `running`: a coordinator has it now. */
tsr_status batch_json_make(const struct batch *batch, const struct batch_state *state, bool running, json_t **result,
                           tsr_error *err);
/* The same table as a page (page.h), in fresh memory (mem_free): links lead to each job's receipt and log. */
tsr_status batch_page_make(const json_t *result, char **text, tsr_error *err);

#endif
