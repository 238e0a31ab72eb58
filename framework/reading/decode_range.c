/* SPDX-License-Identifier: Apache-2.0
 *
 * Tiles of an untransposed matrix follow each other in the source, so a range is a run of tiles, and one that lies inside
 * of it is decoded in place. Of a transposed one every tile has something in nearly every range, so all are decoded. */
#include "decode_range.h"

#include "meter.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <format/dtype.h>
#include <string.h>

struct ranging {
    const struct decoder *decoder;
    const struct decode_range *range;
    uint64_t first_tile;
};

/* Where an untransposed tile begins in the tensor. */
static uint64_t tile_offset(const struct decoder *decoder, const tsr_tile *tile) {
    return (tile->first_row * decoder->grid.columns + tile->first_column) * (decoder->order.bits / 8);
}

/* The part of a run that is in the range goes to its place. */
static tsr_status place_run(void *ctx, uint64_t offset, void *bytes, uint64_t size, tsr_error *err) {
    const struct ranging *ranging = ctx;
    const struct decode_range *range = ranging->range;
    uint64_t first = max_u64(offset, range->offset), end = min_u64(offset + size, range->offset + range->bytes);
    (void)err;
    if (first >= end) return TSR_OK;
    const uint8_t *from = (const uint8_t *)bytes + (first - offset);
    uint64_t at = first - range->offset;
    if (range->widen_from) {
        /* Whatever a damaged payload says its elements are, this stays inside of dst. */
        uint64_t width = dtype_bits(range->widen_from) / 8;
        dtype_to_f32(range->widen_from, from, (end - first) / width, (float *)range->dst + at / width);
    } else {
        memcpy((uint8_t *)range->dst + at, from, end - first);
    }
    return TSR_OK;
}

static tsr_status decode_aside(struct ranging *ranging, const tsr_tile *tile, tsr_error *err) {
    const struct decoder *decoder = ranging->decoder;
    uint64_t room = (tile->bytes + 63) / 64 * 64;
    uint8_t *bytes = mem_alloc_aligned(room + (decoder->order.transposed ? tile->bytes : 0));
    if (!bytes) return tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", decoder->payload.name);
    tsr_status st = decoder_tile(decoder, tile->index, tile->worker, bytes, err);
    if (st == TSR_OK) st = order_scatter(&decoder->order, tile, place_run, ranging, bytes, bytes + room, err);
    mem_free(bytes);
    return st;
}

static tsr_status range_tile(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct ranging *ranging = ctx;
    const struct decoder *decoder = ranging->decoder;
    const struct decode_range *range = ranging->range;
    tsr_tile tile = tile_at(&decoder->grid, ranging->first_tile + index, decoder->order.bits);
    tile.worker = worker;
    tsr_status st = meter_check_cancel(decoder->env, err);
    if (st != TSR_OK) return st;
    uint64_t at = tile_offset(decoder, &tile);
    bool inside = !decoder->order.transposed && at >= range->offset && tile.bytes <= range->bytes &&
                  at - range->offset <= range->bytes - tile.bytes;
    st = inside && !range->widen_from
             ? decoder_tile(decoder, tile.index, worker, (uint8_t *)range->dst + (at - range->offset), err)
             : decode_aside(ranging, &tile, err);
    if (st == TSR_OK && range->meter) meter_add(range->meter, NULL, tile.bytes);
    return st;
}

/* The tile that holds byte `offset` of an untransposed tensor that has one there. */
static uint64_t tile_holding(const struct decoder *decoder, uint64_t offset) {
    uint64_t low = 0, high = decoder->grid.count; /* the tile is one of [low, high) */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        tsr_tile tile = tile_at(&decoder->grid, middle, decoder->order.bits);
        if (tile_offset(decoder, &tile) <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

tsr_status decode_range(const struct decoder *decoder, const struct decode_range *range, tsr_error *err) {
    struct ranging ranging = {.decoder = decoder, .range = range};
    uint64_t count = decoder->grid.count;
    if (range->bytes == 0 || count == 0) return TSR_OK;
    if (!decoder->order.transposed) {
        ranging.first_tile = tile_holding(decoder, range->offset);
        count = tile_holding(decoder, range->offset + range->bytes - 1) + 1 - ranging.first_tile;
    }
    return pool_for(decoder->env->pool, count, range_tile, &ranging, err);
}
