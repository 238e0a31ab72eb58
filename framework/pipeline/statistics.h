/* SPDX-License-Identifier: Apache-2.0
 *
 * A file of statistics as planning asks for it: checked against the model that is planned, weight by weight. */
#ifndef PIPELINE_STATISTICS_H
#define PIPELINE_STATISTICS_H

#include <measure/calibrate_read.h>
#include <policy/plan.h>
#include <reading/members.h>

/* Zero-initialise; statistics_close in any case. Must not move while open. */
struct statistics {
    struct calibration calibration;
    struct plan_statistics operations; /* for plan_options */
    bool open;
};

/* TSR_E_INPUT when `path` is no file of statistics. */
tsr_status statistics_open(const char *path, struct statistics *statistics, tsr_error *err);
void statistics_close(struct statistics *statistics);
/* Member "statistics" of a receipt: text, tokens, and how many tensors had them; null when there are none. */
void statistics_tell(const struct statistics *statistics, const struct plan *plan, struct members *receipt);

#endif
