/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder: what a header says, and tiles by it. Safe on any bytes. */
#ifndef SCALAR_DECODE_H
#define SCALAR_DECODE_H

#include "scalar_bitstream.h"
#include "scalar_kernel.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>

struct scalar_decoder {
    const tsr_host *host;
    const tsr_entropy *entropy;
    const struct scalar_kernels *kernels;
    uint32_t mantissa_bits;
    uint32_t class_count;
    uint32_t group;
    uint32_t middle; /* M */
    tsr_entropy_model *model;
    float *points; /* [class_count][2 * middle + 2], scalar_fill_points */
};

/* Fills a decoder whose first three members are set; pair with clear, after failure too. */
tsr_status scalar_decoder_init(struct scalar_decoder *decoder, const void *header, uint64_t size, tsr_error *err);
void scalar_decoder_clear(struct scalar_decoder *decoder);

tsr_status scalar_decode_tile(const struct scalar_decoder *decoder, const tsr_tile *tile, const uint8_t *src,
                              uint64_t size, float *x, tsr_error *err);

#endif
