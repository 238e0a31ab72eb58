/* SPDX-License-Identifier: Apache-2.0
 *
 * Codec extension "tessera.codec.matvec/0": y = W x straight from the payload, for one token. A tile is packed once when
 * a model is loaded, into one byte a weight and a few per cent for scales (the host counts it as memory), and multiplied
 * many times. Without it, and for raw tiles, the host decodes and multiplies densely. The result agrees with the product of
 * the decoded weights, as decode returns them or as the host rounds them to the source dtype (better), within float
 * rounding; it need not be bit-exact on every machine, but is for any number of workers. */
#ifndef TESSERA_EXT_MATVEC_H
#define TESSERA_EXT_MATVEC_H

#include "../codec.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_MATVEC_ID "tessera.codec.matvec/0"

typedef struct tsr_matvec {
    uint64_t struct_size;
    /* Bytes of a packed tile, 0 when this tile's form has no product (the host multiplies densely). [any] */
    uint64_t (*packed_bytes)(void *self, const tsr_tile *tile);
    /* Packs a stored tile into dst, packed_bytes, 64-byte aligned. Damage ends as in decode. TSR_E_UNSUPPORTED when
     * these bytes cannot be packed (a symbol too large): the host multiplies this tile densely. [worker] */
    tsr_status (*pack)(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err);
    /* What is computed once for each x and serves all tiles (tables of partial products), and its size; nullable. x has
     * tensor->columns elements, `query` is 64-byte aligned. [worker] */
    uint64_t (*query_bytes)(void *self);
    tsr_status (*query)(void *self, const float *x, void *query, tsr_error *err);
    /* y[rows of the tile] = packed tile times x[first_column ..]. x is the whole vector. [worker] */
    tsr_status (*apply)(void *self, const tsr_tile *tile, const void *packed, const float *x, const void *query,
                        float *y, tsr_error *err);
    /* apply for rows [first_row, first_row + rows) of the tile (counted within the tile) alone, y[rows]: a matrix of few
     * tiles keeps all workers busy. The same bits as apply. Nullable: tiles are not cut. [worker] */
    tsr_status (*apply_rows)(void *self, const tsr_tile *tile, const void *packed, uint64_t first_row, uint64_t rows,
                             const float *x, const void *query, float *y, tsr_error *err);
} tsr_matvec;

#ifdef __cplusplus
}
#endif
#endif
