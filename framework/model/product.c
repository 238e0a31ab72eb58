/* SPDX-License-Identifier: Apache-2.0
 *
 * Work is cut into pieces of rows, a part of a tile where the codec lets tiles be cut. Each row is summed by itself, so the
 * cut changes nothing. */
#include "product.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/error.h>
#include <base/pool.h>
#include <numeric/column_scale.h>
#include <numeric/dense_kernels.h>
#include <plugin/instance.h>
#include <string.h>
#include <tessera/ext/matvec.h>

#define PIECES_A_WORKER 6
#define PIECE_WEIGHTS ((uint64_t)16 << 10) /* at least, so that handing pieces out costs nothing */

struct packed_tile {
    tsr_tile tile;
    void *bytes;
    uint64_t size;
    bool dense; /* decoded, in the source dtype */
    bool owned; /* not in a slab */
};

#define SLAB_BYTES ((uint64_t)32 << 20)

struct slab {
    struct slab *next;
    uint8_t *bytes;
    uint64_t used, size;
};

struct piece {
    uint64_t tile, first_row, rows;
};

struct product {
    const struct env *env;
    struct decoder decoder;
    const tsr_codec *codec;
    const tsr_matvec *matvec;
    void *self;
    struct packed_tile *tiles;
    struct piece *pieces;
    uint64_t piece_count, bytes;
    void *query;
    float *scaled; /* [columns]: x times the scales of columns, where there are any */
    /* of the call at hand */
    const float *x, *packed_x; /* as decoded tiles take it, and as packed ones do */
    float *y;
};

/* ---- slabs ---- */

static void *take(struct product_memory *memory, uint64_t bytes) {
    struct slab *slab = memory->slabs;
    if (!slab || bytes > slab->size - slab->used) {
        slab = mem_alloc_zero(1, sizeof *slab);
        if (!slab) return NULL;
        slab->size = max_u64(SLAB_BYTES, bytes);
        slab->bytes = mem_alloc_pages(slab->size);
        slab->next = memory->slabs;
        memory->slabs = slab;
        if (!slab->bytes) slab->size = 0;
        if (!slab->bytes) return NULL;
    }
    void *taken = slab->bytes + slab->used;
    slab->used = min_u64(slab->size, slab->used + (bytes + 63) / 64 * 64);
    return taken;
}

void product_memory_clear(struct product_memory *memory) {
    while (memory->slabs) {
        struct slab *next = memory->slabs->next;
        mem_free(memory->slabs->bytes);
        mem_free(memory->slabs);
        memory->slabs = next;
    }
}

/* ---- what there is ---- */

static bool fits(const struct product *product, const struct product_shape *shape) {
    const struct decoder *decoder = &product->decoder;
    return decoder->grid.count && !decoder->correction_count && decoder->grid.tile_columns == decoder->grid.columns &&
           decoder->order.transposed == shape->transposed && decoder->grid.rows == shape->rows &&
           decoder->grid.columns == shape->columns;
}

static bool find_group(struct product *product) {
    const tsr_codec *codec = product->codec = product->decoder.codec;
    product->self = coder_self(product->decoder.coder);
    product->matvec = codec->get_extension ? codec->get_extension(TSR_MATVEC_ID) : NULL;
    return product->matvec != NULL;
}

static uint64_t dense_bytes(const struct product *product, const tsr_tile *tile) {
    return tile->rows * tile->columns * (product->decoder.order.bits / 8);
}

static bool cuts_tiles(const struct product *product) {
    return TSR_HAS(product->matvec, tsr_matvec, apply_rows) && product->matvec->apply_rows;
}

/* ---- packing ---- */

/* The sizes of all tiles; raw ones, and those without a packed form, are dense. */
static uint64_t measure_tiles(struct product *product) {
    const struct decoder *decoder = &product->decoder;
    bool as_f32 = product->codec->input == TSR_INPUT_F32;
    for (uint64_t i = 0; i < decoder->grid.count; i++) {
        struct packed_tile *tile = &product->tiles[i];
        tile->tile = tile_at(&decoder->grid, i, as_f32 ? 32 : decoder->order.bits);
        tile->size = decoder->payload.tiles[i].raw ? 0 : product->matvec->packed_bytes(product->self, &tile->tile);
        tile->dense = tile->size == 0;
        if (tile->dense) tile->size = dense_bytes(product, &tile->tile);
        product->bytes += tile->size;
    }
    return product->bytes;
}

static tsr_status pack_tile(struct product *product, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct payload *payload = &product->decoder.payload;
    struct packed_tile *tile = &product->tiles[index];
    tsr_tile view = tile->tile;
    void *stored = mem_alloc(payload->tiles[index].bytes);
    view.worker = worker;
    if (!stored) return tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", payload->name);
    tsr_status st = payload_read_tile(payload, index, stored, err);
    if (st == TSR_OK) {
        st = product->matvec->pack(product->self, &view, stored, payload->tiles[index].bytes, tile->bytes, err);
        st = instance_verdict(product->codec, "pack", st, err);
    }
    mem_free(stored);
    return st;
}

static tsr_status pack_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct product *product = ctx;
    struct packed_tile *tile = &product->tiles[index];
    if (env_cancelled(product->env)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    tsr_status st = tile->dense ? TSR_OK : pack_tile(product, index, worker, err);
    if (st == TSR_E_UNSUPPORTED) {
        tile->dense = tile->owned = true;
        tile->size = dense_bytes(product, &tile->tile);
        tile->bytes = mem_alloc_aligned(tile->size);
        st = tile->bytes ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a decoded tile");
    }
    if (st == TSR_OK && tile->dense) st = decoder_tile(&product->decoder, index, worker, tile->bytes, err);
    return st == TSR_OK ? st : error_context(err, st, "tensor \"%s\"", product->decoder.payload.name);
}

/* ---- pieces ---- */

static uint64_t cut_tile(struct product *product, uint64_t index, uint64_t rows_a_piece, struct piece *pieces) {
    const struct packed_tile *tile = &product->tiles[index];
    uint64_t step = tile->dense || cuts_tiles(product) ? rows_a_piece : tile->tile.rows, count = 0;
    for (uint64_t row = 0; row < tile->tile.rows; row += step) {
        if (pieces) pieces[count] = (struct piece){index, row, min_u64(step, tile->tile.rows - row)};
        count++;
    }
    return count;
}

static tsr_status cut_pieces(struct product *product, tsr_error *err) {
    const struct tile_grid *grid = &product->decoder.grid;
    uint64_t wanted = PIECES_A_WORKER * pool_workers(product->env->pool);
    uint64_t rows = max_u64(ceil_div(grid->rows, wanted), ceil_div(PIECE_WEIGHTS, max_u64(grid->columns, 1)));
    uint64_t count = 0;
    product->bytes = 0;
    for (uint64_t i = 0; i < grid->count; i++) {
        count += cut_tile(product, i, rows, NULL);
        product->bytes += product->tiles[i].size;
    }
    product->pieces = mem_alloc_array(count, sizeof *product->pieces);
    if (!product->pieces) return tsr_fail(err, TSR_E_NOMEM, "out of memory for pieces of a product");
    for (uint64_t i = 0; i < grid->count; i++) {
        product->piece_count += cut_tile(product, i, rows, product->pieces + product->piece_count);
    }
    return TSR_OK;
}

static tsr_status make_query(struct product *product, tsr_error *err) {
    if (coder_column_factors(product->decoder.coder)) {
        product->scaled = mem_alloc_array(product->decoder.grid.columns, sizeof *product->scaled);
        if (!product->scaled) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a product");
    }
    uint64_t bytes = product->matvec->query ? product->matvec->query_bytes(product->self) : 0;
    if (!bytes) return TSR_OK;
    product->query = mem_alloc_aligned(bytes);
    product->bytes += bytes;
    return product->query ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for tables of a product");
}

static tsr_status place_tiles(struct product *product, struct product_memory *memory, tsr_error *err) {
    for (uint64_t i = 0; i < product->decoder.grid.count; i++) {
        product->tiles[i].bytes = take(memory, product->tiles[i].size);
        if (!product->tiles[i].bytes) return tsr_fail(err, TSR_E_NOMEM, "out of memory for packed tiles");
    }
    return TSR_OK;
}

static tsr_status prepare(struct product *product, struct product_memory *memory, tsr_error *err) {
    tsr_status st = place_tiles(product, memory, err);
    if (st == TSR_OK) st = pool_for(product->env->pool, product->decoder.grid.count, pack_task, product, err);
    if (st == TSR_OK) st = cut_pieces(product, err);
    return st == TSR_OK ? make_query(product, err) : st;
}

tsr_status product_create(struct tensor_cache *cache, const struct product_shape *shape, uint64_t limit,
                          struct product_memory *memory, const struct env *env, struct product **out, tsr_error *err) {
    struct product *product = mem_alloc_zero(1, sizeof *product);
    *out = NULL;
    if (!product) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a product");
    product->env = env;
    tsr_status st = tensor_cache_decoder(cache, shape->index, &product->decoder, err);
    bool there = st == TSR_OK && product->decoder.coder && fits(product, shape) && find_group(product);
    if (there) {
        product->tiles = mem_alloc_zero(product->decoder.grid.count, sizeof *product->tiles);
        if (!product->tiles) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for a product");
        there = st == TSR_OK && measure_tiles(product) <= limit;
    }
    if (there) st = prepare(product, memory, err);
    if (st != TSR_OK || !there) {
        product_destroy(product);
        return st;
    }
    *out = product;
    return TSR_OK;
}

void product_destroy(struct product *product) {
    if (!product) return;
    for (uint64_t i = 0; product->tiles && i < product->decoder.grid.count; i++) {
        if (product->tiles[i].owned) mem_free(product->tiles[i].bytes);
    }
    mem_free(product->tiles);
    mem_free(product->pieces);
    mem_free(product->query);
    mem_free(product->scaled);
    decoder_close(&product->decoder);
    mem_free(product);
}

uint64_t product_bytes(const struct product *product) {
    return product->bytes;
}

/* ---- multiplying ---- */

tsr_status product_piece(struct product *product, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct piece *piece = &product->pieces[index];
    const struct packed_tile *packed = &product->tiles[piece->tile];
    float *y = product->y + packed->tile.first_row + piece->first_row;
    tsr_tile tile = packed->tile;
    tile.worker = worker;
    if (packed->dense) {
        uint64_t row_bytes = tile.columns * (product->decoder.order.bits / 8);
        dense_kernels_best()->dot_rows(product->decoder.tensor.dtype, (const uint8_t *)packed->bytes + piece->first_row * row_bytes,
                                       piece->rows, tile.columns, product->x, y);
        return TSR_OK;
    }
    tsr_status st = piece->rows == tile.rows
                        ? product->matvec->apply(product->self, &tile, packed->bytes, product->packed_x, product->query, y, err)
                        : product->matvec->apply_rows(product->self, &tile, packed->bytes, piece->first_row, piece->rows,
                                                      product->packed_x, product->query, y, err);
    return instance_verdict(product->codec, "apply", st, err);
}

static tsr_status apply_piece(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    return product_piece(ctx, index, worker, err);
}

uint64_t product_pieces(const struct product *product) {
    return product->piece_count;
}

tsr_status product_begin(struct product *product, const float *x, float *y, tsr_error *err) {
    product->x = x;
    product->y = y;
    product->packed_x = x;
    if (product->scaled) {
        const uint64_t columns = product->decoder.grid.columns;
        memcpy(product->scaled, x, columns * sizeof *x);
        column_scale_apply(coder_column_factors(product->decoder.coder), 1, columns, product->scaled);
        product->packed_x = product->scaled;
    }
    if (!product->query) return TSR_OK;
    tsr_status st = product->matvec->query(product->self, product->packed_x, product->query, err);
    return instance_verdict(product->codec, "query", st, err);
}

tsr_status product_apply(struct product *product, const float *x, float *y, tsr_error *err) {
    tsr_status st = product_begin(product, x, y, err);
    return st == TSR_OK ? pool_for(product->env->pool, product->piece_count, apply_piece, product, err) : st;
}
