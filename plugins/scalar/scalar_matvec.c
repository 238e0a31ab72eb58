/* SPDX-License-Identifier: Apache-2.0
 *
 * Products without decoding: a packed tile has a byte a weight, the index moved into 0..table - 1, and a step a
 * segment. A row's table of values (points times step, rounded as the host rounds decoded ones) is made when the row is
 * multiplied. Indices that the table does not hold are exceptions with a place and a value each; a tile with many takes
 * a larger table, whose look-up takes twice as long, and one with too many, or with raw segments, has no product. */
#include "scalar_matvec.h"

#define COLUMNS_MAX 65536

/* A packed tile: head, codes [rows][whole blocks], steps [segments], values [capacity], first [rows + 1], columns
 * [capacity], lists [segments]. */
struct packed_head {
    uint32_t table; /* 32, 64 or 128 */
    uint32_t exceptions;
    uint8_t padding[56];
};

struct packed {
    struct packed_head *head;
    uint8_t *codes;
    float *steps;
    float *values;   /* of exceptions */
    uint32_t *first; /* exception of each row */
    uint16_t *columns;
    uint8_t *lists;
    uint64_t row_bytes, row_segments, capacity, bytes;
};

static struct packed place(const struct scalar_decoder *decoder, const tsr_tile *tile, void *memory) {
    uint8_t *at = memory;
    struct packed packed = {.head = memory};
    packed.row_bytes = (tile->columns + SCALAR_BLOCK - 1) / SCALAR_BLOCK * SCALAR_BLOCK;
    packed.row_segments = scalar_segments(tile->columns, decoder->group);
    packed.capacity = tile->rows * tile->columns / 128 + 8;
    uint64_t segments = tile->rows * packed.row_segments, codes = sizeof *packed.head,
             steps = codes + tile->rows * packed.row_bytes;
    uint64_t values = steps + segments * sizeof *packed.steps, first = values + packed.capacity * sizeof *packed.values;
    uint64_t columns = first + (tile->rows + 1) * sizeof *packed.first;
    uint64_t lists = columns + packed.capacity * sizeof *packed.columns;
    packed.bytes = lists + segments;
    if (!memory) return packed;
    packed.codes = at + codes;
    packed.steps = (float *)(void *)(at + steps);
    packed.values = (float *)(void *)(at + values);
    packed.first = (uint32_t *)(void *)(at + first);
    packed.columns = (uint16_t *)(void *)(at + columns);
    packed.lists = at + lists;
    return packed;
}

uint64_t scalar_packed_bytes(const struct scalar_decoder *decoder, const tsr_tile *tile) {
    if (decoder->group % SCALAR_BLOCK || tile->columns < SCALAR_BLOCK || tile->columns > COLUMNS_MAX) return 0;
    return place(decoder, tile, NULL).bytes;
}

/* The smallest table that leaves few exceptions; 0: none does. */
static uint32_t choose_table(const struct scalar_tile *work, uint64_t capacity) {
    const uint32_t middle = work->decoder->model.middle;
    for (uint32_t table = 32; table <= SCALAR_TABLE_MAX; table *= 2) {
        uint64_t outside = 0;
        for (uint64_t i = 0; i < work->symbol_count; i++) {
            uint32_t code = work->symbols[i] + table / 2 - middle; /* wraps below */
            outside += code >= table || work->symbols[i] > 2 * middle;
        }
        if (outside <= capacity) return table;
    }
    return 0;
}

/* The value of an index that is not in the table, as the decoder and then the host would have it; of symbol `at`. */
static bool exception_value(const struct scalar_tile *work, uint64_t segment, uint64_t at, float step,
                            struct input *rest, float *value) {
    const struct scalar_decoder *decoder = work->decoder;
    const uint32_t symbol = work->symbols[at];
    float points[32] = {0}, values[32];
    points[0] = decoder->points[(uint64_t)work->lists[segment] * (2 * decoder->model.middle + 2) + symbol];
    if (symbol > 2 * decoder->model.middle) {
        int32_t index;
        if (!scalar_take_escape(work, at, rest, &index)) return false;
        points[0] = (float)index;
    }
    decoder->products->fill(points, 32, step, decoder->dtype, values);
    *value = values[0];
    return true;
}

/* `first` is the segment's first symbol; it has some if `coded`. */
static bool pack_segment(const struct scalar_tile *work, struct packed *packed, uint64_t segment, bool coded,
                         uint64_t first, struct input *rest) {
    const struct scalar_decoder *decoder = work->decoder;
    const uint32_t table = packed->head->table, half = table / 2;
    uint64_t row = segment / packed->row_segments, start = segment % packed->row_segments * decoder->group;
    uint64_t count = scalar_tile_columns(work, segment);
    uint8_t *codes = packed->codes + row * packed->row_bytes;
    float step = packed->steps[segment];
    const uint16_t *symbols = work->symbols + first;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t code = coded ? symbols[i] + half - decoder->model.middle : half;
        if (code >= table || (coded && symbols[i] > 2 * decoder->model.middle)) {
            uint32_t at = packed->head->exceptions++; /* choose_table counted them */
            packed->columns[at] = (uint16_t)(start + i);
            if (!exception_value(work, segment, first + i, step, rest, &packed->values[at])) return false;
            code = half;
        }
        codes[scalar_code_place(start + i)] = (uint8_t)code;
    }
    return true;
}

static tsr_status pack_segments(const struct scalar_tile *work, struct packed *packed, struct input *rest,
                                tsr_error *err) {
    const struct scalar_decoder *decoder = work->decoder;
    uint64_t at = 0;
    for (uint64_t i = 0; i < work->segment_count; i++) {
        bool coded = work->codes[i] > STEP_CODE_RAW;
        if (work->codes[i] == STEP_CODE_RAW)
            return tsr_fail(err, TSR_E_UNSUPPORTED, "scalar: a raw segment has no product");
        packed->steps[i] = coded ? step_code_value(work->codes[i], decoder->mantissa_bits) : 0;
        packed->lists[i] = work->lists[i];
        if (i % packed->row_segments == 0) packed->first[i / packed->row_segments] = packed->head->exceptions;
        if (!pack_segment(work, packed, i, coded, at, rest)) {
            return tsr_fail(err, TSR_E_CORRUPT, "scalar: tile: damaged escapes");
        }
        if (coded) at += scalar_tile_columns(work, i);
    }
    packed->first[work->tile->rows] = packed->head->exceptions;
    if (rest->short_of || rest->size) return tsr_fail(err, TSR_E_CORRUPT, "scalar: tile: bytes missing or left over");
    return TSR_OK;
}

tsr_status scalar_pack_tile(const struct scalar_decoder *decoder, const tsr_tile *tile, const uint8_t *src,
                            uint64_t size, void *dst, tsr_error *err) {
    struct packed packed = place(decoder, tile, dst);
    struct scalar_tile work;
    struct input rest;
    tsr_status status = scalar_tile_open(decoder, tile, src, size, &work, &rest, err);
    if (status != TSR_OK) return status;
    *packed.head = (struct packed_head){.table = choose_table(&work, packed.capacity)};
    if (!packed.head->table) return tsr_fail(err, TSR_E_UNSUPPORTED, "scalar: indices too large for a product");
    memset(packed.codes, 0, tile->rows * packed.row_bytes);
    return pack_segments(&work, &packed, &rest, err);
}

/* points [list][table]: the window of the decoder's points that codes stand for. */
static void window_points(const struct scalar_decoder *decoder, uint32_t table, float *points) {
    const int64_t middle = decoder->model.middle, half = table / 2;
    for (uint64_t list = 0; list < decoder->lists; list++) {
        const float *from = decoder->points + list * (uint64_t)(2 * middle + 2);
        for (int64_t i = 0; i < 2 * half; i++) {
            int64_t symbol = i - half + middle;
            *points++ = symbol >= 0 && symbol <= 2 * middle ? from[symbol] : 0;
        }
    }
}

void scalar_apply_rows(const struct scalar_decoder *decoder, const tsr_tile *tile, const void *memory,
                       uint64_t first_row, uint64_t rows, const float *x, float *y) {
    const struct packed packed = place(decoder, tile, (void *)(uintptr_t)memory);
    float points[SCALAR_LISTS_MAX * SCALAR_TABLE_MAX];
    window_points(decoder, packed.head->table, points);
    memset(y, 0, rows * sizeof *y);
    for (uint64_t s = 0; s < packed.row_segments; s++) {
        uint64_t segment = first_row * packed.row_segments + s, start = s * decoder->group;
        const struct scalar_rows part = {.codes = packed.codes + first_row * packed.row_bytes + start,
                                         .row_bytes = packed.row_bytes,
                                         .rows = rows,
                                         .columns = scalar_segment_columns(tile->columns, decoder->group, s),
                                         .points = points,
                                         .table = packed.head->table,
                                         .steps = packed.steps + segment,
                                         .lists = packed.lists + segment,
                                         .stride = packed.row_segments,
                                         .dtype = decoder->dtype,
                                         .x = x + start};
        decoder->products->add_rows(&part, y);
    }
    for (uint64_t r = 0; r < rows; r++) {
        for (uint32_t i = packed.first[first_row + r]; i < packed.first[first_row + r + 1]; i++) {
            y[r] += packed.values[i] * x[packed.columns[i]];
        }
    }
}
