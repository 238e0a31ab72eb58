/* SPDX-License-Identifier: Apache-2.0
 *
 * Decodes tiles, and rows of them, in the order of vq_bitstream.h. Every number is checked before it is used. Float
 * additions and one multiplication a weight in a fixed order, no libm. */
#include "vq.h"
#include "input.h"

/* ---- parts ---- */

static tsr_status parse_side(const struct vq *vq, struct input *input, uint16_t *codes, struct vq_parsed *parsed,
                             tsr_error *err) {
    uint32_t form = input_byte(input), low = input_byte(input), high = input_byte(input);
    struct vq_side side = {0, low | high << 8, form & 15};
    uint64_t size = input_varint(input), raw = 0;
    const uint8_t *bytes = input_take(input, size);
    parsed->mantissa_bits = form >> 4;
    if (input->short_of || parsed->mantissa_bits < 1 || parsed->mantissa_bits > 7) {
        return vq_corrupt(vq, err, "tile: damaged head");
    }
    if (!vq_side_read(bytes, size, &side, parsed->mantissa_bits, codes, parsed->grid.segments)) {
        return vq_corrupt(vq, err, "tile: damaged scales");
    }
    for (uint64_t i = 0; i < parsed->grid.segments; i++) {
        if (codes[i] == STEP_CODE_RAW) raw += vq_segment_columns(&parsed->grid, i % parsed->grid.row_segments);
    }
    parsed->raw = input_take(input, raw * sizeof(float));
    return input->short_of ? vq_corrupt(vq, err, "tile: cut short") : TSR_OK;
}

tsr_status vq_parse_tile(const struct vq *vq, const tsr_tile *tile, const uint8_t *src, uint64_t size, uint16_t *codes,
                         struct vq_parsed *parsed, tsr_error *err) {
    struct input input = {src, size, false};
    parsed->grid = vq_tile_grid(vq, tile);
    parsed->streams = vq_used_streams(vq);
    tsr_status status = parse_side(vq, &input, codes, parsed, err);
    if (status != TSR_OK) return status;
    for (uint32_t s = 0; s < parsed->streams; s++) {
        const struct vq_stream *stream = &vq->streams[s];
        uint64_t bytes = stream->model ? input_varint(&input) : (parsed->grid.vectors * stream->width + 7) / 8;
        parsed->stream[s] = input_take(&input, bytes);
        parsed->stream_bytes[s] = bytes;
    }
    if (input.short_of) return vq_corrupt(vq, err, "tile: cut short");
    /* A coarser level may have the rest of the tile behind it, or not. */
    if (parsed->streams == vq->shape.streams && input.size != 0) return vq_corrupt(vq, err, "tile: bytes left over");
    return TSR_OK;
}

static tsr_status read_coded(const struct vq *vq, const struct vq_parsed *parsed, uint32_t s, uint64_t first,
                             uint64_t count, uint16_t *indices, uint16_t *whole, tsr_error *err) {
    const struct vq_stream *stream = &vq->streams[s];
    const uint32_t low = vq_low_bits(stream->width);
    const tsr_entropy_split split = {sizeof split, stream->model, NULL, low, 16 - low};
    tsr_status status =
        vq->entropy->split_decode(&split, parsed->stream[s], parsed->stream_bytes[s], whole, parsed->grid.vectors, err);
    if (status == TSR_OK && whole != indices) memmove(indices, whole + first, (size_t)count * sizeof *indices);
    return status;
}

tsr_status vq_read_indices(const struct vq *vq, const struct vq_parsed *parsed, uint32_t s, uint64_t first,
                           uint64_t count, uint16_t *indices, uint16_t *whole, tsr_error *err) {
    const struct vq_stream *stream = &vq->streams[s];
    uint32_t largest = 0;
    if (stream->model) {
        tsr_status status = read_coded(vq, parsed, s, first, count, indices, whole, err);
        if (status != TSR_OK) return status;
    } else {
        /* Whole bytes begin at every eighth index. */
        uint64_t skip = first % 8, bytes = (first - skip) * stream->width / 8;
        uint16_t head[8];
        uint64_t some = skip ? (count < 8 - skip ? count : 8 - skip) : 0;
        if (some) vq->entropy->bits_unpack(parsed->stream[s] + bytes, skip + some, stream->width, head);
        memcpy(indices, head + skip, (size_t)some * sizeof *indices);
        bytes += skip ? stream->width : 0;
        vq->entropy->bits_unpack(parsed->stream[s] + bytes, count - some, stream->width, indices + some);
    }
    for (uint64_t i = 0; i < count; i++) largest = indices[i] > largest ? indices[i] : largest;
    return largest < stream->size ? TSR_OK : vq_corrupt(vq, err, "tile: an index out of range");
}

/* ---- rows ---- */

/* Working memory, all of it the worker's scratch. */
struct rows_work {
    struct vq_parsed parsed;
    uint16_t *codes;   /* [segments of the tile] */
    uint16_t *indices; /* [streams][vectors of the rows] */
    uint16_t *whole;   /* [vectors of the tile] */
    float *vectors;    /* [row_vectors][dim] */
};

static uint64_t aligned(uint64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static tsr_status work_init(const struct vq *vq, const tsr_tile *tile, uint64_t rows, struct rows_work *work,
                            tsr_error *err) {
    const struct vq_grid grid = vq_tile_grid(vq, tile);
    const uint64_t codes = aligned(grid.segments * 2), whole = aligned(grid.vectors * 2);
    const uint64_t indices = aligned(vq->shape.streams * rows * grid.row_vectors * 2);
    const uint64_t row = grid.row_vectors * grid.dim * sizeof(float);
    uint8_t *memory = vq->host->scratch(vq->host, tile->worker, codes + indices + whole + row);
    if (!memory) return vq_no_memory(vq, err);
    work->codes = (uint16_t *)(void *)memory;
    work->indices = (uint16_t *)(void *)(memory + codes);
    work->whole = (uint16_t *)(void *)(memory + codes + indices);
    work->vectors = (float *)(void *)(memory + codes + indices + whole);
    return TSR_OK;
}

static void copy_raw(const uint8_t *raw, uint64_t count, float *x) {
    for (uint64_t i = 0; i < count; i++, raw += 4) {
        uint32_t bits = (uint32_t)raw[0] | (uint32_t)raw[1] << 8 | (uint32_t)raw[2] << 16 | (uint32_t)raw[3] << 24;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

/* Vectors and codes of one row into x, before it is rotated back; moves *raw on behind its raw segments. */
static void place_row(const struct rows_work *work, const uint16_t *codes, const uint8_t **raw, float *x) {
    const struct vq_grid *grid = &work->parsed.grid;
    for (uint64_t s = 0; s < grid->row_segments; s++) {
        const uint64_t first = s * grid->group, columns = vq_segment_columns(grid, s);
        const float *from = work->vectors + first;
        if (codes[s] == STEP_CODE_ZERO) memset(x + first, 0, (size_t)columns * sizeof *x);
        if (codes[s] == STEP_CODE_RAW) {
            copy_raw(*raw, columns, x + first);
            *raw += columns * sizeof(float);
        }
        if (codes[s] <= STEP_CODE_RAW) continue;
        const float scale = step_code_value(codes[s], work->parsed.mantissa_bits);
        for (uint64_t c = 0; c < columns; c++) x[first + c] = from[c] * scale;
    }
}

static bool has_raw(const struct vq_grid *grid, const uint16_t *codes) {
    for (uint64_t s = 0; s < grid->row_segments; s++) {
        if (codes[s] == STEP_CODE_RAW) return true;
    }
    return false;
}

/* Raw values of the segments before a row. */
static const uint8_t *raw_before(const struct rows_work *work, uint64_t row) {
    const struct vq_grid *grid = &work->parsed.grid;
    const uint8_t *raw = work->parsed.raw;
    for (uint64_t i = 0; i < row * grid->row_segments; i++) {
        if (work->codes[i] == STEP_CODE_RAW) raw += vq_segment_columns(grid, i % grid->row_segments) * sizeof(float);
    }
    return raw;
}

static tsr_status decode_rows(void *self, const tsr_tile *tile, const void *src, uint64_t size, uint64_t first_row,
                              uint64_t rows, void *dst, tsr_error *err) {
    const struct vq *vq = self;
    float *x = dst;
    struct rows_work work = {0};
    tsr_status status = work_init(vq, tile, rows, &work, err);
    if (status == TSR_OK) status = vq_parse_tile(vq, tile, src, size, work.codes, &work.parsed, err);
    if (status != TSR_OK) return status;
    const struct vq_grid *grid = &work.parsed.grid;
    const uint64_t count = rows * grid->row_vectors;
    for (uint32_t s = 0; s < work.parsed.streams && status == TSR_OK; s++) {
        status = vq_read_indices(vq, &work.parsed, s, first_row * grid->row_vectors, count, work.indices + s * count,
                                 work.whole, err);
    }
    if (status != TSR_OK) return status;
    const uint8_t *raw = raw_before(&work, first_row);
    for (uint64_t r = 0; r < rows; r++) {
        vq->kind->reconstruct(vq, work.indices + r * grid->row_vectors, count, grid->row_vectors, work.parsed.streams,
                              work.vectors);
        const uint16_t *codes = work.codes + (first_row + r) * grid->row_segments;
        place_row(&work, codes, &raw, x + r * grid->columns);
        if (vq->hadamard && !has_raw(grid, codes))
            vq->hadamard->inverse(x + r * grid->columns, 1, grid->columns, vq->seed);
    }
    return TSR_OK;
}

const tsr_rows VQ_ROWS = {sizeof VQ_ROWS, decode_rows};

tsr_status vq_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    return decode_rows(self, tile, src, size, 0, tile->rows, dst, err);
}
