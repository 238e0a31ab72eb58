/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodes one tile: scales, the search for indices, a check that no segment is worse than zero, and the layout of
 * vq_bitstream.h from top to bottom. Reads the instance only: any number of tiles at a time. */
#include "sink.h"
#include "vq.h"

void vq_scale_row(const struct vq_grid *grid, const float *row, const uint16_t *codes, uint32_t mantissa_bits,
                  float *vectors) {
    const uint64_t padded = grid->row_vectors * grid->dim;
    for (uint64_t s = 0; s < grid->row_segments; s++) {
        const uint64_t first = s * grid->group, columns = vq_segment_columns(grid, s);
        const bool scaled = codes[s] > STEP_CODE_RAW;
        const float inverse = scaled ? 1.0f / step_code_value(codes[s], mantissa_bits) : 0;
        for (uint64_t c = first; c < first + columns; c++) vectors[c] = scaled ? row[c] * inverse : 0;
    }
    memset(vectors + grid->columns, 0, (size_t)(padded - grid->columns) * sizeof *vectors);
}

/* ---- writing ---- */

static void write_side(const struct vq_tile *tile, struct sink *sink) {
    const struct vq_side side = vq_side_plan(tile->codes, tile->grid.segments);
    const uint64_t size = (side.bits + 7) / 8;
    sink_number(sink, tile->mantissa_bits * 16 + side.rice, 1);
    sink_number(sink, side.centre, 2);
    sink_varint(sink, size);
    uint8_t *bytes = sink_take(sink, size);
    if (!bytes) return;
    memset(bytes, 0, (size_t)size);
    vq_side_write(tile->codes, tile->grid.segments, &side, bytes);
}

static void write_raw(const struct vq_tile *tile, struct sink *sink) {
    const struct vq_grid *grid = &tile->grid;
    for (uint64_t i = 0; i < grid->segments; i++) {
        if (tile->codes[i] != STEP_CODE_RAW) continue;
        const uint64_t row = i / grid->row_segments, segment = i % grid->row_segments;
        const float *x = tile->x + row * grid->columns + segment * grid->group;
        for (uint64_t c = 0; c < vq_segment_columns(grid, segment); c++) {
            uint32_t bits;
            memcpy(&bits, &x[c], sizeof bits);
            sink_number(sink, bits, 4);
        }
    }
}

static tsr_entropy_split split_of(const struct vq_stream *stream) {
    const uint32_t low = vq_low_bits(stream->width);
    return (tsr_entropy_split){sizeof(tsr_entropy_split), stream->model, NULL, low, 16 - low};
}

/* Stored with its size in front, which is known only afterwards: five bytes are kept free and closed up. */
static tsr_status write_coded(const struct vq *vq, const struct vq_stream *stream, const uint16_t *indices,
                              uint64_t count, struct sink *sink, tsr_error *err) {
    const tsr_entropy_split split = split_of(stream);
    struct sink front = *sink;
    uint64_t size = 0;
    if (sink->full || sink->capacity - sink->at < VARINT_MAX) {
        sink->full = true;
        return TSR_OK;
    }
    uint8_t *bytes = sink->bytes + sink->at + VARINT_MAX;
    tsr_status status =
        vq->entropy->split_encode(&split, indices, count, bytes, sink->capacity - sink->at - VARINT_MAX, &size, err);
    if (status != TSR_OK) return status;
    sink_varint(&front, size);
    memmove(front.bytes + front.at, bytes, (size_t)size);
    sink->at = front.at + size;
    return TSR_OK;
}

static tsr_status write_streams(const struct vq *vq, const struct vq_tile *tile, struct sink *sink, tsr_error *err) {
    const uint64_t count = tile->grid.vectors;
    tsr_status status = TSR_OK;
    for (uint32_t s = 0; s < vq->shape.streams && status == TSR_OK; s++) {
        const struct vq_stream *stream = &vq->streams[s];
        const uint16_t *indices = tile->indices + s * count;
        if (stream->model) {
            status = write_coded(vq, stream, indices, count, sink, err);
            continue;
        }
        uint8_t *bytes = sink_take(sink, (count * stream->width + 7) / 8);
        if (bytes && stream->width) vq->entropy->bits_pack(indices, count, stream->width, bytes);
    }
    return status;
}

tsr_status vq_write_tile(const struct vq *vq, const struct vq_tile *tile, uint8_t *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    struct sink sink = {dst, capacity, 0, false};
    write_side(tile, &sink);
    write_raw(tile, &sink);
    tsr_status status = write_streams(vq, tile, &sink, err);
    if (status != TSR_OK) return status;
    if (sink.full)
        return tsr_fail(err, TSR_E_SPACE, "%s: a tile needs more than %llu bytes", vq->kind->name,
                        (unsigned long long)capacity);
    *written = sink.at;
    return TSR_OK;
}

/* A scale code takes at most 28 bits. */
uint64_t vq_encode_bound(void *self, const tsr_tile *tile) {
    const struct vq *vq = self;
    const struct vq_grid grid = vq_tile_grid(vq, tile);
    uint64_t bound = 3 + VARINT_MAX + (grid.segments * 28 + 7) / 8 + grid.rows * grid.columns * sizeof(float);
    for (uint32_t s = 0; s < vq->shape.streams; s++) {
        const struct vq_stream *stream = &vq->streams[s];
        const tsr_entropy_split split = split_of(stream);
        bound += stream->model ? VARINT_MAX + vq->entropy->split_bound(&split, grid.vectors)
                               : (grid.vectors * stream->width + 7) / 8;
    }
    return bound;
}

/* ---- quantising ---- */

/* Working memory for one tile, all of it the worker's scratch. */
struct tile_work {
    struct vq_tile tile;
    float *vectors, *found; /* of one row: what is searched for, and what was found (before: the rotated row) */
    void *search;
};

static uint64_t rounded(uint64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static tsr_status work_init(const struct vq *vq, const tsr_tile *tile, struct tile_work *work, tsr_error *err) {
    const struct vq_grid grid = vq_tile_grid(vq, tile);
    const uint64_t row = rounded(grid.row_vectors * grid.dim * sizeof(float));
    const uint64_t codes = rounded(grid.segments * 2), indices = rounded(vq->shape.streams * grid.vectors * 2);
    const uint64_t search = vq->kind->search_bytes(vq, grid.row_vectors);
    uint8_t *memory = vq->host->scratch(vq->host, tile->worker, codes + indices + 2 * row + search);
    if (!memory) return vq_no_memory(vq, err);
    work->tile.grid = grid;
    work->tile.mantissa_bits = vq_mantissa_bits(grid.group);
    work->tile.codes = (uint16_t *)(void *)memory;
    work->tile.indices = (uint16_t *)(void *)(memory + codes);
    work->vectors = (float *)(void *)(memory + codes + indices);
    work->found = (float *)(void *)(memory + codes + indices + row);
    work->search = memory + codes + indices + 2 * row;
    return TSR_OK;
}

/* A segment whose error exceeds its energy is better stored as zeros. */
static void drop_worse_than_zero(const struct vq *vq, struct tile_work *work, uint64_t row) {
    const struct vq_grid *grid = &work->tile.grid;
    uint16_t *indices = work->tile.indices + row * grid->row_vectors;
    vq->kind->reconstruct(vq, indices, grid->vectors, grid->row_vectors, vq->shape.streams, work->found);
    for (uint64_t s = 0; s < grid->row_segments; s++) {
        const uint64_t first = s * grid->group, end = first + vq_segment_columns(grid, s);
        double error = 0, energy = 0;
        for (uint64_t c = first; c < end; c++) {
            double x = (double)work->vectors[c], difference = x - (double)work->found[c];
            error += difference * difference;
            energy += x * x;
        }
        uint16_t *code = &work->tile.codes[row * grid->row_segments + s];
        if (*code > STEP_CODE_RAW && error >= energy) *code = STEP_CODE_ZERO;
        for (uint32_t i = 0; *code <= STEP_CODE_RAW && i < vq->shape.streams; i++) {
            uint64_t vector = first / grid->dim, count = (end - first - 1) / grid->dim + 1;
            memset(indices + i * grid->vectors + vector, 0, (size_t)count * sizeof *indices);
        }
    }
}

static void quantise_row(const struct vq *vq, const tsr_tile *tile, struct tile_work *work, uint64_t row) {
    const struct vq_grid *grid = &work->tile.grid;
    const float *x = work->tile.x + row * grid->columns;
    uint16_t *codes = work->tile.codes + row * grid->row_segments;
    if (vq->hadamard && vq_row_is_raw(x, grid->columns)) {
        for (uint64_t s = 0; s < grid->row_segments; s++) codes[s] = STEP_CODE_RAW;
    } else {
        if (vq->hadamard) {
            memcpy(work->found, x, (size_t)grid->columns * sizeof *x);
            vq->hadamard->forward(work->found, 1, grid->columns, vq->seed);
            x = work->found;
        }
        vq_choose_codes(vq, grid, x, work->tile.mantissa_bits, codes);
    }
    vq_scale_row(grid, x, codes, work->tile.mantissa_bits, work->vectors);
    const struct vq_query query = {.vectors = work->vectors,
                                   .weights = vq->column_weight ? vq->column_weight + tile->first_column : NULL,
                                   .weight_stride = grid->dim,
                                   .count = grid->row_vectors,
                                   .indices = work->tile.indices + row * grid->row_vectors,
                                   .stride = grid->vectors};
    vq->kind->search(vq, &query, work->search);
    drop_worse_than_zero(vq, work, row);
}

tsr_status vq_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity, uint64_t *written,
                     tsr_error *err) {
    const struct vq *vq = self;
    struct tile_work work = {0};
    tsr_status status = work_init(vq, tile, &work, err);
    if (status != TSR_OK) return status;
    work.tile.x = src;
    for (uint64_t r = 0; r < tile->rows; r++) {
        if (r % 16 == 0 && vq->host->cancelled(vq->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
        quantise_row(vq, tile, &work, r);
    }
    return vq_write_tile(vq, &work.tile, dst, capacity, written, err);
}
