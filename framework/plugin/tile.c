/* SPDX-License-Identifier: Apache-2.0
 *
 * The arithmetic of tiles. Tile sizes are multiples of 64 weights, so that the pieces of one long row begin on a cache
 * line in every form. Because a tile is whole rows or a piece of one row, tiles in order are consecutive ranges of the
 * row-major matrix: nobody needs strides. */
#include "tile.h"

#include <format/dtype.h>

#define TILE_STEP UINT64_C(64)

static uint64_t clamp_weights(uint64_t tile_weights) {
    if (tile_weights == 0) tile_weights = TILE_WEIGHTS_DEFAULT;
    if (tile_weights > TILE_WEIGHTS_MAX) return TILE_WEIGHTS_MAX;
    if (tile_weights < TILE_WEIGHTS_MIN) return TILE_WEIGHTS_MIN;
    return (tile_weights + TILE_STEP - 1) / TILE_STEP * TILE_STEP;
}

struct tile_grid tile_grid_make(uint64_t rows, uint64_t columns, uint64_t tile_weights) {
    struct tile_grid grid = {.rows = rows, .columns = columns};
    uint64_t weights = clamp_weights(tile_weights);
    if (rows == 0 || columns == 0) return grid;
    if (columns > weights) {
        grid.tile_rows = 1;
        grid.tile_columns = weights;
        grid.count = rows * ceil_div(columns, weights);
    } else {
        grid.tile_rows = min_u64(rows, weights / columns);
        grid.tile_columns = columns;
        grid.count = ceil_div(rows, grid.tile_rows);
    }
    return grid;
}

static bool grid_equal(const struct tile_grid *a, const struct tile_grid *b) {
    return a->tile_rows == b->tile_rows && a->tile_columns == b->tile_columns && a->count == b->count;
}

bool tile_grid_valid(const struct tile_grid *grid) {
    uint64_t weights, tile;
    if (!checked_mul(grid->rows, grid->columns, &weights)) return false;
    if (!checked_mul(grid->tile_rows, grid->tile_columns, &tile) || tile > TILE_WEIGHTS_MAX) return false;
    /* If any tile size gives this grid, the smallest multiple of TILE_STEP that holds one tile does. */
    struct tile_grid expected = tile_grid_make(grid->rows, grid->columns, max_u64(tile, 1));
    return grid_equal(grid, &expected);
}

tsr_tile tile_at(const struct tile_grid *grid, uint64_t index, uint32_t element_bits) {
    tsr_tile tile = {.struct_size = sizeof tile, .index = index};
    uint64_t pieces = ceil_div(grid->columns, grid->tile_columns); /* 1 unless tile_rows is 1 */
    tile.first_row = index / pieces * grid->tile_rows;
    tile.first_column = index % pieces * grid->tile_columns;
    tile.rows = min_u64(grid->tile_rows, grid->rows - tile.first_row);
    tile.columns = min_u64(grid->tile_columns, grid->columns - tile.first_column);
    tile.bytes = tile.rows * tile.columns * element_bits / 8;
    return tile;
}

uint32_t tile_matrix_of(int32_t dtype, uint64_t bytes, uint64_t *rows, uint64_t *columns) {
    if (dtype == TSR_DTYPE_F4 || dtype == TSR_DTYPE_OPAQUE) {
        *rows = 1;
        *columns = bytes;
        return 8;
    }
    return dtype_bits(dtype);
}
