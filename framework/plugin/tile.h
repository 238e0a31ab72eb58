/* SPDX-License-Identifier: Apache-2.0
 *
 * How a matrix is cut into tiles: whole rows, about `tile_weights` weights; where one row alone is larger, pieces of
 * one row. Depends on the shape alone, so every machine and every number of workers cuts alike. */
#ifndef PLUGIN_TILE_H
#define PLUGIN_TILE_H

#include <base/checked.h>
#include <tessera/codec.h>

#define TILE_WEIGHTS_DEFAULT (UINT64_C(1) << 18)
#define TILE_WEIGHTS_MIN (UINT64_C(1) << 12)
#define TILE_WEIGHTS_MAX (UINT64_C(1) << 22)

struct tile_grid {
    uint64_t rows, columns;
    uint64_t tile_rows, tile_columns; /* tile_columns == columns unless tile_rows is 1; both 0 for an empty tensor */
    uint64_t count;                   /* 0 for an empty tensor */
};

struct tile_grid tile_grid_make(uint64_t rows, uint64_t columns, uint64_t tile_weights);
/* True when the numbers (from a file) could have come from tile_grid_make with some tile_weights in range. */
bool tile_grid_valid(const struct tile_grid *grid);
/* Tile `index` < count of `element_bits`-bit elements (a multiple of 8). worker is set to 0. */
tsr_tile tile_at(const struct tile_grid *grid, uint64_t index, uint32_t element_bits);

/* The matrix view that codecs, plan and container agree on. F4 (two elements a byte) and OPAQUE tensors are one row of
 * bytes, so that every tile begins on a byte: *rows and *columns become 1 and `bytes`, and they are never transposed.
 * Other dtypes keep the view they have. Returns bits an element, always a multiple of 8. */
uint32_t tile_matrix_of(int32_t dtype, uint64_t bytes, uint64_t *rows, uint64_t *columns);

#endif
