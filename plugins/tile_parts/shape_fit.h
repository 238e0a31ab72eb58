/* SPDX-License-Identifier: Apache-2.0
 *
 * The shape of a tensor's distributions from what was counted. */
#ifndef SHAPE_FIT_H
#define SHAPE_FIT_H

#include "shape.h"

#include <tessera/codec.h>

/* Fills shape->codes, all else being set. symbols[context] has the counts of SHAPE_SYMBOLS_MAX symbols: the indices
 * -SHAPE_LIMIT_MAX.. and the escape. TSR_E_NOMEM. */
tsr_status shape_fit(const tsr_host *host, const uint32_t *const *symbols, struct shape *shape, tsr_error *err);

#endif
