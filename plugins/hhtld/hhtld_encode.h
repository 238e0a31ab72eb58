/* SPDX-License-Identifier: Apache-2.0
 *
 * From rows to entries: which leaf, which side of it, and how far the row is from there, rounded up. */
#ifndef HHTLD_ENCODE_H
#define HHTLD_ENCODE_H

#include "hhtld_palette.h"

#include <tessera/ext/products.h>

struct hhtld_encoder {
    const tsr_host *host;
    const tsr_products *products;
    struct hhtld_palette palette;
    float *directions; /* [families][columns], of length 1 */
    uint32_t heel;
};

/* Takes the palette, which has been read. */
tsr_status hhtld_encoder_init(struct hhtld_encoder *encoder, tsr_error *err);
void hhtld_encoder_clear(struct hhtld_encoder *encoder);

tsr_status hhtld_encode_tile(const struct hhtld_encoder *encoder, const tsr_tile *tile, const float *x, uint8_t *dst,
                             uint64_t capacity, uint64_t *written, tsr_error *err);

/* The basin of a role. */
uint32_t hhtld_heel(const char *role);

#endif
