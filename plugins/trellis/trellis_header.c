/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads headers: those of version 3, of version 2, which had no means, and of version 1, which had tables by class of rows
 * instead of shapes. Every number is checked before it is used. */
#include "trellis_decode.h"

#include "whole_model.h"

tsr_status trellis_corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "trellis: %s", what);
}

/* Offsets of `lists` lists, quantiser 0 and 1 in turns, into points. */
static tsr_status read_points(struct trellis_decoder *decoder, struct input *input, uint32_t lists, tsr_error *err) {
    const uint32_t alphabet = 2 * decoder->model.middle + 2;
    decoder->points = decoder->host->alloc(decoder->host, (uint64_t)lists * alphabet * sizeof *decoder->points);
    if (!decoder->points) return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for reconstruction points");
    for (uint32_t i = 0; i < lists; i++) {
        struct offsets offsets;
        if (!offsets_read(input, &offsets)) return trellis_corrupt(err, "header: damaged reconstruction points");
        trellis_fill_points(decoder->points + (uint64_t)i * alphabet, i % 2, decoder->model.middle, &offsets);
    }
    return TSR_OK;
}

/* ---- version 1 ---- */

static tsr_status read_model(struct trellis_decoder *decoder, struct input *input, tsr_error *err) {
    bool fits = false;
    tsr_status status = whole_model_read(decoder->entropy, decoder->host, input, 2 * decoder->model.middle + 2, 2 * decoder->shape.scales,
                                         &decoder->model.entropy, &fits, err);
    return status == TSR_OK && !fits ? trellis_corrupt(err, "header: model of another shape") : status;
}

static tsr_status read_first_version(struct trellis_decoder *decoder, struct input *input, tsr_error *err) {
    decoder->shape.scales = input_byte(input);
    decoder->model.middle = input_varint(input);
    if (input->short_of) return trellis_corrupt(err, "header: cut short");
    if (decoder->shape.scales < 1 || decoder->shape.scales > TRELLIS_CLASSES_MAX ||
        decoder->model.middle > SHAPE_LIMIT_MAX) {
        return trellis_corrupt(err, "header: numbers out of range");
    }
    decoder->rows_coded = decoder->shape.scales > 1;
    const uint32_t lists = 2 * decoder->shape.scales;
    for (uint32_t i = 0; i < lists; i++) decoder->points_at[i] = i * (2 * decoder->model.middle + 2);
    tsr_status status = read_points(decoder, input, lists, err);
    return status == TSR_OK ? read_model(decoder, input, err) : status;
}

/* ---- versions 2 and 3 ---- */

static bool read_numbers(struct trellis_decoder *decoder, struct input *input, uint32_t *flags) {
    decoder->shape.quantisers = 2;
    const bool sound = shape_read_numbers(&decoder->shape, input);
    *flags = input_byte(input);
    decoder->row_centre = (int8_t)input_byte(input);
    decoder->rows_coded = *flags & TRELLIS_ROWS_CODED;
    return sound && *flags < (decoder->version == 2 ? TRELLIS_MEANS : 2 * TRELLIS_MEANS);
}

/* What stands behind the numbers: lists of offsets, which need the model for their length, and bits. */
static tsr_status read_rest(struct trellis_decoder *decoder, uint64_t columns, uint32_t flags, struct input *input,
                            tsr_error *err) {
    struct input offsets = *input;
    const uint32_t groups = shape_groups(&decoder->shape);
    offsets_skip(input, 2 * groups);
    if (input->short_of) return trellis_corrupt(err, "header: cut short");
    struct bits bits = {input->bytes, 0, input->size * 8, false};
    tsr_status status = TSR_OK;
    if (flags & TRELLIS_COLUMNS_CODED)
        status = columns_read_codes(decoder->host, columns, &bits, &decoder->columns, "trellis", err);
    if (status == TSR_OK && flags & TRELLIS_MEANS)
        status = columns_read_means(decoder->host, columns, &bits, &decoder->columns, "trellis", err);
    if (status != TSR_OK) return status;
    if (!shape_read(&decoder->shape, &bits) || !bits_end(&bits))
        return trellis_corrupt(err, "header: damaged distributions");
    status = shape_model_create(decoder->host, decoder->entropy, &decoder->shape, &decoder->model, err);
    for (uint32_t i = 0; i < 2 * decoder->shape.scales; i++) {
        decoder->points_at[i] = (2 * shape_group(&decoder->shape, i / 2) + i % 2) * (2 * decoder->model.middle + 2);
    }
    return status == TSR_OK ? read_points(decoder, &offsets, 2 * groups, err) : status;
}

static tsr_status read_shaped_version(struct trellis_decoder *decoder, uint64_t columns, struct input *input,
                                      tsr_error *err) {
    uint32_t flags = 0;
    if (!read_numbers(decoder, input, &flags)) return trellis_corrupt(err, "header: numbers out of range");
    return read_rest(decoder, columns, flags, input, err);
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
    return read_shaped_version(decoder, tensor->columns, &input, err);
}

void trellis_decoder_clear(struct trellis_decoder *decoder) {
    decoder->host->free(decoder->host, decoder->points);
    columns_clear(decoder->host, &decoder->columns);
    if (decoder->model.entropy) decoder->entropy->model_destroy(decoder->host, decoder->model.entropy);
}
