/* SPDX-License-Identifier: Apache-2.0
 *
 * A transposed source holds blocks [columns][block_rows], so a tile meets it in runs of rows, one run for each column
 * and block. A run is contiguous in the source and strided in the tile. */
#include "order.h"

#include <string.h>

#include <base/checked.h>

tsr_status order_make(const uint64_t *shape, uint64_t rank, uint64_t columns, bool transposed, uint32_t bits,
                      struct order *order, tsr_error *err) {
    *order = (struct order){.columns = columns, .bits = bits, .transposed = transposed};
    if (!transposed) return TSR_OK;
    if (bits % 8 || rank < 2 || shape[rank - 2] != columns) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "cannot turn %u-bit elements of rank %llu into %llu columns", bits,
                        (unsigned long long)rank, (unsigned long long)columns);
    }
    order->block_rows = shape[rank - 1];
    return TSR_OK;
}

/* Copies `count` elements of `size` bytes between a dense run and every `stride`-th element of a tile. */
static void spread(uint8_t *tile, uint64_t stride, uint8_t *run, uint64_t count, uint64_t size, bool into_tile) {
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *at = tile + i * stride * size;
        memcpy(into_tile ? at : run + i * size, into_tile ? run + i * size : at, (size_t)size);
    }
}

/* One run: rows first..first+count-1 of the tile in column `column` of it. */
struct run {
    uint64_t first, count, column;
    uint64_t offset; /* in the source */
};

static struct run run_at(const struct order *order, const tsr_tile *tile, uint64_t row, uint64_t column) {
    uint64_t matrix_row = tile->first_row + row;
    uint64_t block = matrix_row / order->block_rows, inside = matrix_row % order->block_rows;
    struct run run = {.first = row, .column = column};
    run.count = min_u64(order->block_rows - inside, tile->rows - row);
    uint64_t element = (block * order->columns + tile->first_column + column) * order->block_rows + inside;
    run.offset = element * (order->bits / 8);
    return run;
}

static tsr_status move_runs(const struct order *order, const tsr_tile *tile, order_move move, void *ctx,
                            uint8_t *matrix, uint8_t *scratch, bool into_tile, tsr_error *err) {
    uint64_t size = order->bits / 8;
    for (uint64_t row = 0, step; row < tile->rows; row += step) {
        step = run_at(order, tile, row, 0).count;
        for (uint64_t column = 0; column < tile->columns; column++) {
            struct run run = run_at(order, tile, row, column);
            uint8_t *at = matrix + (run.first * tile->columns + run.column) * size;
            if (!into_tile) spread(at, tile->columns, scratch, run.count, size, false);
            tsr_status st = move(ctx, run.offset, scratch, run.count * size, err);
            if (st != TSR_OK) return st;
            if (into_tile) spread(at, tile->columns, scratch, run.count, size, true);
        }
    }
    return TSR_OK;
}

/* Untransposed tiles are one contiguous piece; F4 tiles begin on a byte. */
static uint64_t plain_offset(const struct order *order, const tsr_tile *tile) {
    return (tile->first_row * order->columns + tile->first_column) * order->bits / 8;
}

tsr_status order_gather(const struct order *order, const tsr_tile *tile, order_move read, void *ctx, void *dst,
                        void *scratch, tsr_error *err) {
    if (!order->transposed) return read(ctx, plain_offset(order, tile), dst, tile->bytes, err);
    return move_runs(order, tile, read, ctx, dst, scratch, true, err);
}

tsr_status order_scatter(const struct order *order, const tsr_tile *tile, order_move write, void *ctx, void *src,
                         void *scratch, tsr_error *err) {
    if (!order->transposed) return write(ctx, plain_offset(order, tile), src, tile->bytes, err);
    return move_runs(order, tile, write, ctx, src, scratch, false, err);
}
