/* SPDX-License-Identifier: Apache-2.0
 *
 * Tiles cover a matrix once and in order, and only grids that tile_grid_make makes are valid. */
#include "unit.h"

#include <base/rng.h>
#include <plugin/tile.h>

static const uint64_t EXTENTS[] = {0, 1, 2, 3, 63, 64, 65, 768, 4096, 4097, 151936, (1 << 20) + 3};
static const uint64_t WEIGHTS[] = {0, 1, 1 << 12, (1 << 12) + 1, 100000, 1 << 18, 1 << 22, UINT64_MAX};
#define EXTENT_COUNT (sizeof EXTENTS / sizeof *EXTENTS)
#define WEIGHT_COUNT (sizeof WEIGHTS / sizeof *WEIGHTS)

/* Tiles in order are consecutive ranges of the row-major matrix, and together all of it. */
static void check_cover(const struct tile_grid *grid) {
    uint64_t next = 0, wrong = 0;
    for (uint64_t i = 0; i < grid->count; i++) {
        tsr_tile tile = tile_at(grid, i, 16);
        wrong += tile.first_row * grid->columns + tile.first_column != next;
        wrong += tile.rows != 1 && tile.columns != grid->columns;
        wrong += tile.rows == 0 || tile.columns == 0 || tile.bytes != tile.rows * tile.columns * 2;
        wrong += tile.rows * tile.columns > TILE_WEIGHTS_MAX || tile.index != i;
        next += tile.rows * tile.columns;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(next, grid->rows * grid->columns);
}

static void tiles_cover_the_matrix_once_in_order(void) {
    for (unsigned r = 0; r < EXTENT_COUNT; r++) {
        for (unsigned c = 0; c < EXTENT_COUNT; c++) {
            for (unsigned w = 0; w < WEIGHT_COUNT; w++) {
                struct tile_grid grid = tile_grid_make(EXTENTS[r], EXTENTS[c], WEIGHTS[w]);
                if (grid.count < 100000) check_cover(&grid);
            }
        }
    }
}

static void made_grids_are_valid(void) {
    struct rng rng = {1};
    for (int i = 0; i < 20000; i++) {
        uint64_t rows = rng_below(&rng, 1 + (UINT64_C(1) << rng_below(&rng, 22)));
        uint64_t columns = rng_below(&rng, 1 + (UINT64_C(1) << rng_below(&rng, 22)));
        struct tile_grid grid = tile_grid_make(rows, columns, rng_below(&rng, UINT64_C(5) << 20));
        CU_ASSERT_TRUE(tile_grid_valid(&grid));
    }
}

static void other_grids_are_not_valid(void) {
    const struct tile_grid wrong[] = {
        {100, 100, 0, 0, 0},                             /* no tiles for elements */
        {0, 100, 1, 100, 0},                             /* empty, yet a tile size */
        {0, 100, 0, 0, 1},                               /* empty, yet a tile */
        {100, 100, 100, 100, 2},                         /* wrong count */
        {100, 100, 101, 100, 1},                         /* tile taller than the matrix */
        {100, 100, 10, 100, 10},                         /* below the smallest tile */
        {100, 8192, 1, 4100, 200},                       /* pieces not a multiple of 64 */
        {100, 8192, 2, 4096, 100},                       /* pieces of several rows */
        {1, UINT64_C(1) << 23, 1, UINT64_C(1) << 23, 1}, /* above the largest tile */
        {UINT64_MAX, UINT64_MAX, 1, 4096, 1},            /* overflow */
        {UINT64_C(1) << 40, 1, UINT64_MAX, 2, 1},        /* overflow in a tile */
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) CU_ASSERT_FALSE(tile_grid_valid(&wrong[i]));
}

static void packed_and_unknown_dtypes_are_a_row_of_bytes(void) {
    uint64_t rows = 3, columns = 5;
    CU_ASSERT_EQUAL(tile_matrix_of(TSR_DTYPE_BF16, 30, &rows, &columns), 16);
    CU_ASSERT_EQUAL(rows, 3);
    CU_ASSERT_EQUAL(tile_matrix_of(TSR_DTYPE_F4, 8, &rows, &columns), 8);
    CU_ASSERT_TRUE(rows == 1 && columns == 8);
    CU_ASSERT_EQUAL(tile_matrix_of(TSR_DTYPE_OPAQUE, 7, &rows, &columns), 8);
    CU_ASSERT_TRUE(rows == 1 && columns == 7);
}

static const struct unit_test TESTS[] = {
    {"tiles_cover_the_matrix_once_in_order", tiles_cover_the_matrix_once_in_order},
    {"made_grids_are_valid", made_grids_are_valid},
    {"other_grids_are_not_valid", other_grids_are_not_valid},
    {"packed_and_unknown_dtypes_are_a_row_of_bytes", packed_and_unknown_dtypes_are_a_row_of_bytes},
};
UNIT_MAIN(TESTS)
