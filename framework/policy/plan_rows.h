/* SPDX-License-Identifier: Apache-2.0
 *
 * A look at every row of a tensor, for the solver. */
#ifndef POLICY_PLAN_ROWS_H
#define POLICY_PLAN_ROWS_H

#include "plan_parts.h"

struct row_look {
    float *log_rms;  /* [rows], log2; -infinity for a row of zeros; owned */
    double deficit;  /* bits by which the values, divided by their row's RMS, are easier to code than Gaussian ones, 0..1 */
};

/* Zero-initialise `look`; row_look_clear in any case. [any] */
tsr_status row_look_take(const struct planner *planner, const struct plan_entry *entry, struct row_look *look,
                         tsr_error *err);
void row_look_clear(struct row_look *look);

#endif
