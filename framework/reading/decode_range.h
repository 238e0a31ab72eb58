/* SPDX-License-Identifier: Apache-2.0
 *
 * A range of a stored tensor's bytes, decoded to where somebody wants them, through as few tiles as hold them. */
#ifndef READING_DECODE_RANGE_H
#define READING_DECODE_RANGE_H

#include "decoder.h"

struct decode_range {
    uint64_t offset, bytes; /* in the source's order and dtype, whole elements */
    int32_t widen_from;     /* F32, F16 or BF16, which becomes F32; 0: the bytes as they are */
    void *dst;              /* of the range's first element; aligned as what is written */
    struct meter *meter;    /* counts the bytes, or NULL */
};

/* Decodes on the decoder's workers, one tile of memory each at most. TSR_E_CANCELLED when the user asked to stop. */
tsr_status decode_range(const struct decoder *decoder, const struct decode_range *range, tsr_error *err);

#endif
