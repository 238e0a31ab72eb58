/* SPDX-License-Identifier: Apache-2.0
 *
 * Codecs read mostly from front to back: a window moves over the tiles, and its tiles are decoded on all workers. A read
 * elsewhere decodes the one tile it needs. */
#include "leftover.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/pool.h>
#include <format/dtype.h>
#include <string.h>

#define WINDOW_WEIGHTS (UINT64_C(1) << 21)
#define PIECE_WEIGHTS UINT64_C(4096)

/* ---- the prediction ---- */

/* First element of a tile in the row-major matrix. */
static uint64_t tile_start(const struct leftover *leftover, uint64_t index) {
    const struct tile_grid *grid = &leftover->decoder.grid;
    if (index >= grid->count) return grid->rows * grid->columns;
    tsr_tile tile = tile_at(grid, index, 8);
    return tile.first_row * grid->columns + tile.first_column;
}

static uint64_t tile_of(const struct leftover *leftover, uint64_t element) {
    const struct tile_grid *grid = &leftover->decoder.grid;
    uint64_t row = element / grid->columns, column = element % grid->columns;
    uint64_t pieces = ceil_div(grid->columns, grid->tile_columns);
    return row / grid->tile_rows * pieces + column / grid->tile_columns;
}

static tsr_status decode_tile(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct leftover *leftover = ctx;
    uint64_t tile = leftover->first_tile + index;
    uint64_t at = (tile_start(leftover, tile) - leftover->first) * leftover->width;
    return decoder_tile(&leftover->decoder, tile, worker, leftover->window + at, err);
}

/* Moves the window to where `element` is. */
static tsr_status move_window(struct leftover *leftover, uint64_t element, tsr_error *err) {
    uint64_t tile = tile_of(leftover, element), count = leftover->decoder.grid.count;
    uint64_t tiles = tile == leftover->end_tile ? min_u64(leftover->window_tiles, count - tile) : 1;
    leftover->first_tile = tile;
    leftover->end_tile = tile + tiles;
    leftover->first = tile_start(leftover, tile);
    leftover->end = leftover->first; /* nothing, should decoding fail */
    tsr_status st = pool_for(leftover->env->pool, tiles, decode_tile, leftover, err);
    if (st == TSR_OK) leftover->end = tile_start(leftover, tile + tiles);
    return st;
}

static tsr_status read_prediction(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    struct leftover *leftover = ctx;
    uint64_t element = offset / leftover->width, left = size / leftover->width;
    uint8_t *to = dst;
    tsr_status st = TSR_OK;
    pthread_mutex_lock(&leftover->lock);
    while (left && st == TSR_OK) {
        if (element < leftover->first || element >= leftover->end) st = move_window(leftover, element, err);
        if (st != TSR_OK) break;
        uint64_t step = min_u64(left, leftover->end - element);
        memcpy(to, leftover->window + (element - leftover->first) * leftover->width, step * leftover->width);
        to += step * leftover->width;
        element += step;
        left -= step;
    }
    pthread_mutex_unlock(&leftover->lock);
    return st;
}

/* ---- source and difference ---- */

/* A run of the row-major matrix: the end of a row, whole rows, the begin of a row. */
static tsr_status read_source(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    struct leftover *leftover = ctx;
    uint64_t columns = leftover->matrix.columns, element = offset / leftover->width, left = size / leftover->width;
    uint8_t *to = dst;
    tsr_status st = TSR_OK;
    while (left && st == TSR_OK) {
        uint64_t row = element / columns, column = element % columns;
        uint64_t rows = column == 0 && left >= columns ? left / columns : 1;
        uint64_t width = rows > 1 || left >= columns - column ? columns - column : left;
        st = matrix_read(&leftover->matrix, row, rows, column, width, to, err);
        to += rows * width * leftover->width;
        element += rows * width;
        left -= rows * width;
    }
    return st;
}

static tsr_status read_difference(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    struct leftover *leftover = ctx;
    uint64_t element = offset / sizeof(float), left = size / sizeof(float), piece = PIECE_WEIGHTS * leftover->width;
    float *to = dst;
    uint8_t *both = mem_alloc_aligned(2 * piece);
    tsr_status st = both ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a difference");
    while (left && st == TSR_OK) {
        uint64_t step = min_u64(left, PIECE_WEIGHTS), bytes = step * leftover->width, at = element * leftover->width;
        st = read_source(leftover, at, both, bytes, err);
        if (st == TSR_OK) st = read_prediction(leftover, at, both + piece, bytes, err);
        if (st == TSR_OK) coder_difference(leftover->dtype, both, both + piece, step, to);
        to += step;
        element += step;
        left -= step;
    }
    mem_free(both);
    return st;
}

/* ---- life ---- */

static tsr_status open_stages(struct leftover *leftover, const char *name, const uint64_t *ends, uint64_t count,
                              const struct registry *registry, const struct dictionaries *dictionaries,
                              tsr_error *err) {
    struct decoder_place places[DECODER_STAGES_MAX];
    for (uint64_t i = 0; i < count; i++) {
        uint64_t begin = i ? ends[i - 1] : 0;
        leftover->entries[i] = (struct safetensors_entry){
            .name = name, .dtype = TSR_DTYPE_U8, .offset = begin, .bytes = ends[i] - begin};
        places[i] = (struct decoder_place){&leftover->st, &leftover->entries[i]};
    }
    leftover->st.file = leftover->file;
    struct decoder_input input = {places, count, dictionaries, 0};
    return decoder_open(&input, registry, leftover->env, &leftover->decoder, err);
}

tsr_status leftover_open(const char *path, const uint64_t *ends, uint64_t count, const struct coder_job *job,
                         const struct coder_source *source, const struct registry *registry,
                         const struct dictionaries *dictionaries, struct leftover *leftover, tsr_error *err) {
    leftover->env = job->env;
    leftover->dtype = job->tensor->dtype;
    leftover->width = job->dtype_bits / 8;
    leftover->source = (struct coder_source){leftover, read_source};
    leftover->prediction = (struct coder_source){leftover, read_prediction};
    leftover->difference = (struct coder_source){leftover, read_difference};
    leftover->has_lock = pthread_mutex_init(&leftover->lock, NULL) == 0;
    tsr_status st = leftover->has_lock ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a lock");
    if (st == TSR_OK) st = fs_open(path, &leftover->file, err);
    if (st == TSR_OK) st = open_stages(leftover, job->tensor->name, ends, count, registry, dictionaries, err);
    if (st == TSR_OK) st = matrix_open(&leftover->matrix, job, source, err);
    if (st != TSR_OK) return st;
    const struct tile_grid *grid = &leftover->decoder.grid;
    uint64_t tile = max_u64(grid->tile_rows * grid->tile_columns, 1);
    leftover->window_tiles = min_u64(max_u64(WINDOW_WEIGHTS / tile, 1), max_u64(grid->count, 1));
    leftover->window = mem_alloc_aligned(leftover->window_tiles * tile * leftover->width);
    return leftover->window ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a window of tiles");
}

void leftover_close(struct leftover *leftover) {
    decoder_close(&leftover->decoder);
    matrix_close(&leftover->matrix);
    fs_close(&leftover->file);
    if (leftover->has_lock) pthread_mutex_destroy(&leftover->lock);
    mem_free(leftover->window);
    *leftover = (struct leftover){0};
}
