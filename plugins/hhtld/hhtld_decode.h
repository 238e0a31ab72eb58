/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries back to what they say of a row: for the search, and as numbers. */
#ifndef HHTLD_DECODE_H
#define HHTLD_DECODE_H

#include "hhtld_palette.h"

#include <tessera/ext/products.h>

struct hhtld_decoder {
    const tsr_host *host;
    const tsr_products *products; /* for searches */
    struct hhtld_palette palette;
    uint32_t heel;
};

/* What one entry says. Lanes point into the tile; NULL without. */
struct hhtld_reading {
    uint32_t leaf;
    float gain, bound, lane_bound; /* bounds may be Inf */
    int32_t negative;
    const int8_t *lanes;
};

/* The entry's address is one of the palette, its numbers are in range; else TSR_E_CORRUPT. */
tsr_status hhtld_read_entry(const struct hhtld_decoder *decoder, const uint8_t *bytes, struct hhtld_reading *reading,
                            tsr_error *err);
/* The bytes of a tile of so many rows. */
tsr_status hhtld_check_tile(const struct hhtld_decoder *decoder, const tsr_tile *tile, uint64_t size, tsr_error *err);

/* The point that each entry stands for: no reconstruction, see Slot V. */
tsr_status hhtld_decode_tile(const struct hhtld_decoder *decoder, const tsr_tile *tile, const uint8_t *src,
                             uint64_t size, float *dst, tsr_error *err);

#endif
