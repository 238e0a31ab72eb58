/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodes one tile of passthrough: each field of the elements becomes a plane, coded with the model that prepare found.
 * Bytes are stored in the cheapest of three ways, for tensors are often put together from parts of unlike precision. A
 * head with a symbol that the shared model cannot code (it may come from a sample) brings its own model. */
#include "passthrough_encoder.h"

#include <string.h>

tsr_status passthrough_encoder_create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const tsr_host *host = setup->host;
    const tsr_entropy *entropy = host->get_extension(host, TSR_ENTROPY_ID);
    *self = NULL;
    if (!entropy) return tsr_fail(err, TSR_E_UNSUPPORTED, "passthrough: the host lends no " TSR_ENTROPY_ID);
    struct passthrough_encoder *encoder = host->alloc(host, sizeof *encoder);
    if (!encoder) return tsr_fail(err, TSR_E_NOMEM, "passthrough: no memory for an encoder");
    *encoder = (struct passthrough_encoder){.host = host,
                                            .entropy = entropy,
                                            .tensor = setup->tensor,
                                            .mode = setup->params[0].integer,
                                            .level = setup->params[1].integer};
    encoder->layout.element_bytes = passthrough_element_bytes(setup->tensor->dtype);
    *self = encoder;
    return TSR_OK;
}

void passthrough_encoder_destroy(void *self) {
    struct passthrough_encoder *encoder = self;
    const tsr_host *host = encoder->host;
    for (uint32_t f = 0; f < encoder->layout.field_count; f++) {
        encoder->entropy->model_destroy(host, encoder->layout.fields[f].model);
    }
    host->free(host, encoder->layout.scales.rows);
    host->free(host, encoder->layout.scales.columns);
    host->free(host, encoder);
}

uint32_t passthrough_alphabet(const struct passthrough_field *field) {
    return field->bytes == 1 ? 256 : UINT32_C(1) << field->symbol_bits;
}

const uint16_t *passthrough_extract(uint32_t element_bytes, const struct passthrough_field *field, const void *src,
                                    uint64_t count, uint16_t *values) {
    const uint8_t *bytes = (const uint8_t *)src + field->offset;
    if (field->bytes == 2 && passthrough_is_direct(element_bytes, src)) return src;
    if (field->bytes == 2) {
        for (uint64_t i = 0; i < count; i++, bytes += element_bytes) {
            values[i] = (uint16_t)((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8);
        }
    } else {
        for (uint64_t i = 0; i < count; i++, bytes += element_bytes) values[i] = bytes[0];
    }
    return values;
}

uint64_t passthrough_encode_bound(void *self, const tsr_tile *tile) {
    struct passthrough_encoder *encoder = self;
    const struct passthrough_layout *layout = &encoder->layout;
    uint64_t count = tile->bytes / layout->element_bytes, bound = 0;
    if (layout->field_count == 0) return tile->bytes;
    for (uint32_t f = 0; f < layout->field_count; f++) {
        const struct passthrough_field *field = &layout->fields[f];
        tsr_entropy_split split = passthrough_split(field, NULL);
        uint64_t segments = field->bytes == 2 ? 1 : count / SEGMENT + 1, size = field->bytes == 2 ? count : SEGMENT;
        bound += field->kind == FIELD_RAW
                     ? count * field->bytes
                     : segments * (5 + encoder->entropy->model_bound(passthrough_alphabet(field)) +
                                   encoder->entropy->split_bound(&split, size < count ? size : count));
    }
    return bound;
}

/* One tile, or a segment of it, on its way: where its bytes go, and room for values and contexts. */
struct tile_writer {
    const struct passthrough_encoder *encoder;
    const tsr_tile *tile;
    const void *src;
    uint64_t count;
    uint16_t *values;
    uint8_t *contexts;
    uint8_t *dst;
    uint64_t capacity, written;
};

static void put_raw(struct tile_writer *writer, const struct passthrough_field *field) {
    uint32_t step = writer->encoder->layout.element_bytes;
    const uint8_t *bytes = (const uint8_t *)writer->src + field->offset;
    uint8_t *out = writer->dst + writer->written;
    for (uint64_t i = 0; i < writer->count; i++, bytes += step) {
        *out++ = bytes[0];
        if (field->bytes == 2) *out++ = bytes[1];
    }
    writer->written += writer->count * field->bytes;
}

/* Counts of a field's symbols in this tile. */
static void count_values(const struct tile_writer *writer, const struct passthrough_field *field,
                         const uint16_t *values, uint32_t *counts) {
    tsr_entropy_split split = {sizeof split, NULL, NULL, field->low_bits, field->symbol_bits};
    memset(counts, 0, passthrough_alphabet(field) * sizeof *counts);
    writer->encoder->entropy->split_count(&split, values, writer->count, counts);
}

static tsr_status put_stream(struct tile_writer *writer, const struct passthrough_field *field,
                             const uint16_t *values, const uint8_t *contexts, tsr_error *err) {
    tsr_entropy_split split = passthrough_split(field, contexts);
    uint8_t *out = writer->dst + writer->written;
    uint64_t size = 0;
    tsr_status status = writer->encoder->entropy->split_encode(
        &split, values, writer->count, out + 4, writer->capacity - writer->written - 4, &size, err);
    if (status != TSR_OK) return status;
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(size >> 8 * i);
    writer->written += 4 + size;
    return TSR_OK;
}

/* A model of this tile alone and its stream. */
static tsr_status put_own(struct tile_writer *writer, const struct passthrough_field *field, const uint16_t *values,
                          tsr_entropy_model *model, tsr_error *err) {
    struct passthrough_field own = *field;
    uint64_t size = 0;
    own.model = model;
    writer->dst[writer->written++] = METHOD_OWN;
    tsr_status status = writer->encoder->entropy->model_write(model, writer->dst + writer->written,
                                                              writer->capacity - writer->written, &size, err);
    writer->written += size;
    return status == TSR_OK ? put_stream(writer, &own, values, NULL, err) : status;
}

static tsr_status put_head(struct tile_writer *writer, const struct passthrough_field *field, tsr_error *err) {
    const struct passthrough_encoder *encoder = writer->encoder;
    const struct passthrough_layout *layout = &encoder->layout;
    const uint16_t *values =
        passthrough_extract(layout->element_bytes, field, writer->src, writer->count, writer->values);
    bool scaled = field->kind == FIELD_SCALED;
    uint64_t begin = writer->written;
    uint32_t counts[TSR_ENTROPY_ALPHABET_MAX];
    tsr_entropy_model *model = NULL;
    if (scaled) passthrough_contexts(&layout->scales, writer->tile, writer->contexts);
    writer->dst[writer->written++] = METHOD_SHARED;
    tsr_status status = put_stream(writer, field, values, scaled ? writer->contexts : NULL, err);
    if (status != TSR_E_ARGUMENT) return status;
    writer->written = begin;
    count_values(writer, field, values, counts);
    status = encoder->entropy->model_create(encoder->host, counts, passthrough_alphabet(field), 13, &model, err);
    if (status == TSR_OK) status = put_own(writer, field, values, model, err);
    encoder->entropy->model_destroy(encoder->host, model);
    return status;
}

static tsr_status put_segment(struct tile_writer *writer, const struct passthrough_field *field, tsr_error *err) {
    const struct passthrough_encoder *encoder = writer->encoder;
    const tsr_entropy *entropy = encoder->entropy;
    const uint16_t *values =
        passthrough_extract(encoder->layout.element_bytes, field, writer->src, writer->count, writer->values);
    uint32_t counts[256];
    tsr_entropy_model *model = NULL;
    count_values(writer, field, values, counts);
    tsr_status status = entropy->model_create(encoder->host, counts, 256, 12, &model, err);
    if (status != TSR_OK) return status;
    double raw = 8.0 * PASSTHROUGH_WORTHWHILE * (double)writer->count - PASSTHROUGH_STREAM_BITS;
    double own = passthrough_total_cost(encoder, model, counts);
    double shared = field->model ? entropy->model_cost(field->model, counts) : own + raw;
    if (raw <= own && raw <= shared) {
        writer->dst[writer->written++] = METHOD_RAW;
        put_raw(writer, field);
    } else if (own < shared) {
        status = put_own(writer, field, values, model, err);
    } else {
        writer->dst[writer->written++] = METHOD_SHARED;
        status = put_stream(writer, field, values, NULL, err);
    }
    entropy->model_destroy(encoder->host, model);
    return status;
}

static tsr_status put_field(struct tile_writer *writer, const struct passthrough_field *field, tsr_error *err) {
    if (field->kind == FIELD_RAW) {
        put_raw(writer, field);
        return TSR_OK;
    }
    if (field->bytes == 2) return put_head(writer, field, err);
    struct tile_writer segment = *writer;
    tsr_status status = TSR_OK;
    for (uint64_t at = 0; at < writer->count && status == TSR_OK; at += SEGMENT) {
        segment.count = writer->count - at < SEGMENT ? writer->count - at : SEGMENT;
        segment.src = (const uint8_t *)writer->src + at * writer->encoder->layout.element_bytes;
        status = put_segment(&segment, field, err);
    }
    writer->written = segment.written;
    return status;
}

tsr_status passthrough_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                              uint64_t *written, tsr_error *err) {
    const struct passthrough_encoder *encoder = self;
    const tsr_host *host = encoder->host;
    uint64_t count = tile->bytes / encoder->layout.element_bytes;
    if (capacity < passthrough_encode_bound(self, tile)) {
        return tsr_fail(err, TSR_E_SPACE, "passthrough: %llu bytes for a tile of %llu", (unsigned long long)capacity,
                        (unsigned long long)tile->bytes);
    }
    if (encoder->layout.field_count == 0) {
        memcpy(dst, src, (size_t)tile->bytes);
        *written = tile->bytes;
        return TSR_OK;
    }
    uint16_t *scratch = host->scratch(host, tile->worker, 3 * count + 64);
    if (!scratch) return tsr_fail(err, TSR_E_NOMEM, "passthrough: no memory for a tile");
    struct tile_writer writer = {.encoder = encoder,
                                 .tile = tile,
                                 .src = src,
                                 .count = count,
                                 .values = scratch,
                                 .contexts = (uint8_t *)scratch + 2 * count,
                                 .dst = dst,
                                 .capacity = capacity};
    for (uint32_t f = 0; f < encoder->layout.field_count; f++) {
        tsr_status status = put_field(&writer, &encoder->layout.fields[f], err);
        if (status != TSR_OK) return status;
    }
    *written = writer.written;
    return TSR_OK;
}
