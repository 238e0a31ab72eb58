/* SPDX-License-Identifier: Apache-2.0
 *
 * Codebooks as bytes, in the order of vq_bitstream.h. */
#include "input.h"
#include "sink.h"
#include "vq.h"

enum { HEAD_MOST = VARINT_MAX + 1 + VQ_STREAMS_MAX * (VARINT_MAX + 1) };

void vq_round(float *words, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &words[i], sizeof bits);
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000u;
        memcpy(&words[i], &bits, sizeof bits);
    }
}

/* ---- writing ---- */

static tsr_status write_models(const struct vq *vq, const tsr_writer *writer, tsr_error *err) {
    tsr_status status = TSR_OK;
    for (uint32_t s = 0; s < vq->shape.streams && status == TSR_OK; s++) {
        tsr_entropy_shape shape = {.struct_size = sizeof shape};
        uint64_t written = 0;
        if (!vq->streams[s].model) continue;
        vq->entropy->model_shape(vq->streams[s].model, &shape);
        uint64_t bound = vq->entropy->model_bound(shape.alphabet);
        uint8_t *bytes = vq->host->alloc(vq->host, bound);
        if (!bytes) return vq_no_memory(vq, err);
        status = vq->entropy->model_write(vq->streams[s].model, bytes, bound, &written, err);
        if (status == TSR_OK) status = writer->write(writer->ctx, bytes, written, err);
        vq->host->free(vq->host, bytes);
    }
    return status;
}

static tsr_status write_words(const struct vq *vq, const tsr_writer *writer, tsr_error *err) {
    const uint64_t values = vq->kind->values(&vq->shape);
    uint8_t bytes[1024];
    for (uint64_t at = 0; at < values;) {
        uint64_t size = 0;
        for (; size < sizeof bytes && at < values; at++) {
            uint32_t bits;
            memcpy(&bits, &vq->words[at], sizeof bits);
            bytes[size++] = (uint8_t)(bits >> 16);
            bytes[size++] = (uint8_t)(bits >> 24);
        }
        tsr_status status = writer->write(writer->ctx, bytes, size, err);
        if (status != TSR_OK) return status;
    }
    return TSR_OK;
}

/* What stands before the words; `coded` has a bit for each stream with a model. Returns its bytes. */
static uint64_t put_head(const struct vq_shape *shape, uint32_t coded, uint8_t head[HEAD_MOST]) {
    uint64_t at = 0;
    put_varint(head, &at, shape->dim);
    head[at++] = (uint8_t)shape->streams;
    for (uint32_t s = 0; s < shape->streams; s++) {
        put_varint(head, &at, shape->sizes[s]);
        head[at++] = (uint8_t)(coded >> s & 1);
    }
    return at;
}

uint64_t vq_codebook_bytes(const struct vq_kind *kind, const struct vq_shape *shape) {
    uint8_t head[HEAD_MOST];
    return put_head(shape, 0, head) + 2 * kind->values(shape);
}

tsr_status vq_codebook_write(const struct vq *vq, const tsr_writer *writer, tsr_error *err) {
    uint8_t head[HEAD_MOST];
    uint32_t coded = 0;
    for (uint32_t s = 0; s < vq->shape.streams; s++) coded |= (uint32_t)(vq->streams[s].model != NULL) << s;
    const uint64_t at = put_head(&vq->shape, coded, head);
    tsr_status status = writer->write(writer->ctx, head, at, err);
    if (status == TSR_OK) status = write_words(vq, writer, err);
    return status == TSR_OK ? write_models(vq, writer, err) : status;
}

/* ---- reading ---- */

static tsr_status read_shape(const struct vq *vq, struct input *input, struct vq_shape *shape, uint32_t *coded,
                             tsr_error *err) {
    const struct vq_shape *most = &vq->settings.shape;
    shape->dim = input_varint(input);
    shape->streams = input_byte(input);
    *coded = 0;
    if (shape->dim != vq_dim(&vq->settings, vq->tensor) || shape->streams != most->streams) {
        return vq_corrupt(vq, err, "codebook: of another shape");
    }
    for (uint32_t s = 0; s < shape->streams; s++) {
        uint64_t size = input_varint(input);
        uint32_t flag = input_byte(input);
        if (size < 1 || size > most->sizes[s] || flag > 1) return vq_corrupt(vq, err, "codebook: numbers out of range");
        shape->sizes[s] = (uint32_t)size;
        *coded |= flag << s;
    }
    return input->short_of ? vq_corrupt(vq, err, "codebook: cut short") : TSR_OK;
}

static tsr_status read_words(struct vq *vq, struct input *input, tsr_error *err) {
    const uint64_t values = vq->kind->values(&vq->shape);
    const uint8_t *bytes = input_take(input, 2 * values);
    for (uint64_t i = 0; i < values; i++) {
        uint32_t bits = (uint32_t)bytes[2 * i] << 16 | (uint32_t)bytes[2 * i + 1] << 24;
        if ((bits & 0x7F800000u) == 0x7F800000u) return vq_corrupt(vq, err, "codebook: a word is not finite");
        memcpy(&vq->words[i], &bits, sizeof bits);
    }
    return TSR_OK;
}

static tsr_status read_model(struct vq *vq, struct input *input, struct vq_stream *stream, tsr_error *err) {
    uint64_t consumed = 0;
    tsr_entropy_shape shape = {.struct_size = sizeof shape};
    tsr_status status = vq->entropy->model_read(vq->host, input->bytes, input->size, &consumed, &stream->model, err);
    if (status != TSR_OK) return status;
    vq->entropy->model_shape(stream->model, &shape);
    (void)input_take(input, consumed);
    if (shape.alphabet == ((stream->size - 1) >> vq_low_bits(stream->width)) + 1 && shape.contexts == 1) return TSR_OK;
    return vq_corrupt(vq, err, "codebook: model of another shape");
}

tsr_status vq_codebook_read(struct vq *vq, const uint8_t *bytes, uint64_t size, tsr_error *err) {
    struct input input = {bytes, size, false};
    struct vq_shape shape = {0};
    uint32_t coded = 0;
    tsr_status status = read_shape(vq, &input, &shape, &coded, err);
    /* Before anything is allocated by these numbers. */
    if (status == TSR_OK && 2 * vq->kind->values(&shape) > input.size)
        status = vq_corrupt(vq, err, "codebook: cut short");
    if (status == TSR_OK) status = vq_set_shape(vq, &shape, err);
    if (status == TSR_OK) status = read_words(vq, &input, err);
    for (uint32_t s = 0; s < shape.streams && status == TSR_OK; s++) {
        if (coded >> s & 1) status = read_model(vq, &input, &vq->streams[s], err);
    }
    /* A dictionary is filled up with zeros. */
    for (; vq->shared && input.size > 0 && input.bytes[0] == 0; input.size--) input.bytes++;
    if (status == TSR_OK && input.size != 0) status = vq_corrupt(vq, err, "codebook: bytes left over");
    return status;
}
