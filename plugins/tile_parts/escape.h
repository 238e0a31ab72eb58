/* SPDX-License-Identifier: Apache-2.0
 *
 * Indices beyond the largest magnitude that has a symbol in their context, its limit: a varint each behind the symbols of a tile
 * of scalar (from bitstream 2 on) or trellis (likewise). */
#ifndef ESCAPE_H
#define ESCAPE_H

#include <stdint.h>

enum { ESCAPE_BITS = 8, ESCAPE_FAR_BITS = 16 };

/* What the varint takes so far beyond the limit; but for the largest of all. */
static inline uint32_t escape_bits(uint32_t beyond) {
    return beyond <= 64 ? ESCAPE_BITS : ESCAPE_FAR_BITS;
}

static inline uint32_t escape_code(int32_t index, uint32_t limit) {
    const uint32_t magnitude = index < 0 ? 0 - (uint32_t)index : (uint32_t)index;
    return 2 * (magnitude - limit - 1) + (index < 0);
}

/* Of any code: what is too large for an index is too large for 32 bits at most by a little. */
static inline int64_t escape_index(uint32_t code, uint32_t limit) {
    const int64_t magnitude = (int64_t)(code / 2) + limit + 1;
    return code % 2 ? -magnitude : magnitude;
}

#endif
