/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the elements of a tile stand in the source: a codec sees rows of output units, a file may hold them transposed
 * (GPT-2 Conv1D). Depends on shape and tile alone. */
#ifndef READING_ORDER_H
#define READING_ORDER_H

#include <stdbool.h>
#include <tessera/codec.h>

struct order {
    uint64_t columns;    /* of the matrix view */
    uint64_t block_rows; /* transposed: rows of one [columns][block_rows] block in the source */
    uint32_t bits;       /* an element */
    bool transposed;
};

/* `shape` as in the source file. TSR_E_UNSUPPORTED for transposed elements that are no whole bytes. */
tsr_status order_make(const uint64_t *shape, uint64_t rank, uint64_t columns, bool transposed, uint32_t bits,
                      struct order *order, tsr_error *err);

/* Reads or writes `size` bytes at `offset` of the tensor in source order. */
typedef tsr_status (*order_move)(void *ctx, uint64_t offset, void *bytes, uint64_t size, tsr_error *err);

/* Collects a tile's elements from the source into dst in matrix order, or brings them from src to the source's places.
 * `scratch` holds tile->bytes bytes, and is not touched when nothing is transposed. [any] */
tsr_status order_gather(const struct order *order, const tsr_tile *tile, order_move read, void *ctx, void *dst,
                        void *scratch, tsr_error *err);
tsr_status order_scatter(const struct order *order, const tsr_tile *tile, order_move write, void *ctx, void *src,
                         void *scratch, tsr_error *err);

#endif
