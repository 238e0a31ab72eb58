/* SPDX-License-Identifier: Apache-2.0
 *
 * Slot L: the directions in which what the leaves leave over is largest, and eight bits for each row along each. */
#ifndef HHTLD_LANES_H
#define HHTLD_LANES_H

#include "hhtld_palette.h"

#include <tessera/ext/products.h>

struct hhtld_lanes_job {
    const tsr_host *host;
    const tsr_products *products;
    const float *units;      /* [count][columns] of the sample */
    const double *norms;     /* [count] */
    const uint32_t *leaf;    /* [count] */
    uint64_t count, columns;
    const uint8_t *leaf_bytes; /* the leaves of the palette, as stored */
    uint64_t leaf_count, lane_count;
};

/* Writes the lanes' part of the palette: lane_count * (12 + columns) bytes. */
tsr_status hhtld_lanes_train(const struct hhtld_lanes_job *job, uint8_t *bytes, tsr_error *err);

#endif
