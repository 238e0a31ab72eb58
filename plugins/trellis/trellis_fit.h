/* SPDX-License-Identifier: Apache-2.0
 *
 * The shape of a tensor's distributions from what was counted. */
#ifndef TRELLIS_FIT_H
#define TRELLIS_FIT_H

#include "trellis_measure.h"

/* Fills shape->codes, all else being set. TSR_E_NOMEM. */
tsr_status trellis_fit(const tsr_host *host, const struct trellis_counts *counts, struct trellis_shape *shape,
                       tsr_error *err);

#endif
