/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodes one tile: rotates, chooses the step of each row, finds the tickets, and writes the layout of
 * spiral_bitstream.h from top to bottom. Reads the encoder only: any number of tiles at a time. */
#include "spiral_encode.h"

#include "sink.h"

#include <math.h>

static uint64_t stream_bound(const struct spiral_encoder *encoder, uint64_t tickets) {
    const tsr_entropy_split split = {sizeof split, encoder->model, NULL, encoder->low_bits, 16 - encoder->low_bits};
    if (encoder->model) return encoder->entropy->split_bound(&split, tickets);
    return (tickets * spiral_ticket_bits(encoder->alphabet) + 7) / 8;
}

static tsr_status encode_stream(const struct spiral_tile_work *work, uint64_t count, uint8_t *dst, uint64_t capacity,
                                uint64_t *written, tsr_error *err) {
    const struct spiral_encoder *encoder = work->encoder;
    const tsr_entropy_split split = {sizeof split, encoder->model, work->contexts, encoder->low_bits,
                                     16 - encoder->low_bits};
    *written = 0;
    if (count == 0) return TSR_OK;
    if (encoder->model) {
        return encoder->entropy->split_encode(&split, work->tickets, count, dst, capacity, written, err);
    }
    *written = stream_bound(encoder, count);
    if (*written > capacity) return tsr_fail(err, TSR_E_SPACE, "spiral: tile buffer full");
    encoder->entropy->bits_pack(work->tickets, count, spiral_ticket_bits(encoder->alphabet), dst);
    return TSR_OK;
}

/* The stream goes behind a gap for its own length, which is known only afterwards, and is moved up then. */
static tsr_status write_tickets(const struct spiral_tile_work *work, const struct side *side, uint64_t count,
                                struct sink *sink, tsr_error *err) {
    const uint64_t side_bytes = (side->bits + 7) / 8, gap = VARINT_MAX + side_bytes;
    uint64_t stream_bytes = 0;
    sink_varint(sink, (uint32_t)side_bytes);
    if (sink->full || gap > sink->capacity - sink->at) return tsr_fail(err, TSR_E_SPACE, "spiral: tile buffer full");
    uint8_t *stream = sink->bytes + sink->at + gap;
    tsr_status status = encode_stream(work, count, stream, sink->capacity - sink->at - gap, &stream_bytes, err);
    if (status != TSR_OK) return status;
    sink_varint(sink, (uint32_t)stream_bytes);
    uint8_t *bits = sink_take(sink, side_bytes);
    uint8_t *place = sink_take(sink, stream_bytes);
    if (place) memmove(place, stream, (size_t)stream_bytes);
    if (bits) side_write(work->rows, work->tile->rows, spiral_classes(work->encoder), side, bits);
    return TSR_OK;
}

/* Drops the tickets of rows without any, and makes escapes of those that the model does not know. Returns their number.
 */
static uint64_t gather_tickets(struct spiral_tile_work *work) {
    const struct spiral_encoder *encoder = work->encoder;
    const uint64_t pairs = spiral_pairs(work->tile->columns);
    uint64_t count = 0;
    for (uint64_t r = 0; r < work->tile->rows; r++) {
        struct segment *row = &work->rows[r];
        const uint32_t class = encoder->bucket_class[row->bucket];
        const uint32_t known =
            encoder->settings.points ? encoder->alphabet : encoder->classes[class].symbols << encoder->low_bits;
        row->escapes = 0;
        if (!segment_is_coded(row)) continue;
        for (uint64_t i = 0; i < pairs; i++) {
            uint16_t ticket = work->tickets[r * pairs + i];
            bool escaped = ticket >= known;
            row->escapes += escaped;
            if (escaped) ticket = (uint16_t)((encoder->alphabet - 1) << encoder->low_bits);
            work->tickets[count + i] = ticket;
        }
        if (work->contexts) memset(work->contexts + count, (int)class, (size_t)pairs);
        count += pairs;
    }
    return count;
}

static int32_t multiple_of(float value, float unit) {
    float scaled = fabsf(value) / unit;
    int32_t magnitude = (int32_t)(scaled + 0.5f);
    return value < 0 ? -magnitude : magnitude;
}

/* The pairs of a row whose ticket is the escape; `tickets` are those of the row as gathered. */
static void write_escapes(const struct spiral_tile_work *work, uint64_t r, const uint16_t *tickets, struct sink *sink) {
    const struct spiral_encoder *encoder = work->encoder;
    const uint64_t columns = work->tile->columns, hop = spiral_hop(encoder->stride, columns);
    const uint16_t escape = (uint16_t)((encoder->alphabet - 1) << encoder->low_bits);
    const float unit = step_code_value(work->rows[r].code, encoder->mantissa_bits) * SPIRAL_ESCAPE_UNIT;
    const float *row = work->x + r * columns;
    uint64_t column = 0;
    for (uint64_t i = 0; i < spiral_pairs(columns); i++) {
        float x = row[column], y;
        column = spiral_next(column, hop, columns);
        y = 2 * i + 1 < columns ? row[column] : 0;
        column = spiral_next(column, hop, columns);
        if (tickets[i] != escape) continue;
        sink_varint(sink, zigzag(multiple_of(x, unit)));
        sink_varint(sink, zigzag(multiple_of(y, unit)));
    }
}

static void write_rest(const struct spiral_tile_work *work, struct sink *sink) {
    const tsr_tile *tile = work->tile;
    const uint64_t pairs = spiral_pairs(tile->columns);
    const uint16_t *tickets = work->tickets;
    for (uint64_t r = 0; r < tile->rows; r++) {
        if (!segment_is_coded(&work->rows[r])) continue;
        if (work->rows[r].escapes) write_escapes(work, r, tickets, sink);
        tickets += pairs;
    }
    for (uint64_t r = 0; r < tile->rows; r++) {
        for (uint64_t c = 0; work->rows[r].code == STEP_CODE_RAW && c < tile->columns; c++) {
            uint32_t bits;
            memcpy(&bits, &work->x[r * tile->columns + c], sizeof bits);
            sink_number(sink, bits, 4);
        }
    }
}

tsr_status spiral_write_tile(struct spiral_tile_work *work, void *dst, uint64_t capacity, uint64_t *written,
                             tsr_error *err) {
    struct sink sink = {dst, capacity, 0, false};
    const uint64_t count = gather_tickets(work);
    struct side side = side_plan(work->rows, work->tile->rows, spiral_classes(work->encoder));
    sink_number(&sink, side.centre, 2);
    sink_number(&sink, side.code_rice, 1);
    if (work->encoder->class_count > 1) sink_number(&sink, side.class_rice, 1);
    tsr_status status = write_tickets(work, &side, count, &sink, err);
    if (status != TSR_OK) return status;
    write_rest(work, &sink);
    if (sink.full)
        return tsr_fail(err, TSR_E_SPACE, "spiral: tile needs more than %llu bytes", (unsigned long long)capacity);
    *written = sink.at;
    return TSR_OK;
}

uint64_t spiral_encode_bound(const struct spiral_encoder *encoder, const tsr_tile *tile) {
    const uint64_t tickets = tile->rows * spiral_pairs(tile->columns);
    /* Two Rice codes of at most 28 bits a row; an escape takes at most ten bytes, a raw value four. */
    return 4 + 3 * VARINT_MAX + 8 * tile->rows + stream_bound(encoder, tickets) + 2 * VARINT_MAX * tickets;
}

/* Offsets of what a tile needs in one block of memory. */
struct layout {
    uint64_t x, rows, lane, tickets, contexts, total;
};

static struct layout layout_of(const struct spiral_encoder *encoder, const tsr_tile *tile) {
    const uint64_t tickets = tile->rows * spiral_pairs(tile->columns);
    struct layout at = {0};
    at.rows = encoder->settings.rotate ? tile->rows * tile->columns * sizeof(float) : 0;
    at.lane = at.rows + tile->rows * sizeof(struct segment);
    at.tickets = at.lane + spiral_lane_bytes(tile->columns);
    at.contexts = at.tickets + tickets * sizeof(uint16_t);
    at.total = at.contexts + (encoder->class_count > 1 ? tickets : 0) + 64;
    return at;
}

tsr_status spiral_encode_tile(const struct spiral_encoder *encoder, const tsr_tile *tile, const float *x, void *dst,
                              uint64_t capacity, uint64_t *written, tsr_error *err) {
    const struct layout at = layout_of(encoder, tile);
    const uint64_t pairs = spiral_pairs(tile->columns);
    struct spiral_lane lane;
    uint8_t *memory = encoder->host->scratch(encoder->host, tile->worker, at.total);
    if (!memory) {
        return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory for a tile of %llu weights",
                        (unsigned long long)(tile->rows * tile->columns));
    }
    struct spiral_tile_work work = {encoder, tile, x, (void *)(memory + at.rows), (void *)(memory + at.tickets), NULL};
    if (encoder->class_count > 1) work.contexts = memory + at.contexts;
    float *rotated = encoder->settings.rotate ? (float *)(void *)memory : NULL;
    if (rotated) work.x = rotated;
    spiral_lane_init(&lane, memory + at.lane, tile->columns);
    for (uint64_t r = 0; r < tile->rows; r++) {
        const float *row = x + r * tile->columns;
        work.rows[r] = (struct segment){.code = STEP_CODE_RAW};
        bool raw = spiral_row_is_raw(row, tile->columns);
        if (rotated) row = spiral_row_rotate(encoder, row, tile->columns, raw, rotated + r * tile->columns);
        if (raw) continue;
        spiral_lane_load(encoder, &lane, row, tile->columns);
        work.rows[r] = spiral_row_choose(encoder, &lane, tile->columns, tile->first_row + r);
        if (!segment_is_coded(&work.rows[r])) continue;
        spiral_row_search(encoder, &work.rows[r], &lane, pairs);
        memcpy(work.tickets + r * pairs, lane.tickets, (size_t)pairs * sizeof *lane.tickets);
    }
    return spiral_write_tile(&work, dst, capacity, written, err);
}
