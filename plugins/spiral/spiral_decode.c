/* SPDX-License-Identifier: Apache-2.0
 *
 * From tickets to values: the point of each ticket times the row's step, along the row's walk, rotated back. F32
 * products and sums in a fixed order, no libm. */
#include "spiral_decode.h"

int32_t spiral_take_multiple(struct spiral_rest *rest) {
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_MAX && rest->size > 0; i++) {
        uint8_t byte = *rest->bytes++;
        rest->size--;
        value |= (uint64_t)(byte & 127) << (7 * i);
        if (byte >= 128) continue;
        int32_t index = value <= UINT32_MAX ? unzigzag((uint32_t)value) : INT32_MAX;
        if (index <= SPIRAL_INDEX_MAX && index >= -SPIRAL_INDEX_MAX) return index;
        break;
    }
    rest->damaged = true;
    return 0;
}

/* walk[2 * pairs]: the row in the order of its walk. Escapes are tickets of decoder->count and above. */
static void place_pairs(const struct spiral_decoder *decoder, const struct spiral_point *points, float step,
                        const uint16_t *tickets, uint64_t pairs, struct spiral_rest *rest, float *walk) {
    const uint32_t count = decoder->count;
    const float unit = step * SPIRAL_ESCAPE_UNIT;
    for (uint64_t i = 0; i < pairs; i++) {
        if (tickets[i] < count) {
            walk[2 * i] = points[tickets[i]].x * step;
            walk[2 * i + 1] = points[tickets[i]].y * step;
        } else {
            walk[2 * i] = (float)spiral_take_multiple(rest) * unit;
            walk[2 * i + 1] = (float)spiral_take_multiple(rest) * unit;
        }
    }
}

static void follow_walk(const float *walk, uint64_t columns, uint64_t hop, float *row) {
    uint64_t column = 0;
    if (hop == 1) {
        memcpy(row, walk, (size_t)columns * sizeof *row);
        return;
    }
    for (uint64_t i = 0; i < columns; i++) {
        row[column] = walk[i];
        column = spiral_next(column, hop, columns);
    }
}

static void skip_escapes(const struct spiral_decoder *decoder, const uint16_t *tickets, uint64_t pairs,
                         struct spiral_rest *rest) {
    for (uint64_t i = 0; i < pairs; i++) {
        if (tickets[i] < decoder->count) continue;
        (void)spiral_take_multiple(rest);
        (void)spiral_take_multiple(rest);
    }
}

/* All but raw rows; those outside [first, last) are only passed over. */
static void decode_coded(const struct spiral_decoder *decoder, const tsr_tile *tile, const struct spiral_parsed *parsed,
                         struct spiral_rest *rest, uint64_t first, uint64_t last, float *x) {
    const uint64_t columns = tile->columns, pairs = spiral_pairs(columns), hop = spiral_hop(decoder->stride, columns);
    const uint16_t *tickets = parsed->tickets;
    for (uint64_t r = 0; r < tile->rows; r++) {
        float *row = x + (r - first) * columns;
        bool wanted = r >= first && r < last;
        if (wanted && parsed->codes[r] == STEP_CODE_ZERO) memset(row, 0, (size_t)columns * sizeof *row);
        if (parsed->codes[r] <= STEP_CODE_RAW) continue;
        if (wanted) {
            const struct spiral_point *points = decoder->points + (uint64_t)parsed->classes[r] * decoder->count;
            float step = step_code_value(parsed->codes[r], decoder->mantissa_bits);
            place_pairs(decoder, points, step, tickets, pairs, rest, parsed->row);
            follow_walk(parsed->row, columns, hop, row);
            if (decoder->rotated) decoder->hadamard->inverse(row, 1, columns, decoder->seed);
        } else if (!decoder->companded) {
            skip_escapes(decoder, tickets, pairs, rest);
        }
        tickets += pairs;
    }
}

static void decode_raw(const tsr_tile *tile, const struct spiral_parsed *parsed, struct spiral_rest *rest,
                       uint64_t first, uint64_t last, float *x) {
    const uint64_t bytes = tile->columns * 4;
    for (uint64_t r = 0; r < tile->rows; r++) {
        if (parsed->codes[r] != STEP_CODE_RAW) continue;
        if (bytes > rest->size) {
            rest->damaged = true;
            return;
        }
        for (uint64_t c = 0; r >= first && r < last && c < tile->columns; c++) {
            const uint8_t *at = rest->bytes + 4 * c;
            uint32_t bits = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
            memcpy(&x[(r - first) * tile->columns + c], &bits, sizeof bits);
        }
        rest->bytes += bytes;
        rest->size -= bytes;
    }
}

tsr_status spiral_decode_rows(const struct spiral_decoder *decoder, const tsr_tile *tile, const void *src,
                              uint64_t size, uint64_t first_row, uint64_t rows, float *x, tsr_error *err) {
    struct spiral_parsed parsed;
    tsr_status status = spiral_parse(decoder, tile, src, size, &parsed, err);
    if (status != TSR_OK) return status;
    struct spiral_rest rest = {parsed.rest, parsed.rest_bytes, false};
    decode_coded(decoder, tile, &parsed, &rest, first_row, first_row + rows, x);
    if (rest.damaged) return tsr_fail(err, TSR_E_CORRUPT, "spiral: tile: damaged escapes");
    decode_raw(tile, &parsed, &rest, first_row, first_row + rows, x);
    if (rest.damaged || rest.size) return tsr_fail(err, TSR_E_CORRUPT, "spiral: tile: bytes missing or left over");
    return TSR_OK;
}

tsr_status spiral_decode_tile(const struct spiral_decoder *decoder, const tsr_tile *tile, const void *src,
                              uint64_t size, float *x, tsr_error *err) {
    return spiral_decode_rows(decoder, tile, src, size, 0, tile->rows, x, err);
}
