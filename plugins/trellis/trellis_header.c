/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads headers: those of version 2, and of version 1, which had tables by class of rows instead of shapes. Every number
 * is checked before it is used. */
#include "trellis_decode.h"

#include "whole_model.h"

tsr_status trellis_corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "trellis: %s", what);
}

/* Offsets of `lists` lists, quantiser 0 and 1 in turns, into points. */
static tsr_status read_points(struct trellis_decoder *decoder, struct input *input, uint32_t lists, tsr_error *err) {
    const uint32_t alphabet = 2 * decoder->middle + 2;
    decoder->points = decoder->host->alloc(decoder->host, (uint64_t)lists * alphabet * sizeof *decoder->points);
    if (!decoder->points) return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for reconstruction points");
    for (uint32_t i = 0; i < lists; i++) {
        uint32_t count = input_byte(input);
        const uint8_t *offsets = input_take(input, count);
        if (!offsets || count > TRELLIS_OFFSETS_MAX) return trellis_corrupt(err, "header: damaged reconstruction points");
        int8_t signed_offsets[TRELLIS_OFFSETS_MAX];
        memcpy(signed_offsets, offsets, count);
        trellis_fill_points(decoder->points + (uint64_t)i * alphabet, i % 2, decoder->middle, signed_offsets, count);
    }
    return TSR_OK;
}

/* ---- version 1 ---- */

static tsr_status read_model(struct trellis_decoder *decoder, struct input *input, tsr_error *err) {
    bool fits = false;
    tsr_status status = whole_model_read(decoder->entropy, decoder->host, input, 2 * decoder->middle + 2, 2 * decoder->shape.scales,
                                         &decoder->model, &fits, err);
    return status == TSR_OK && !fits ? trellis_corrupt(err, "header: model of another shape") : status;
}

static tsr_status read_first_version(struct trellis_decoder *decoder, struct input *input, tsr_error *err) {
    decoder->shape.scales = input_byte(input);
    decoder->middle = input_varint(input);
    if (input->short_of) return trellis_corrupt(err, "header: cut short");
    if (decoder->shape.scales < 1 || decoder->shape.scales > TRELLIS_CLASSES_MAX ||
        decoder->middle > TRELLIS_LIMIT_MAX) {
        return trellis_corrupt(err, "header: numbers out of range");
    }
    decoder->rows_coded = decoder->shape.scales > 1;
    const uint32_t lists = 2 * decoder->shape.scales;
    for (uint32_t i = 0; i < lists; i++) decoder->points_at[i] = i * (2 * decoder->middle + 2);
    tsr_status status = read_points(decoder, input, lists, err);
    return status == TSR_OK ? read_model(decoder, input, err) : status;
}

/* ---- version 2 ---- */

static bool read_numbers(struct trellis_decoder *decoder, struct input *input, uint32_t *flags) {
    struct trellis_shape *shape = &decoder->shape;
    shape->probability_bits = input_byte(input);
    shape->unit = input_byte(input);
    shape->scales = input_byte(input);
    shape->base = (int16_t)input_number(input, 2);
    *flags = input_byte(input);
    decoder->row_centre = (int8_t)input_byte(input);
    decoder->rows_coded = *flags & TRELLIS_ROWS_CODED;
    return shape->probability_bits >= 12 && shape->probability_bits <= 14 && shape->unit <= TRELLIS_UNIT_MAX &&
           shape->scales >= 1 && shape->scales <= TRELLIS_SCALES_MAX && *flags < 4;
}

static tsr_status read_columns(struct trellis_decoder *decoder, uint64_t columns, struct bits *bits, tsr_error *err) {
    const int32_t centre = (int8_t)bits_get(bits, 8);
    const uint32_t rice = bits_get(bits, 4);
    /* A code takes a bit at least. */
    if (columns > bits->count - bits->at) return trellis_corrupt(err, "header: columns cut short");
    decoder->columns = decoder->host->alloc(decoder->host, columns);
    if (!decoder->columns) return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for scales of columns");
    for (uint64_t c = 0; c < columns; c++) {
        const int32_t code = centre + unzigzag(bits_get_rice(bits, rice));
        if (code < INT8_MIN || code > INT8_MAX) return trellis_corrupt(err, "header: column out of range");
        decoder->columns[c] = (int8_t)code;
    }
    return TSR_OK;
}

/* Models of all contexts, frequencies[2 S][TRELLIS_SYMBOLS_MAX] moved together to the alphabet. */
static tsr_status make_model(struct trellis_decoder *decoder, uint32_t *frequencies, tsr_error *err) {
    const uint32_t contexts = 2 * decoder->shape.scales;
    decoder->middle = 0;
    for (uint32_t i = 0; i < contexts; i++) {
        uint32_t *own = frequencies + (uint64_t)i * TRELLIS_SYMBOLS_MAX;
        decoder->limits[i] = trellis_shape_frequencies(&decoder->shape, i / 2, i % 2, own);
        if (decoder->limits[i] > decoder->middle) decoder->middle = decoder->limits[i];
    }
    const uint32_t alphabet = 2 * decoder->middle + 2;
    for (uint32_t i = 0; i < contexts; i++) {
        uint32_t own[TRELLIS_SYMBOLS_MAX];
        const uint32_t limit = decoder->limits[i];
        memcpy(own, frequencies + (uint64_t)i * TRELLIS_SYMBOLS_MAX, sizeof own);
        uint32_t *to = frequencies + (uint64_t)i * alphabet;
        memset(to, 0, alphabet * sizeof *to);
        memcpy(to + decoder->middle - limit, own, (2 * limit + 1) * sizeof *to);
        to[alphabet - 1] = own[2 * limit + 1];
    }
    const tsr_entropy_shape shape = {sizeof shape, alphabet, contexts, decoder->shape.probability_bits, 0};
    return decoder->entropy->model_create_contexts(decoder->host, frequencies, &shape, &decoder->model, err);
}

/* What stands behind the numbers: lists of offsets, which need the model for their length, and bits. */
static tsr_status read_rest(struct trellis_decoder *decoder, uint64_t columns, uint32_t flags, struct input *input,
                            uint32_t *frequencies, tsr_error *err) {
    struct input offsets = *input;
    const uint32_t groups = trellis_groups(&decoder->shape);
    for (uint32_t i = 0; i < 2 * groups; i++) (void)input_take(input, input_byte(input));
    if (input->short_of) return trellis_corrupt(err, "header: cut short");
    struct bits bits = {input->bytes, 0, input->size * 8, false};
    tsr_status status = flags & TRELLIS_COLUMNS_CODED ? read_columns(decoder, columns, &bits, err) : TSR_OK;
    if (status != TSR_OK) return status;
    if (!trellis_shape_read(&decoder->shape, &bits) || bits.overrun || bits.count - bits.at >= 8 ||
        bits_get(&bits, (uint32_t)(bits.count - bits.at)) != 0) {
        return trellis_corrupt(err, "header: damaged distributions");
    }
    status = make_model(decoder, frequencies, err);
    for (uint32_t i = 0; i < 2 * decoder->shape.scales; i++) {
        decoder->points_at[i] = (2 * trellis_group(&decoder->shape, i / 2) + i % 2) * (2 * decoder->middle + 2);
    }
    return status == TSR_OK ? read_points(decoder, &offsets, 2 * groups, err) : status;
}

static tsr_status read_second_version(struct trellis_decoder *decoder, uint64_t columns, struct input *input,
                                      tsr_error *err) {
    uint32_t flags = 0;
    if (!read_numbers(decoder, input, &flags)) return trellis_corrupt(err, "header: numbers out of range");
    const uint64_t size = UINT64_C(2) * decoder->shape.scales * TRELLIS_SYMBOLS_MAX * sizeof(uint32_t);
    uint32_t *frequencies = decoder->host->alloc(decoder->host, size);
    if (!frequencies) return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for frequencies");
    tsr_status status = read_rest(decoder, columns, flags, input, frequencies, err);
    decoder->host->free(decoder->host, frequencies);
    return status;
}

tsr_status trellis_decoder_init(struct trellis_decoder *decoder, const tsr_tensor *tensor, const void *header,
                                uint64_t size, tsr_error *err) {
    struct input input = {header, size, false};
    decoder->mantissa_bits = input_byte(&input);
    const uint32_t log_states = input_byte(&input);
    if (input.short_of) return trellis_corrupt(err, "header: cut short");
    if (decoder->mantissa_bits < 1 || decoder->mantissa_bits > 7 || log_states > 8 ||
        !trellis_code_init(&decoder->code, UINT32_C(1) << log_states)) {
        return trellis_corrupt(err, "header: numbers out of range");
    }
    if (decoder->version == 1) return read_first_version(decoder, &input, err);
    return read_second_version(decoder, tensor->columns, &input, err);
}

void trellis_decoder_clear(struct trellis_decoder *decoder) {
    decoder->host->free(decoder->host, decoder->points);
    decoder->host->free(decoder->host, decoder->columns);
    if (decoder->model) decoder->entropy->model_destroy(decoder->host, decoder->model);
}
