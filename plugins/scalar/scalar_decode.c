/* SPDX-License-Identifier: Apache-2.0
 *
 * Decodes tiles in the order of scalar_bitstream.h. Every number is checked before it is used; whatever is
 * not what an encoder writes is TSR_E_CORRUPT. One F32 multiplication a weight, no libm. */
#include "scalar_decode.h"

#include "escape.h"

static tsr_status work_init(struct scalar_tile *work, tsr_error *err) {
    const struct scalar_decoder *decoder = work->decoder;
    const uint64_t weights = work->tile->rows * work->tile->columns;
    work->row_segments = scalar_segments(work->tile->columns, decoder->group);
    work->segment_count = work->tile->rows * work->row_segments;
    uint64_t total = 3 * work->segment_count + 2 * weights + (decoder->shape.scales > 1 ? weights : 0) + 64;
    uint8_t *memory = decoder->host->scratch(decoder->host, work->tile->worker, total);
    if (!memory) {
        return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for a tile of %llu weights", (unsigned long long)weights);
    }
    work->symbols = (uint16_t *)(void *)memory;
    work->codes = work->symbols + weights;
    work->lists = (uint8_t *)(work->codes + work->segment_count);
    if (decoder->shape.scales > 1) work->contexts = work->lists + work->segment_count;
    return TSR_OK;
}

/* Contexts of a segment's symbols, and its points, from what is stored of its row. */
static bool take_row(struct scalar_tile *work, uint64_t segment, uint32_t stored) {
    const struct scalar_decoder *decoder = work->decoder;
    const uint64_t count = scalar_tile_columns(work, segment);
    const uint64_t column = work->tile->first_column + segment % work->row_segments * decoder->group;
    const int32_t row = decoder->version == 1 ? (int32_t)stored : decoder->row_centre + unzigzag(stored);
    if (row < INT8_MIN || row > INT8_MAX || (decoder->version == 1 && stored >= decoder->shape.scales)) return false;
    const uint32_t scale = shape_scale(&decoder->shape, row, decoder->columns.centre);
    work->lists[segment] = (uint8_t)(decoder->version == 1 ? scale : shape_group(&decoder->shape, scale));
    if (work->contexts && decoder->columns.codes)
        decoder->kernels->contexts(decoder->columns.codes + column, count, row, (int32_t)decoder->shape.scales - 1,
                                   work->contexts + work->symbol_count);
    else if (work->contexts)
        memset(work->contexts + work->symbol_count, (int)scale, (size_t)count);
    work->symbol_count += count;
    return true;
}

/* Steps and rows' codes of all segments, and from them the number of symbols and their contexts. */
static bool read_segments(struct scalar_tile *work, struct bits *bits, uint32_t centre, const uint8_t rice[2]) {
    const struct scalar_decoder *decoder = work->decoder;
    for (uint64_t i = 0; i < work->segment_count; i++) {
        int64_t code = (int64_t)centre + unzigzag(bits_get_rice(bits, rice[0]));
        bool coded = code > STEP_CODE_RAW;
        if (code < 0 || (coded && (code > UINT16_MAX || !step_code_is_step((uint32_t)code, decoder->mantissa_bits)))) {
            return false;
        }
        work->codes[i] = (uint16_t)code;
        work->lists[i] = 0;
        if (!coded) continue;
        if (!take_row(work, i, decoder->rows_coded ? bits_get_rice(bits, rice[1]) : 0)) return false;
    }
    return bits_end(bits);
}

static tsr_status read_symbols(const struct scalar_tile *work, const uint8_t *stream, uint64_t size, tsr_error *err) {
    const struct scalar_decoder *decoder = work->decoder;
    const tsr_entropy_split split = {sizeof split, decoder->model.entropy, work->contexts, 0, 16};
    if (work->symbol_count == 0) return size == 0 ? TSR_OK : scalar_corrupt(err, "tile: symbols for no segment");
    return decoder->entropy->split_decode(&split, stream, size, work->symbols, work->symbol_count, err);
}

bool scalar_take_escape(const struct scalar_tile *work, uint64_t at, struct input *rest, int32_t *index) {
    const struct scalar_decoder *decoder = work->decoder;
    const uint32_t stored = input_varint(rest), limit = decoder->model.limits[work->contexts ? work->contexts[at] : 0];
    const int64_t found = decoder->version == 1 ? unzigzag(stored) : escape_index(stored, limit);
    if (rest->short_of || found > SCALAR_INDEX_MAX || found < -SCALAR_INDEX_MAX) return false;
    *index = (int32_t)found;
    return true;
}

/* Values of the escapes among symbols [at, at + count). */
static bool patch_escapes(const struct scalar_tile *work, uint64_t at, uint64_t count, float step, struct input *rest,
                          float *x) {
    for (uint64_t i = 0; i < count; i++) {
        int32_t index;
        if (work->symbols[at + i] != 2 * work->decoder->model.middle + 1) continue;
        if (!scalar_take_escape(work, at + i, rest, &index)) return false;
        x[i] = (float)index * step;
    }
    return true;
}

/* All but raw segments. */
static bool reconstruct(const struct scalar_tile *work, struct input *rest, float *x) {
    const struct scalar_decoder *decoder = work->decoder;
    const uint32_t escape = 2 * decoder->model.middle + 1;
    uint64_t at = 0;
    for (uint64_t i = 0; i < work->segment_count; i++) {
        uint64_t count = scalar_tile_columns(work, i);
        if (work->codes[i] == STEP_CODE_ZERO) memset(x, 0, (size_t)count * sizeof *x);
        if (work->codes[i] > STEP_CODE_RAW) {
            const float *points = decoder->points + (uint64_t)work->lists[i] * (escape + 1);
            float step = step_code_value(work->codes[i], decoder->mantissa_bits);
            uint64_t escapes =
                decoder->kernels->reconstruct(work->symbols + at, count, points, step, escape, x);
            if (escapes > 0 && !patch_escapes(work, at, count, step, rest, x)) return false;
            at += count;
        }
        x += count;
    }
    return true;
}

static bool read_raw(const struct scalar_tile *work, struct input *rest, float *x) {
    for (uint64_t i = 0; i < work->segment_count; i++) {
        uint64_t count = scalar_tile_columns(work, i);
        for (uint64_t j = 0; work->codes[i] == STEP_CODE_RAW && j < count; j++) {
            uint32_t bits = (uint32_t)input_number(rest, 4);
            memcpy(&x[j], &bits, sizeof bits);
        }
        x += count;
    }
    return !rest->short_of && rest->size == 0;
}

tsr_status scalar_tile_open(const struct scalar_decoder *decoder, const tsr_tile *tile, const uint8_t *src,
                            uint64_t size, struct scalar_tile *work, struct input *rest, tsr_error *err) {
    *work = (struct scalar_tile){.decoder = decoder, .tile = tile};
    *rest = (struct input){src, size, false};
    uint8_t rice[2] = {0, 0};
    uint32_t centre = (uint32_t)input_number(rest, 2);
    rice[0] = (uint8_t)input_byte(rest);
    if (decoder->rows_coded) rice[1] = (uint8_t)input_byte(rest);
    uint64_t side_bytes = input_varint(rest);
    uint64_t stream_bytes = input_varint(rest);
    const uint8_t *side = input_take(rest, side_bytes);
    const uint8_t *stream = input_take(rest, stream_bytes);
    if (rest->short_of) return scalar_corrupt(err, "tile: cut short");
    if (rice[0] > RICE_MAX || rice[1] > RICE_MAX) return scalar_corrupt(err, "tile: Rice parameter above 15");
    tsr_status status = work_init(work, err);
    if (status != TSR_OK) return status;
    struct bits bits = {side, 0, side_bytes * 8, false};
    if (!read_segments(work, &bits, centre, rice)) return scalar_corrupt(err, "tile: damaged steps");
    return read_symbols(work, stream, stream_bytes, err);
}

tsr_status scalar_decode_tile(const struct scalar_decoder *decoder, const tsr_tile *tile, const uint8_t *src,
                              uint64_t size, float *x, tsr_error *err) {
    struct scalar_tile work;
    struct input rest;
    tsr_status status = scalar_tile_open(decoder, tile, src, size, &work, &rest, err);
    if (status != TSR_OK) return status;
    if (!reconstruct(&work, &rest, x)) return scalar_corrupt(err, "tile: damaged escapes");
    if (!read_raw(&work, &rest, x)) return scalar_corrupt(err, "tile: bytes missing or left over");
    return TSR_OK;
}
