/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodes one tile: chooses the step of each row, finds the path down each column, and writes the layout of
 * trellis_bitstream.h from top to bottom. Reads the encoder only: any number of tiles at a time. */
#include "trellis_encode.h"

#include "escape.h"
#include "sink.h"

#include <math.h>
#include <stdlib.h>

/* Symbols and contexts from indices, in the order of rows: states are followed as decoders do. Returns their number. */
static uint64_t make_symbols(const struct trellis_tile_work *work) {
    const struct trellis_encoder *encoder = work->encoder;
    const uint64_t columns = work->tile->columns;
    const int32_t *index = work->indices;
    uint64_t count = 0;
    memset(work->states, 0, (size_t)columns);
    for (uint64_t r = 0; r < work->tile->rows; r++) {
        const struct segment *row = &work->rows[r];
        if (!segment_is_coded(row)) continue;
        const int32_t code = trellis_row_code(row);
        for (uint64_t c = 0; c < columns; c++, count++) {
            const uint32_t state = work->states[c], magnitude = (uint32_t)abs(index[count]);
            const int32_t column = column_code(&encoder->columns, work->tile->first_column + c);
            const uint32_t context = 2 * shape_scale(&encoder->shape, code, column) + (state & 1);
            uint32_t symbol = (uint32_t)((int32_t)encoder->model.middle + index[count]);
            if (magnitude > encoder->model.limits[context]) symbol = 2 * encoder->model.middle + 1;
            work->symbols[count] = (uint16_t)symbol;
            work->contexts[count] = (uint8_t)context;
            work->states[c] = encoder->code.next[2 * state + ((uint32_t)index[count] & 1)];
        }
    }
    return count;
}

/* The stream goes behind a gap for its own length, which is known only afterwards, and is moved up then. */
static tsr_status write_symbols(const struct trellis_tile_work *work, const struct side *side, uint64_t count,
                                struct sink *sink, tsr_error *err) {
    const struct trellis_encoder *encoder = work->encoder;
    const tsr_entropy_split split = {sizeof split, encoder->model.entropy, work->contexts, 0, 16};
    const uint64_t side_bytes = (side->bits + 7) / 8, gap = VARINT_MAX + side_bytes;
    uint64_t stream_bytes = 0;
    sink_varint(sink, (uint32_t)side_bytes);
    if (sink->full || gap > sink->capacity - sink->at) return tsr_fail(err, TSR_E_SPACE, "trellis: tile buffer full");
    uint8_t *stream = sink->bytes + sink->at + gap;
    if (count > 0) {
        tsr_status status = encoder->entropy->split_encode(&split, work->symbols, count, stream,
                                                           sink->capacity - sink->at - gap, &stream_bytes, err);
        if (status != TSR_OK) return status;
    }
    sink_varint(sink, (uint32_t)stream_bytes);
    uint8_t *bits = sink_take(sink, side_bytes);
    uint8_t *place = sink_take(sink, stream_bytes);
    if (place) memmove(place, stream, (size_t)stream_bytes);
    if (bits) side_write(work->rows, work->tile->rows, trellis_classes(work->encoder), side, bits);
    return TSR_OK;
}

/* Escaped indices, then raw rows. */
static void write_rest(const struct trellis_tile_work *work, uint64_t count, struct sink *sink) {
    const uint64_t columns = work->tile->columns;
    for (uint64_t i = 0; i < count; i++) {
        const uint32_t magnitude = (uint32_t)abs(work->indices[i]), limit = work->encoder->model.limits[work->contexts[i]];
        if (magnitude > limit) sink_varint(sink, escape_code(work->indices[i], limit));
    }
    for (uint64_t r = 0; r < work->tile->rows; r++) {
        for (uint64_t c = 0; work->rows[r].code == STEP_CODE_RAW && c < columns; c++) {
            uint32_t bits;
            memcpy(&bits, &work->x[r * columns + c], sizeof bits);
            sink_number(sink, bits, 4);
        }
    }
}

tsr_status trellis_write_tile(const struct trellis_tile_work *work, void *dst, uint64_t capacity, uint64_t *written,
                              tsr_error *err) {
    struct sink sink = {dst, capacity, 0, false};
    struct side side = side_plan(work->rows, work->tile->rows, trellis_classes(work->encoder));
    sink_number(&sink, side.centre, 2);
    sink_number(&sink, side.code_rice, 1);
    if (work->encoder->rows_coded) sink_number(&sink, side.class_rice, 1);
    const uint64_t count = make_symbols(work);
    tsr_status status = write_symbols(work, &side, count, &sink, err);
    if (status != TSR_OK) return status;
    write_rest(work, count, &sink);
    if (sink.full)
        return tsr_fail(err, TSR_E_SPACE, "trellis: tile needs more than %llu bytes", (unsigned long long)capacity);
    *written = sink.at;
    return TSR_OK;
}

uint64_t trellis_encode_bound(const struct trellis_encoder *encoder, const tsr_tile *tile) {
    const tsr_entropy_split split = {sizeof split, encoder->model.entropy, NULL, 0, 16};
    const uint64_t weights = tile->rows * tile->columns;
    /* Two Rice codes of at most 28 bits a row; an escape or a raw value is at most 5 bytes. */
    return 4 + 3 * VARINT_MAX + 8 * tile->rows + encoder->entropy->split_bound(&split, weights) + VARINT_MAX * weights;
}

uint64_t trellis_work_bytes(const tsr_tile *tile) {
    const uint64_t weights = tile->rows * tile->columns;
    return tile->rows * sizeof(struct segment) + weights * 7 + tile->columns + 64;
}

void trellis_work_init(struct trellis_tile_work *work, void *memory) {
    const uint64_t weights = work->tile->rows * work->tile->columns;
    work->rows = memory;
    work->indices = (int32_t *)(void *)(work->rows + work->tile->rows);
    work->symbols = (uint16_t *)(void *)(work->indices + weights);
    work->contexts = (uint8_t *)(work->symbols + weights);
    work->states = work->contexts + weights;
}

tsr_status trellis_encode_tile(const struct trellis_encoder *encoder, const tsr_tile *tile, const float *x, void *dst,
                               uint64_t capacity, uint64_t *written, tsr_error *err) {
    const uint64_t work_bytes = (trellis_work_bytes(tile) + 63) / 64 * 64, columns = tile->columns;
    const uint64_t total = work_bytes + trellis_lane_bytes(encoder);
    uint8_t *memory = encoder->host->scratch(encoder->host, tile->worker, total);
    if (!memory) {
        return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for a tile of %llu weights",
                        (unsigned long long)(tile->rows * columns));
    }
    struct trellis_tile_work work = {.encoder = encoder, .tile = tile, .x = x};
    struct trellis_lane lane;
    trellis_work_init(&work, memory);
    trellis_lane_init(&lane, memory + work_bytes);
    for (uint64_t r = 0; r < tile->rows; r++) {
        const struct row_facts facts =
            row_look(x + r * columns, column_gain(&encoder->columns, tile->first_column),
                     column_means(&encoder->columns, tile->first_column), columns);
        work.rows[r] = trellis_row_choose(encoder, &facts, tile->first_row + r);
    }
    for (uint64_t c = 0; c < columns; c += TRELLIS_LANES) {
        const struct trellis_columns some = {.rows = work.rows,
                                             .count = tile->rows,
                                             .x = x + c,
                                             .stride = columns,
                                             .width = columns - c < TRELLIS_LANES ? columns - c : TRELLIS_LANES,
                                             .first = tile->first_column + c,
                                             .final = true,
                                             .indices = work.indices + c,
                                             .index_stride = columns};
        trellis_columns_find(encoder, &some, &lane);
    }
    return trellis_write_tile(&work, dst, capacity, written, err);
}
