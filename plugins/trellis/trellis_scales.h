/* SPDX-License-Identifier: Apache-2.0
 *
 * Which scales a tensor has: codes of its rows, and the window of scales that its distributions are for. */
#ifndef TRELLIS_SCALES_H
#define TRELLIS_SCALES_H

#include "trellis_encode.h"

/* Fills rows_coded, row_*, shape.scales and scale_share from the facts of all rows. The scale of the steps is 1. */
tsr_status trellis_scales_choose(struct trellis_encoder *encoder, const struct row_facts *facts, tsr_error *err);

#endif
