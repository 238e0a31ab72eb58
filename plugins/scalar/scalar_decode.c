/* SPDX-License-Identifier: Apache-2.0
 *
 * Decodes headers and tiles in the order of scalar_bitstream.h. Every number is checked before it is used; whatever is
 * not what an encoder writes is TSR_E_CORRUPT. One F32 multiplication a weight, no libm. */
#include "scalar_decode.h"

#include "whole_model.h"

static tsr_status corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "scalar: %s", what);
}

static tsr_status read_classes(struct scalar_decoder *decoder, struct input *input, tsr_error *err) {
    const uint32_t alphabet = 2 * decoder->middle + 2;
    uint64_t bytes = (uint64_t)decoder->class_count * alphabet * sizeof *decoder->points;
    decoder->points = decoder->host->alloc(decoder->host, bytes);
    if (!decoder->points) return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for reconstruction points");
    for (uint32_t c = 0; c < decoder->class_count; c++) {
        uint32_t count = input_byte(input);
        const uint8_t *offsets = input_take(input, count);
        if (!offsets || count > SCALAR_OFFSETS_MAX) return corrupt(err, "header: damaged reconstruction points");
        int8_t signed_offsets[SCALAR_OFFSETS_MAX];
        memcpy(signed_offsets, offsets, count);
        scalar_fill_points(decoder->points + (uint64_t)c * alphabet, decoder->middle, signed_offsets, count);
    }
    return TSR_OK;
}

static tsr_status read_model(struct scalar_decoder *decoder, struct input *input, tsr_error *err) {
    bool fits = false;
    tsr_status status = whole_model_read(decoder->entropy, decoder->host, input, 2 * decoder->middle + 2, decoder->class_count,
                                         &decoder->model, &fits, err);
    return status == TSR_OK && !fits ? corrupt(err, "header: model of another shape") : status;
}

tsr_status scalar_decoder_init(struct scalar_decoder *decoder, const void *header, uint64_t size, tsr_error *err) {
    struct input input = {header, size, false};
    decoder->mantissa_bits = input_byte(&input);
    decoder->class_count = input_byte(&input);
    decoder->group = input_varint(&input);
    decoder->middle = input_varint(&input);
    if (input.short_of) return corrupt(err, "header: cut short");
    if (decoder->mantissa_bits < 1 || decoder->mantissa_bits > 7 || decoder->class_count < 1 ||
        decoder->class_count > SCALAR_CLASSES_MAX || decoder->middle > SCALAR_LIMIT_MAX) {
        return corrupt(err, "header: numbers out of range");
    }
    tsr_status status = read_classes(decoder, &input, err);
    return status == TSR_OK ? read_model(decoder, &input, err) : status;
}

void scalar_decoder_clear(struct scalar_decoder *decoder) {
    decoder->host->free(decoder->host, decoder->points);
    if (decoder->model) decoder->entropy->model_destroy(decoder->host, decoder->model);
}

static tsr_status work_init(struct scalar_tile *work, tsr_error *err) {
    const struct scalar_decoder *decoder = work->decoder;
    const uint64_t weights = work->tile->rows * work->tile->columns;
    work->row_segments = scalar_segments(work->tile->columns, decoder->group);
    work->segment_count = work->tile->rows * work->row_segments;
    uint64_t total = 3 * work->segment_count + 2 * weights + (decoder->class_count > 1 ? weights : 0) + 64;
    uint8_t *memory = decoder->host->scratch(decoder->host, work->tile->worker, total);
    if (!memory) {
        return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for a tile of %llu weights", (unsigned long long)weights);
    }
    work->symbols = (uint16_t *)(void *)memory;
    work->codes = work->symbols + weights;
    work->classes = (uint8_t *)(work->codes + work->segment_count);
    if (decoder->class_count > 1) work->contexts = work->classes + work->segment_count;
    return TSR_OK;
}

/* Steps and classes of all segments, and from them the number of symbols and their contexts. */
static bool read_segments(struct scalar_tile *work, struct bits *bits, uint32_t centre, const uint8_t rice[2]) {
    const struct scalar_decoder *decoder = work->decoder;
    for (uint64_t i = 0; i < work->segment_count; i++) {
        int64_t code = (int64_t)centre + unzigzag(bits_get_rice(bits, rice[0]));
        bool coded = code > STEP_CODE_RAW;
        if (code < 0 || (coded && (code > UINT16_MAX || !step_code_is_step((uint32_t)code, decoder->mantissa_bits)))) {
            return false;
        }
        uint32_t class = coded && decoder->class_count > 1 ? bits_get_rice(bits, rice[1]) : 0;
        if (class >= decoder->class_count) return false;
        work->codes[i] = (uint16_t)code;
        work->classes[i] = (uint8_t) class;
        if (!coded) continue;
        uint64_t count = scalar_tile_columns(work, i);
        if (work->contexts) memset(work->contexts + work->symbol_count, (int)class, (size_t)count);
        work->symbol_count += count;
    }
    return !bits->overrun && bits->count - bits->at < 8;
}

static tsr_status read_symbols(const struct scalar_tile *work, const uint8_t *stream, uint64_t size, tsr_error *err) {
    const struct scalar_decoder *decoder = work->decoder;
    const tsr_entropy_split split = {sizeof split, decoder->model, work->contexts, 0, 16};
    if (work->symbol_count == 0) return size == 0 ? TSR_OK : corrupt(err, "tile: symbols for no segment");
    return decoder->entropy->split_decode(&split, stream, size, work->symbols, work->symbol_count, err);
}

static bool patch_escapes(const struct scalar_tile *work, const uint16_t *symbols, uint64_t count, float step,
                          struct input *escapes, float *x) {
    for (uint64_t i = 0; i < count; i++) {
        if (symbols[i] != 2 * work->decoder->middle + 1) continue;
        int32_t index = unzigzag(input_varint(escapes));
        if (escapes->short_of || index > SCALAR_INDEX_MAX || index < -SCALAR_INDEX_MAX) return false;
        x[i] = (float)index * step;
    }
    return true;
}

/* All but raw segments. */
static bool reconstruct(const struct scalar_tile *work, struct input *rest, float *x) {
    const struct scalar_decoder *decoder = work->decoder;
    const uint32_t escape = 2 * decoder->middle + 1;
    const uint16_t *symbols = work->symbols;
    for (uint64_t i = 0; i < work->segment_count; i++) {
        uint64_t count = scalar_tile_columns(work, i);
        if (work->codes[i] == STEP_CODE_ZERO) memset(x, 0, (size_t)count * sizeof *x);
        if (work->codes[i] > STEP_CODE_RAW) {
            const float *points = decoder->points + (uint64_t)work->classes[i] * (escape + 1);
            float step = step_code_value(work->codes[i], decoder->mantissa_bits);
            uint64_t escapes = decoder->kernels->reconstruct(symbols, count, points, step, escape, x);
            if (escapes > 0 && !patch_escapes(work, symbols, count, step, rest, x)) return false;
            symbols += count;
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
    if (decoder->class_count > 1) rice[1] = (uint8_t)input_byte(rest);
    uint64_t side_bytes = input_varint(rest);
    uint64_t stream_bytes = input_varint(rest);
    const uint8_t *side = input_take(rest, side_bytes);
    const uint8_t *stream = input_take(rest, stream_bytes);
    if (rest->short_of) return corrupt(err, "tile: cut short");
    if (rice[0] > RICE_MAX || rice[1] > RICE_MAX) return corrupt(err, "tile: Rice parameter above 15");
    tsr_status status = work_init(work, err);
    if (status != TSR_OK) return status;
    struct bits bits = {side, 0, side_bytes * 8, false};
    if (!read_segments(work, &bits, centre, rice)) return corrupt(err, "tile: damaged steps");
    if (bits.at % 8 && side[bits.at / 8] >> bits.at % 8)
        return corrupt(err, "tile: bits behind the steps are not zero");
    return read_symbols(work, stream, stream_bytes, err);
}

tsr_status scalar_decode_tile(const struct scalar_decoder *decoder, const tsr_tile *tile, const uint8_t *src,
                              uint64_t size, float *x, tsr_error *err) {
    struct scalar_tile work;
    struct input rest;
    tsr_status status = scalar_tile_open(decoder, tile, src, size, &work, &rest, err);
    if (status != TSR_OK) return status;
    if (!reconstruct(&work, &rest, x)) return corrupt(err, "tile: damaged escapes");
    if (!read_raw(&work, &rest, x)) return corrupt(err, "tile: bytes missing or left over");
    return TSR_OK;
}
