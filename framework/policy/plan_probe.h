/* SPDX-License-Identifier: Apache-2.0
 *
 * What a cheap look at some rows says about a tensor: is there anything in it that clusters, palettes or few directions could
 * use? Measured on the plan's sample, so it is the same on every machine. Private to plan*.c. */
#ifndef POLICY_PLAN_PROBE_H
#define POLICY_PLAN_PROBE_H

#include "plan_sample.h"

/* Looks at up to PROBE_ROWS evenly spread rows of the sample; float dtypes, at least 2 rows and columns: else probe->rows
 * stays 0. */
#define PROBE_ROWS 128
tsr_status probe_sample(const struct sample *sample, struct plan_probe *probe, tsr_error *err);

#endif
