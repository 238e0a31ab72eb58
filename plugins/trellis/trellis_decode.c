/* SPDX-License-Identifier: Apache-2.0
 *
 * Decodes tiles in the order of trellis_bitstream.h. Every number is checked before it is used; whatever is
 * not what an encoder writes is TSR_E_CORRUPT. A symbol's context is known once the row above is: columns go side by
 * side, and the entropy coder is asked for at most a row of symbols at a time. One F32 multiplication a weight, no
 * libm. */
#include "trellis_decode.h"

#include "escape.h"

/* What a tile is being decoded with; the arrays are the worker's scratch. */
struct tile_work {
    const struct trellis_decoder *decoder;
    const tsr_tile *tile;
    uint16_t *codes;   /* [rows] */
    uint64_t *coded;   /* [rows]: rows that have symbols, in order */
    int8_t *row_codes; /* [rows] */
    uint8_t *states;   /* [columns] */
    uint8_t *contexts; /* [piece] */
    uint16_t *symbols; /* [piece] */
    uint64_t coded_rows;
    uint64_t first, last; /* rows wanted */
    float *x;             /* of row `first` on */
    struct input rest;    /* escapes, raw rows */
};

/* Symbols decoded at a time: as many whole groups of the entropy coder as a row has, since a symbol's context must be
 * known and depends on the one a row before. */
static uint64_t piece_of(uint64_t columns) {
    return columns < 32 ? columns : columns / 32 * 32;
}

static tsr_status work_init(struct tile_work *work, tsr_error *err) {
    const tsr_tile *tile = work->tile;
    const uint64_t piece = piece_of(tile->columns);
    uint64_t total = tile->rows * 11 + tile->columns + 3 * piece + 64;
    uint8_t *memory = work->decoder->host->scratch(work->decoder->host, tile->worker, total);
    if (!memory) {
        return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for a tile of %llu weights",
                        (unsigned long long)(tile->rows * tile->columns));
    }
    work->coded = (uint64_t *)(void *)memory;
    work->codes = (uint16_t *)(void *)(work->coded + tile->rows);
    work->symbols = work->codes + tile->rows;
    work->contexts = (uint8_t *)(work->symbols + piece);
    work->states = work->contexts + piece;
    work->row_codes = (int8_t *)(work->states + tile->columns);
    memset(work->states, 0, (size_t)tile->columns);
    return TSR_OK;
}

/* Steps and classes of all rows. */
static bool read_rows(struct tile_work *work, struct bits *bits, uint64_t centre, const uint8_t rice[2]) {
    const struct trellis_decoder *decoder = work->decoder;
    for (uint64_t r = 0; r < work->tile->rows; r++) {
        int64_t code = (int64_t)centre + unzigzag(bits_get_rice(bits, rice[0]));
        bool coded = code > STEP_CODE_RAW;
        if (code < 0 || (coded && (code > UINT16_MAX || !step_code_is_step((uint32_t)code, decoder->mantissa_bits)))) {
            return false;
        }
        const uint32_t stored = coded && decoder->rows_coded ? bits_get_rice(bits, rice[1]) : 0;
        const int32_t row_code = decoder->version == 1 ? (int32_t)stored : decoder->row_centre + unzigzag(stored);
        if (row_code < INT8_MIN || row_code > INT8_MAX) return false;
        if (decoder->version == 1 && stored >= decoder->shape.scales) return false;
        work->codes[r] = (uint16_t)code;
        work->row_codes[r] = (int8_t)row_code;
        if (coded) work->coded[work->coded_rows++] = r;
    }
    return bits_end(bits);
}

static int32_t take_index(struct tile_work *work, uint32_t context) {
    const uint32_t stored = input_varint(&work->rest);
    const uint32_t limit = work->decoder->model.limits[context];
    const int64_t index = work->decoder->version == 1 ? unzigzag(stored) : escape_index(stored, limit);
    if (index > TRELLIS_INDEX_MAX || index < -TRELLIS_INDEX_MAX) work->rest.short_of = true;
    return work->rest.short_of ? 0 : (int32_t)index;
}

/* Contexts of columns [first, first + count) of one row. */
static void fill_contexts(const struct tile_work *work, uint64_t row, uint64_t first, uint64_t count,
                          uint8_t *contexts) {
    const struct trellis_decoder *decoder = work->decoder;
    const uint8_t *states = work->states + first;
    const int32_t code = work->row_codes[row], last = (int32_t)decoder->shape.scales - 1;
    const uint8_t alone = (uint8_t)(2 * shape_scale(&decoder->shape, code, 0));
    const int8_t *columns = decoder->columns.codes ? decoder->columns.codes + work->tile->first_column + first : NULL;
    for (uint64_t i = 0; !columns && i < count; i++) contexts[i] = (uint8_t)(alone | (states[i] & 1));
    for (uint64_t i = 0; columns && i < count; i++) {
        int32_t scale = code + columns[i];
        scale = scale < 0 ? 0 : scale;
        scale = scale > last ? last : scale;
        contexts[i] = (uint8_t)(2 * scale | (states[i] & 1));
    }
}

/* Values of these columns, and the states below them. */
static void take_symbols(struct tile_work *work, uint64_t row, uint64_t first, uint64_t count,
                         const uint16_t *symbols, const uint8_t *contexts) {
    const struct trellis_decoder *decoder = work->decoder;
    const uint8_t *next = decoder->code.next;
    const uint32_t middle = decoder->model.middle, escape = 2 * middle + 1;
    const float step = step_code_value(work->codes[row], decoder->mantissa_bits);
    const bool wanted = row >= work->first && row < work->last;
    float *x = wanted ? work->x + (row - work->first) * work->tile->columns + first : NULL;
    const float *means = column_means(&decoder->columns, work->tile->first_column + first);
    uint8_t *states = work->states + first;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t parity = (symbols[i] ^ middle) & 1;
        float point = decoder->points[decoder->points_at[contexts[i]] + symbols[i]];
        if (symbols[i] == escape) {
            int32_t index = take_index(work, contexts[i]);
            parity = (uint32_t)index & 1;
            point = trellis_value(contexts[i] & 1, index);
        }
        states[i] = next[2 * states[i] + parity];
        if (wanted) x[i] = means ? point * step + means[i] : point * step;
    }
}

/* Calls part for each piece of a row in symbols [at, at + count) of the tile. */
static void for_rows(struct tile_work *work, uint64_t at, uint64_t count, bool contexts) {
    const uint64_t columns = work->tile->columns;
    for (uint64_t done = 0; done < count;) {
        const uint64_t row = work->coded[(at + done) / columns], first = (at + done) % columns;
        const uint64_t part = columns - first < count - done ? columns - first : count - done;
        if (contexts)
            fill_contexts(work, row, first, part, work->contexts + done);
        else
            take_symbols(work, row, first, part, work->symbols + done, work->contexts + done);
        done += part;
    }
}

static tsr_status decode_symbols(struct tile_work *work, const uint8_t *stream, uint64_t size, tsr_error *err) {
    const struct trellis_decoder *decoder = work->decoder;
    const uint64_t count = work->coded_rows * work->tile->columns, piece = piece_of(work->tile->columns);
    tsr_entropy_stream state;
    if (count == 0) return size == 0 ? TSR_OK : trellis_corrupt(err, "tile: symbols for no row");
    tsr_status status = decoder->entropy->stream_begin(&state, decoder->model.entropy, stream, size, count, err);
    for (uint64_t at = 0; at < count && status == TSR_OK; at += piece) {
        const uint64_t part = count - at < piece ? count - at : piece;
        for_rows(work, at, part, true);
        status = decoder->entropy->stream_decode(&state, work->contexts, work->symbols, part, err);
        if (status == TSR_OK) for_rows(work, at, part, false);
    }
    if (status == TSR_OK) status = decoder->entropy->stream_end(&state, err);
    if (status == TSR_OK && work->rest.short_of) status = trellis_corrupt(err, "tile: damaged escapes");
    return status;
}

/* Rows without symbols: of zeros, and raw ones. */
static bool decode_others(struct tile_work *work) {
    const uint64_t columns = work->tile->columns;
    for (uint64_t r = 0; r < work->tile->rows; r++) {
        const bool wanted = r >= work->first && r < work->last;
        float *row = wanted ? work->x + (r - work->first) * columns : NULL;
        if (work->codes[r] == STEP_CODE_ZERO && wanted) memset(row, 0, (size_t)columns * sizeof *row);
        if (work->codes[r] != STEP_CODE_RAW) continue;
        const uint8_t *bytes = input_take(&work->rest, 4 * columns);
        for (uint64_t c = 0; bytes && wanted && c < columns; c++) {
            const uint8_t *at = bytes + 4 * c;
            uint32_t bits = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
            memcpy(&row[c], &bits, sizeof bits);
        }
    }
    return !work->rest.short_of && work->rest.size == 0;
}

tsr_status trellis_decode_rows(const struct trellis_decoder *decoder, const tsr_tile *tile, const void *src,
                               uint64_t size, uint64_t first_row, uint64_t rows, float *x, tsr_error *err) {
    struct tile_work work = {.decoder = decoder, .tile = tile, .first = first_row, .last = first_row + rows, .x = x};
    struct input input = {src, size, false};
    uint8_t rice[2] = {0, 0};
    uint64_t centre = input_number(&input, 2);
    rice[0] = (uint8_t)input_byte(&input);
    if (decoder->rows_coded) rice[1] = (uint8_t)input_byte(&input);
    uint64_t side_bytes = input_varint(&input);
    uint64_t stream_bytes = input_varint(&input);
    const uint8_t *side = input_take(&input, side_bytes);
    const uint8_t *stream = input_take(&input, stream_bytes);
    if (input.short_of) return trellis_corrupt(err, "tile: cut short");
    if (rice[0] > RICE_MAX || rice[1] > RICE_MAX) return trellis_corrupt(err, "tile: Rice parameter above 15");
    tsr_status status = work_init(&work, err);
    if (status != TSR_OK) return status;
    struct bits bits = {side, 0, side_bytes * 8, false};
    if (!read_rows(&work, &bits, centre, rice)) return trellis_corrupt(err, "tile: damaged steps");
    work.rest = input;
    status = decode_symbols(&work, stream, stream_bytes, err);
    if (status == TSR_OK && !decode_others(&work)) status = trellis_corrupt(err, "tile: bytes missing or left over");
    return status;
}

tsr_status trellis_decode_tile(const struct trellis_decoder *decoder, const tsr_tile *tile, const void *src,
                               uint64_t size, float *x, tsr_error *err) {
    return trellis_decode_rows(decoder, tile, src, size, 0, tile->rows, x, err);
}
