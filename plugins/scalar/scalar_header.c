/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads headers: those of version 2, and of version 1, which had a table for each class of rows. Every number is checked
 * before it is used. */
#include "scalar_decode.h"

#include "whole_model.h"

tsr_status scalar_corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "scalar: %s", what);
}

/* All lists of offsets into points. */
static tsr_status read_points(struct scalar_decoder *decoder, struct input *input, tsr_error *err) {
    const uint32_t alphabet = 2 * decoder->model.middle + 2;
    uint64_t bytes = (uint64_t)decoder->lists * alphabet * sizeof *decoder->points;
    decoder->points = decoder->host->alloc(decoder->host, bytes);
    if (!decoder->points) return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for reconstruction points");
    for (uint32_t i = 0; i < decoder->lists; i++) {
        struct offsets offsets;
        if (!offsets_read(input, &offsets)) return scalar_corrupt(err, "header: damaged reconstruction points");
        scalar_fill_points(decoder->points + (uint64_t)i * alphabet, decoder->model.middle, &offsets);
    }
    return TSR_OK;
}

/* A model of 2M+2 symbols and a context for each scale, behind which nothing is left. */
static tsr_status read_model(struct scalar_decoder *decoder, struct input *input, tsr_error *err) {
    bool fits = false;
    tsr_status status = whole_model_read(decoder->entropy, decoder->host, input, 2 * decoder->model.middle + 2,
                                         decoder->shape.scales, &decoder->model.entropy, &fits, err);
    return status == TSR_OK && !fits ? scalar_corrupt(err, "header: model of another shape") : status;
}

static tsr_status read_first_version(struct scalar_decoder *decoder, struct input *input, tsr_error *err) {
    decoder->shape.scales = decoder->lists = input_byte(input);
    decoder->group = input_varint(input);
    decoder->model.middle = input_varint(input);
    if (input->short_of) return scalar_corrupt(err, "header: cut short");
    if (decoder->shape.scales < 1 || decoder->shape.scales > SCALAR_CLASSES_MAX ||
        decoder->model.middle > SHAPE_LIMIT_MAX) {
        return scalar_corrupt(err, "header: numbers out of range");
    }
    decoder->rows_coded = decoder->shape.scales > 1;
    tsr_status status = read_points(decoder, input, err);
    return status == TSR_OK ? read_model(decoder, input, err) : status;
}

/* ---- version 2 ---- */

static bool read_numbers(struct scalar_decoder *decoder, struct input *input, uint32_t *flags) {
    decoder->shape.quantisers = 1;
    const bool sound = shape_read_numbers(&decoder->shape, input);
    *flags = input_byte(input);
    decoder->row_centre = (int8_t)input_byte(input);
    decoder->group = input_varint(input);
    decoder->rows_coded = *flags & SCALAR_ROWS_CODED;
    return sound && !input->short_of && *flags < 8;
}

/* Of scales that have tables. */
static bool read_limits(struct scalar_decoder *decoder, struct input *input) {
    for (uint32_t s = 0; s < decoder->shape.scales; s++) {
        const uint32_t limit = input_varint(input);
        if (limit > SHAPE_LIMIT_MAX) return false;
        decoder->model.limits[s] = limit;
        if (limit > decoder->model.middle) decoder->model.middle = limit;
    }
    return !input->short_of;
}

/* Columns and distributions, to the byte they end in. */
static tsr_status read_bits(struct scalar_decoder *decoder, uint64_t columns, uint32_t flags, struct input *input,
                            tsr_error *err) {
    struct bits bits = {input->bytes, 0, input->size * 8, false};
    tsr_status status = TSR_OK;
    if (flags & SCALAR_COLUMNS_CODED)
        status = columns_read_codes(decoder->host, columns, &bits, &decoder->columns, "scalar", err);
    if (status != TSR_OK) return status;
    if (!(flags & SCALAR_TABLES) && !shape_read(&decoder->shape, &bits))
        return scalar_corrupt(err, "header: damaged distributions");
    if (!bits_align(&bits)) return scalar_corrupt(err, "header: bits behind the distributions are not zero");
    (void)input_take(input, bits.at / 8);
    return TSR_OK;
}

static tsr_status read_second_version(struct scalar_decoder *decoder, uint64_t columns, struct input *input,
                                      tsr_error *err) {
    uint32_t flags = 0;
    if (!read_numbers(decoder, input, &flags)) return scalar_corrupt(err, "header: numbers out of range");
    if (flags & SCALAR_TABLES && !read_limits(decoder, input)) return scalar_corrupt(err, "header: limit above 2047");
    struct input offsets = *input; /* points need the limits for their length */
    decoder->lists = shape_groups(&decoder->shape);
    offsets_skip(input, decoder->lists);
    if (input->short_of) return scalar_corrupt(err, "header: cut short");
    tsr_status status = read_bits(decoder, columns, flags, input, err);
    if (status != TSR_OK) return status;
    if (flags & SCALAR_TABLES)
        status = read_model(decoder, input, err);
    else if (input->size > 0)
        status = scalar_corrupt(err, "header: bytes left over");
    else
        status = shape_model_create(decoder->host, decoder->entropy, &decoder->shape, &decoder->model, err);
    return status == TSR_OK ? read_points(decoder, &offsets, err) : status;
}

tsr_status scalar_decoder_init(struct scalar_decoder *decoder, const tsr_tensor *tensor, const void *header,
                               uint64_t size, tsr_error *err) {
    struct input input = {header, size, false};
    decoder->mantissa_bits = input_byte(&input);
    if (input.short_of) return scalar_corrupt(err, "header: cut short");
    if (decoder->mantissa_bits < 1 || decoder->mantissa_bits > 7)
        return scalar_corrupt(err, "header: numbers out of range");
    if (decoder->version == 1) return read_first_version(decoder, &input, err);
    return read_second_version(decoder, tensor->columns, &input, err);
}

void scalar_decoder_clear(struct scalar_decoder *decoder) {
    decoder->host->free(decoder->host, decoder->points);
    columns_clear(decoder->host, &decoder->columns);
    if (decoder->model.entropy) decoder->entropy->model_destroy(decoder->host, decoder->model.entropy);
}
