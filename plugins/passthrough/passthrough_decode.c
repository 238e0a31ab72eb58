/* SPDX-License-Identifier: Apache-2.0
 *
 * Decodes passthrough. Header and tiles are hostile: every kind, offset, width and size is checked before it is used,
 * models by the entropy coder. */
#include "passthrough_bitstream.h"

#include <string.h>

struct passthrough_decoder {
    const tsr_host *host;
    const tsr_entropy *entropy;
    struct passthrough_layout layout;
};

/* Bytes not yet read. */
struct input {
    const uint8_t *at;
    uint64_t left;
};

static const uint8_t *take(struct input *input, uint64_t size) {
    const uint8_t *taken = input->at;
    if (size > input->left) return NULL;
    input->at += size;
    input->left -= size;
    return taken;
}

static tsr_status damaged(const char *what, tsr_error *err) {
    return tsr_fail(err, TSR_E_CORRUPT, "passthrough: damaged %s", what);
}

static uint32_t alphabet_of(const struct passthrough_field *field) {
    return field->bytes == 1 ? 256 : UINT32_C(1) << field->symbol_bits;
}

/* Reads a model for this field with `contexts` contexts, or any number of them if that is 0. */
static tsr_status read_model(const struct passthrough_decoder *decoder, const struct passthrough_field *field,
                             uint32_t contexts, struct input *input, tsr_entropy_model **model, tsr_error *err) {
    uint64_t consumed = 0;
    tsr_entropy_shape shape;
    tsr_status status = decoder->entropy->model_read(decoder->host, input->at, input->left, &consumed, model, err);
    if (status != TSR_OK) return status;
    (void)take(input, consumed);
    decoder->entropy->model_shape(*model, &shape);
    if (shape.alphabet == alphabet_of(field) && (contexts == 0 || shape.contexts == contexts)) return TSR_OK;
    decoder->entropy->model_destroy(decoder->host, *model);
    *model = NULL;
    return damaged("model: not of the field's shape", err);
}

/* Classes of `count` rows or columns; none where all are 0, so that memory does not grow with a number that costs no
 * bytes. The caller frees *classes. */
static tsr_status read_classes(const struct passthrough_decoder *decoder, uint64_t count, struct input *input,
                               uint8_t **classes, tsr_error *err) {
    const uint8_t *width = take(input, 1), *packed;
    uint16_t wide[512];
    if (!width || *width > CLASS_BITS_MAX || count > UINT64_MAX / 8) return damaged("scales", err);
    packed = take(input, (count / 512) * 64 * *width + (count % 512 * *width + 7) / 8);
    if (!packed) return damaged("scales: cut short", err);
    uint64_t used = count % 8 * *width % 8;
    if (used && packed[(count * *width) / 8] >> used) return damaged("scales: bits behind them are not zero", err);
    if (*width == 0) return TSR_OK;
    *classes = decoder->host->alloc(decoder->host, count);
    if (!*classes) return tsr_fail(err, TSR_E_NOMEM, "passthrough: no memory for scales");
    for (uint64_t at = 0; at < count; at += 512) {
        uint64_t n = count - at < 512 ? count - at : 512;
        decoder->entropy->bits_unpack(packed + at / 8 * *width, n, *width, wide);
        for (uint64_t i = 0; i < n; i++) (*classes)[at + i] = (uint8_t)wide[i];
    }
    return TSR_OK;
}

static tsr_status read_scales(struct passthrough_decoder *decoder, const tsr_tensor *tensor,
                              const struct passthrough_field *field, struct input *input, tsr_error *err) {
    struct passthrough_scales *scales = &decoder->layout.scales;
    const uint8_t *context_of = take(input, SUMS);
    tsr_entropy_shape shape;
    decoder->entropy->model_shape(field->model, &shape);
    /* Weights and elements are the same thing only if an element is the whole of a weight. */
    if (!context_of || scales->contexts || tensor->rows == 0 ||
        tensor->bytes / tensor->rows / decoder->layout.element_bytes != tensor->columns) {
        return damaged("scales", err);
    }
    scales->contexts = shape.contexts;
    for (uint32_t sum = 0; sum < SUMS; sum++) {
        if (context_of[sum] >= shape.contexts) return damaged("scales: a context without a model", err);
        scales->context_of[sum] = context_of[sum];
    }
    tsr_status status = read_classes(decoder, tensor->rows, input, &scales->rows, err);
    return status == TSR_OK ? read_classes(decoder, tensor->columns, input, &scales->columns, err) : status;
}

static bool field_is_sound(const struct passthrough_field *field, uint32_t element_bytes) {
    if (field->bytes < 1 || field->bytes > 2 || field->offset + field->bytes > (int)element_bytes) return false;
    switch (field->kind) {
    case FIELD_RAW:
        return field->low_bits == 0 && field->symbol_bits == 0;
    case FIELD_BYTES:
    case FIELD_LOCAL:
        return field->bytes == 1 && field->low_bits == 0 && field->symbol_bits == 8;
    case FIELD_HEAD:
    case FIELD_SCALED:
        return field->bytes == 2 && field->symbol_bits >= 1 && field->symbol_bits <= 12 &&
               field->low_bits + field->symbol_bits <= 16;
    default:
        return false;
    }
}

static tsr_status read_field(struct passthrough_decoder *decoder, const tsr_tensor *tensor, struct input *input,
                             uint32_t *covered, tsr_error *err) {
    struct passthrough_layout *layout = &decoder->layout;
    const uint8_t *head = take(input, 5);
    if (!head) return damaged("header: cut short", err);
    struct passthrough_field field = {head[0], head[1], head[2], head[3], head[4], NULL};
    if (!field_is_sound(&field, layout->element_bytes)) return damaged("field", err);
    uint32_t bytes = ((UINT32_C(1) << field.bytes) - 1) << field.offset;
    if (*covered & bytes) return damaged("fields: they overlap", err);
    *covered |= bytes;
    tsr_status status = TSR_OK;
    if (field.kind != FIELD_RAW && field.kind != FIELD_LOCAL) {
        status = read_model(decoder, &field, field.kind == FIELD_SCALED ? 0 : 1, input, &field.model, err);
    }
    layout->fields[layout->field_count++] = field;
    if (status == TSR_OK && field.kind == FIELD_SCALED) status = read_scales(decoder, tensor, &field, input, err);
    return status;
}

static tsr_status read_header(struct passthrough_decoder *decoder, const tsr_codec_setup *setup, tsr_error *err) {
    struct passthrough_layout *layout = &decoder->layout;
    struct input input = {setup->header, setup->header_bytes};
    uint32_t covered = 0;
    layout->element_bytes = passthrough_element_bytes(setup->tensor->dtype);
    if (input.left == 0) return TSR_OK;
    uint8_t count = *take(&input, 1);
    if (count < 1 || count > FIELDS_MAX) return damaged("header: number of fields", err);
    for (uint8_t f = 0; f < count; f++) {
        tsr_status status = read_field(decoder, setup->tensor, &input, &covered, err);
        if (status != TSR_OK) return status;
    }
    if (covered != (UINT32_C(1) << layout->element_bytes) - 1) return damaged("fields: bytes without a field", err);
    return input.left == 0 ? TSR_OK : damaged("header: bytes behind its end", err);
}

tsr_status passthrough_decoder_create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const tsr_host *host = setup->host;
    const tsr_entropy *entropy = host->get_extension(host, TSR_ENTROPY_ID);
    *self = NULL;
    if (!entropy) return tsr_fail(err, TSR_E_UNSUPPORTED, "passthrough: the host lends no " TSR_ENTROPY_ID);
    struct passthrough_decoder *decoder = host->alloc(host, sizeof *decoder);
    if (!decoder) return tsr_fail(err, TSR_E_NOMEM, "passthrough: no memory for a decoder");
    *decoder = (struct passthrough_decoder){.host = host, .entropy = entropy};
    tsr_status status = read_header(decoder, setup, err);
    if (status != TSR_OK) {
        passthrough_decoder_destroy(decoder);
        return status;
    }
    *self = decoder;
    return TSR_OK;
}

void passthrough_decoder_destroy(void *self) {
    struct passthrough_decoder *decoder = self;
    const tsr_host *host = decoder->host;
    for (uint32_t f = 0; f < decoder->layout.field_count; f++) {
        decoder->entropy->model_destroy(host, decoder->layout.fields[f].model);
    }
    host->free(host, decoder->layout.scales.rows);
    host->free(host, decoder->layout.scales.columns);
    host->free(host, decoder);
}

/* One tile, or a segment of it, on its way. */
struct tile_reader {
    const struct passthrough_decoder *decoder;
    const tsr_tile *tile;
    struct input input;
    uint64_t count;
    uint16_t *values;
    uint8_t *contexts;
    uint8_t *dst;
};

/* Puts a field's `bytes` bytes an element, `step` apart in src, where they belong. */
static void scatter(const struct tile_reader *reader, const struct passthrough_field *field, const uint8_t *src,
                    uint32_t step) {
    uint32_t element_bytes = reader->decoder->layout.element_bytes;
    uint8_t *out = reader->dst + field->offset;
    for (uint64_t i = 0; i < reader->count; i++, out += element_bytes, src += step) {
        out[0] = src[0];
        if (field->bytes == 2) out[1] = src[1];
    }
}

static tsr_status get_values(struct tile_reader *reader, const struct passthrough_field *field, bool scaled,
                             const struct input *stream, tsr_error *err) {
    const struct passthrough_decoder *decoder = reader->decoder;
    uint32_t element_bytes = decoder->layout.element_bytes;
    tsr_entropy_split split = passthrough_split(field, scaled ? reader->contexts : NULL);
    bool direct = field->bytes == 2 && passthrough_is_direct(element_bytes, reader->dst);
    uint16_t *values = direct ? (uint16_t *)(void *)reader->dst : reader->values;
    tsr_status status =
        decoder->entropy->split_decode(&split, stream->at, stream->left, values, reader->count, err);
    if (status != TSR_OK || direct) return status;
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    for (uint64_t i = 0; i < reader->count; i++) values[i] = (uint16_t)(values[i] >> 8 | values[i] << 8);
#endif
    scatter(reader, field, (const uint8_t *)values, 2);
    return TSR_OK;
}

static tsr_status get_raw(struct tile_reader *reader, const struct passthrough_field *field, tsr_error *err) {
    const uint8_t *bytes = take(&reader->input, reader->count * field->bytes);
    if (!bytes) return damaged("tile: cut short", err);
    scatter(reader, field, bytes, field->bytes);
    return TSR_OK;
}

/* A stream behind its length, decoded with the field's model or, for METHOD_OWN, with one that stands before it. */
static tsr_status get_stream(struct tile_reader *reader, const struct passthrough_field *field, bool scaled,
                             tsr_error *err) {
    struct input stream = {NULL, 0};
    const uint8_t *size = take(&reader->input, 4);
    if (size) {
        for (int i = 0; i < 4; i++) stream.left |= (uint64_t)size[i] << 8 * i;
        stream.at = take(&reader->input, stream.left);
    }
    return stream.at ? get_values(reader, field, scaled, &stream, err) : damaged("tile: cut short", err);
}

static tsr_status get_segment(struct tile_reader *reader, const struct passthrough_field *field, tsr_error *err) {
    const struct passthrough_decoder *decoder = reader->decoder;
    const uint8_t *method = take(&reader->input, 1);
    if (method && *method == METHOD_RAW) return get_raw(reader, field, err);
    if (method && *method == METHOD_SHARED && field->model) {
        bool scaled = field->kind == FIELD_SCALED;
        if (scaled) passthrough_contexts(&decoder->layout.scales, reader->tile, reader->contexts);
        return get_stream(reader, field, scaled, err);
    }
    if (!method || *method != METHOD_OWN) return damaged("tile: method", err);
    struct passthrough_field own = *field;
    own.model = NULL;
    tsr_status status = read_model(decoder, field, 1, &reader->input, &own.model, err);
    if (status == TSR_OK) status = get_stream(reader, &own, false, err);
    decoder->entropy->model_destroy(decoder->host, own.model);
    return status;
}

static tsr_status get_field(struct tile_reader *reader, const struct passthrough_field *field, tsr_error *err) {
    if (field->kind == FIELD_RAW) return get_raw(reader, field, err);
    if (field->bytes == 2) return get_segment(reader, field, err);
    struct tile_reader segment = *reader;
    tsr_status status = TSR_OK;
    for (uint64_t at = 0; at < reader->count && status == TSR_OK; at += SEGMENT) {
        segment.count = reader->count - at < SEGMENT ? reader->count - at : SEGMENT;
        segment.dst = reader->dst + at * reader->decoder->layout.element_bytes;
        status = get_segment(&segment, field, err);
    }
    reader->input = segment.input;
    return status;
}

tsr_status passthrough_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                              tsr_error *err) {
    const struct passthrough_decoder *decoder = self;
    const struct passthrough_layout *layout = &decoder->layout;
    struct tile_reader reader = {.decoder = decoder,
                                 .tile = tile,
                                 .input = {src, size},
                                 .count = tile->bytes / layout->element_bytes,
                                 .dst = dst};
    if (layout->field_count == 0) {
        if (size != tile->bytes) return damaged("tile: a copy of another size", err);
        memcpy(dst, src, (size_t)size);
        return TSR_OK;
    }
    if (tile->bytes % layout->element_bytes != 0) return damaged("tile: half an element", err);
    reader.values = decoder->host->scratch(decoder->host, tile->worker, 3 * reader.count + 64);
    if (!reader.values) return tsr_fail(err, TSR_E_NOMEM, "passthrough: no memory for a tile");
    reader.contexts = (uint8_t *)reader.values + 2 * reader.count;
    for (uint32_t f = 0; f < layout->field_count; f++) {
        tsr_status status = get_field(&reader, &layout->fields[f], err);
        if (status != TSR_OK) return status;
    }
    return reader.input.left == 0 ? TSR_OK : damaged("tile: bytes behind its end", err);
}
