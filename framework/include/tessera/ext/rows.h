/* SPDX-License-Identifier: Apache-2.0
 *
 * Codec extension "tessera.codec.rows/0": decodes some rows of a tile without the work of the whole tile, for embedding
 * lookups. Without it the host decodes the tile and copies the rows: other tiles are never touched either way. */
#ifndef TESSERA_EXT_ROWS_H
#define TESSERA_EXT_ROWS_H

#include "../codec.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_ROWS_ID "tessera.codec.rows/0"

typedef struct tsr_rows {
    uint64_t struct_size;
    /* Rows [first_row, first_row + rows) of the tile (counted within the tile) into dst, in the form that decode
     * returns and bit for bit what it would. Damage ends as in decode. [worker] */
    tsr_status (*decode)(void *self, const tsr_tile *tile, const void *src, uint64_t size, uint64_t first_row,
                         uint64_t rows, void *dst, tsr_error *err);
} tsr_rows;

#ifdef __cplusplus
}
#endif
#endif
