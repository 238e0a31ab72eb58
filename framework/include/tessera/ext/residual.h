/* SPDX-License-Identifier: Apache-2.0
 *
 * Codec extension "tessera.codec.residual/0": a codec that stands behind others in a stack and wants their prediction
 * beside the source, not the difference. It is how an exact codec makes a stack exact: it codes the source bytes given
 * what they were rounded to so far. Every codec with F32 input can be stacked without this extension: the host then
 * gives it the F32 difference and adds what it decodes. Both sides of a tile are in the source dtype. */
#ifndef TESSERA_EXT_RESIDUAL_H
#define TESSERA_EXT_RESIDUAL_H

#include "../codec.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_RESIDUAL_ID "tessera.codec.residual/0"

typedef struct tsr_residual {
    uint64_t struct_size;
    /* Replaces codec.prepare; nullable as it is. */
    tsr_status (*prepare)(void *self, const tsr_row_source *source, const tsr_row_source *prediction,
                          const tsr_writer *header, tsr_error *err);
    /* As codec.encode and codec.decode, with the tile's prediction [rows][columns] in the source dtype, aligned to an
     * element. tile->bytes counts source dtype. The bound is codec.encode_bound. [worker] */
    tsr_status (*encode)(void *self, const tsr_tile *tile, const void *src, const void *prediction, void *dst,
                         uint64_t capacity, uint64_t *written, tsr_error *err);
    tsr_status (*decode)(void *self, const tsr_tile *tile, const void *src, uint64_t size, const void *prediction,
                         void *dst, tsr_error *err);
} tsr_residual;

#ifdef __cplusplus
}
#endif
#endif
