/* SPDX-License-Identifier: Apache-2.0
 *
 * Final states of a reference where a text is scored, kept from one parity run for the next: of several outputs that are
 * compared with one reference on one text, only the first has to run it. */
#ifndef MEASURE_PARITY_KEPT_H
#define MEASURE_PARITY_KEPT_H

#include "parity.h"

#include <base/digest.h>

#define PARITY_KEPT_BYTES ((uint64_t)256 << 20) /* a text that needs more is read by the reference each time */

/* Zero-initialise; clear in any case. One reference each: whose states these are, nothing here can tell. */
struct parity_kept {
    struct digest text; /* of tokens, windows and what is scored */
    float *states;      /* [tokens][width] */
    uint64_t width, tokens, capacity;
    uint64_t at;        /* tokens that have been read again */
    bool whole;         /* the last run was kept to its end */
    bool dropped;       /* it is too long */
};

/* Before a run: reads again what was kept of the same text, or forgets it. */
tsr_status parity_kept_begin(struct parity_kept *kept, const struct token_run *documents, uint64_t count,
                             const struct parity_options *options, tsr_error *err);
/* The next states of a run that is kept. */
tsr_status parity_kept_add(struct parity_kept *kept, const float *states, uint64_t tokens, uint64_t width, tsr_error *err);
/* The next states of a run that was kept. */
const float *parity_kept_next(struct parity_kept *kept, uint64_t tokens);
/* Behind a run that came to its end. */
void parity_kept_end(struct parity_kept *kept);
void parity_kept_clear(struct parity_kept *kept);

#endif
