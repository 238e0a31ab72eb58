/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodes one tile: chooses and refines the step of each segment, quantises, and writes the layout of
 * scalar_bitstream.h from top to bottom. Reads the encoder only: any number of tiles at a time. */
#include "scalar_encode.h"

#include "sink.h"

#include <math.h>

/* Working memory for one tile, all of it the worker's scratch. */
struct tile_work {
    const struct scalar_encoder *encoder;
    const tsr_tile *tile;
    const float *x; /* [rows][columns] */
    const struct segment *chosen; /* of all segments, or NULL: encode chooses */
    struct segment *segments;
    uint16_t *symbols; /* of coded segments, one behind the other */
    uint8_t *contexts; /* class of each symbol; only with several classes */
    uint64_t row_segments, segment_count, symbol_count;
};

static const struct scalar_class *class_of(const struct scalar_encoder *encoder, const struct segment *segment) {
    return &encoder->classes[encoder->bucket_class[segment->bucket]];
}

static struct scalar_quantiser quantiser_of(const struct scalar_encoder *encoder, const struct segment *segment) {
    return (struct scalar_quantiser){segment->inverse, scalar_rounding(encoder), class_of(encoder, segment)->limit,
                                     encoder->middle};
}

/* What quantise would give without a limit. */
static int32_t index_of(float x, const struct scalar_quantiser *quantiser) {
    float scaled = fabsf(x) * quantiser->inverse;
    int32_t magnitude = (int32_t)(scaled + quantiser->rounding);
    return x < 0 ? -magnitude : magnitude;
}

/* The value as the host will store it after decoding: BF16 and F16 round to nearest, ties to even. */
static float rounded(float value, int32_t dtype) {
    uint32_t bits;
    if (dtype == TSR_DTYPE_F16 && fabsf(value) < 0x1p-14f) return value + 0x1.8p-1f - 0x1.8p-1f;
    if (dtype != TSR_DTYPE_F16 && dtype != TSR_DTYPE_BF16) return value;
    const uint32_t dropped = dtype == TSR_DTYPE_F16 ? 13 : 16;
    memcpy(&bits, &value, sizeof bits);
    bits += (1u << (dropped - 1)) - 1 + ((bits >> dropped) & 1);
    bits = bits >> dropped << dropped;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

/* Symbols of a segment at its present step. */
static void quantise(const struct scalar_encoder *encoder, struct segment *segment, const float *x, uint64_t count,
                     uint16_t *symbols) {
    const struct scalar_quantiser quantiser = quantiser_of(encoder, segment);
    segment->escapes = (uint32_t)encoder->kernels->quantise(x, count, &quantiser, symbols);
}

/* What a span of a segment becomes: its symbols, and y[count] as the decoder and then the host will have it. */
struct span {
    const float *x;
    const uint16_t *symbols;
    uint64_t count;
};

static void decode(const struct scalar_encoder *encoder, const struct segment *segment, const struct span *span,
                   float *y) {
    const uint32_t escape = 2 * encoder->middle + 1;
    const int32_t dtype = encoder->tensor->dtype;
    const float step = step_code_value(segment->code, encoder->mantissa_bits);
    const float *points = encoder->points + (uint64_t)encoder->bucket_class[segment->bucket] * (escape + 1);
    const struct scalar_quantiser quantiser = quantiser_of(encoder, segment);
    uint64_t escapes = encoder->kernels->reconstruct(span->symbols, span->count, points, step, escape, y);
    for (uint64_t i = 0; escapes > 0 && i < span->count; i++) {
        if (span->symbols[i] == escape) y[i] = (float)index_of(span->x[i], &quantiser) * step;
    }
    for (uint64_t i = 0; dtype != TSR_DTYPE_F32 && i < span->count; i++) y[i] = rounded(y[i], dtype);
}

/* Sum of squared errors that decoding will leave. */
static double squared_error(const struct scalar_encoder *encoder, const struct segment *segment,
                            const struct span *whole) {
    enum { CHUNK = 256 };
    float y[CHUNK];
    double error = 0;
    for (uint64_t at = 0; at < whole->count; at += CHUNK) {
        struct span span = {whole->x + at, whole->symbols + at, whole->count - at < CHUNK ? whole->count - at : CHUNK};
        decode(encoder, segment, &span, y);
        for (uint64_t i = 0; i < span.count; i++) {
            double difference = (double)span.x[i] - (double)y[i];
            error += difference * difference;
        }
    }
    return error;
}

/* Makes the step finer until the bound holds; raw if no step is fine enough. */
static void refine(const struct scalar_encoder *encoder, struct segment *segment, const float *x, uint64_t count,
                   uint16_t *symbols) {
    const double bound = encoder->settings.error_bound;
    const struct span span = {x, symbols, count};
    float largest;
    double allowed = bound * bound * encoder->kernels->energy(x, count, &largest);
    while (squared_error(encoder, segment, &span) > allowed) {
        segment->code--;
        float step = step_code_value(segment->code, encoder->mantissa_bits);
        if (!step_code_is_step(segment->code, encoder->mantissa_bits) || step < largest * 0x1p-22f) {
            segment->code = STEP_CODE_RAW;
            return;
        }
        segment->inverse = 1.0f / step;
        quantise(encoder, segment, x, count, symbols);
    }
}

static void quantise_segment(struct tile_work *work, struct segment *segment, const float *x, uint64_t count,
                             uint64_t row) {
    const struct scalar_encoder *encoder = work->encoder;
    uint16_t *symbols = work->symbols + work->symbol_count;
    *segment = work->chosen ? work->chosen[segment - work->segments] : scalar_segment_choose(encoder, x, count, row);
    if (!segment_is_coded(segment)) return;
    quantise(encoder, segment, x, count, symbols);
    if (encoder->settings.error_bound > 0) refine(encoder, segment, x, count, symbols);
    if (!segment_is_coded(segment)) return;
    if (work->contexts) memset(work->contexts + work->symbol_count, encoder->bucket_class[segment->bucket], count);
    work->symbol_count += count;
}

static void quantise_tile(struct tile_work *work) {
    const tsr_tile *tile = work->tile;
    const uint64_t group = work->encoder->settings.group;
    for (uint64_t r = 0; r < tile->rows; r++) {
        const float *x = work->x + r * tile->columns;
        for (uint64_t s = 0; s < work->row_segments; s++) {
            uint64_t count = scalar_segment_columns(tile->columns, group, s);
            quantise_segment(work, &work->segments[r * work->row_segments + s], x, count, tile->first_row + r);
            x += count;
        }
    }
}

/* The stream goes behind a gap for its own length, which is known only afterwards, and is moved up then. */
static tsr_status write_symbols(const struct tile_work *work, const struct side *side, struct sink *sink,
                                tsr_error *err) {
    const struct scalar_encoder *encoder = work->encoder;
    const tsr_entropy_split split = {sizeof split, encoder->model, work->contexts, 0, 16};
    const uint64_t side_bytes = (side->bits + 7) / 8, gap = VARINT_MAX + side_bytes;
    uint64_t stream_bytes = 0;
    sink_varint(sink, (uint32_t)side_bytes);
    if (sink->full || gap > sink->capacity - sink->at) return tsr_fail(err, TSR_E_SPACE, "scalar: tile buffer full");
    uint8_t *stream = sink->bytes + sink->at + gap;
    if (work->symbol_count > 0) {
        tsr_status status = encoder->entropy->split_encode(&split, work->symbols, work->symbol_count, stream,
                                                           sink->capacity - sink->at - gap, &stream_bytes, err);
        if (status != TSR_OK) return status;
    }
    sink_varint(sink, (uint32_t)stream_bytes);
    uint8_t *bits = sink_take(sink, side_bytes);
    uint8_t *place = sink_take(sink, stream_bytes);
    if (place) memmove(place, stream, (size_t)stream_bytes);
    if (bits) side_write(work->segments, work->segment_count, scalar_classes(work->encoder), side, bits);
    return TSR_OK;
}

/* Escaped indices of a segment, or its raw values. */
static void write_segment_rest(const struct scalar_encoder *encoder, const struct segment *segment, const float *x,
                               uint64_t count, struct sink *sink) {
    if (segment->code == STEP_CODE_RAW) {
        for (uint64_t i = 0; i < count; i++) {
            uint32_t bits;
            memcpy(&bits, &x[i], sizeof bits);
            sink_number(sink, bits, 4);
        }
        return;
    }
    if (!segment_is_coded(segment) || segment->escapes == 0) return;
    const struct scalar_quantiser quantiser = quantiser_of(encoder, segment);
    for (uint64_t i = 0; i < count; i++) {
        int32_t index = index_of(x[i], &quantiser);
        if ((uint32_t)(index < 0 ? -index : index) > quantiser.limit) sink_varint(sink, zigzag(index));
    }
}

/* Escapes first (raw = false), raw segments behind them. */
static void write_rest(const struct tile_work *work, bool raw, struct sink *sink) {
    const tsr_tile *tile = work->tile;
    const uint64_t group = work->encoder->settings.group;
    for (uint64_t i = 0; i < work->segment_count; i++) {
        const struct segment *segment = &work->segments[i];
        if ((segment->code == STEP_CODE_RAW) != raw) continue;
        uint64_t first = i % work->row_segments * (group ? group : tile->columns);
        uint64_t count = scalar_segment_columns(tile->columns, group, i % work->row_segments);
        const float *x = work->x + i / work->row_segments * tile->columns + first;
        write_segment_rest(work->encoder, segment, x, count, sink);
    }
}

uint64_t scalar_encode_bound(const struct scalar_encoder *encoder, const tsr_tile *tile) {
    const tsr_entropy_split split = {sizeof split, encoder->model, NULL, 0, 16};
    uint64_t weights = tile->rows * tile->columns;
    uint64_t segments = tile->rows * scalar_segments(tile->columns, encoder->settings.group);
    /* Two Rice codes of at most 28 bits a segment; an escape or a raw value is at most 5 bytes. */
    return 4 + 3 * VARINT_MAX + 8 * segments + encoder->entropy->split_bound(&split, weights) + VARINT_MAX * weights;
}

static tsr_status work_init(struct tile_work *work, tsr_error *err) {
    const struct scalar_encoder *encoder = work->encoder;
    const uint64_t weights = work->tile->rows * work->tile->columns;
    work->row_segments = scalar_segments(work->tile->columns, encoder->settings.group);
    work->segment_count = work->tile->rows * work->row_segments;
    uint64_t segment_bytes = work->segment_count * sizeof *work->segments;
    uint64_t total = segment_bytes + weights * (encoder->class_count > 1 ? 3 : 2) + 64;
    uint8_t *memory = encoder->host->scratch(encoder->host, work->tile->worker, total);
    if (!memory) {
        return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for a tile of %llu weights", (unsigned long long)weights);
    }
    work->segments = (struct segment *)(void *)memory;
    work->symbols = (uint16_t *)(void *)(memory + segment_bytes);
    if (encoder->class_count > 1) work->contexts = memory + segment_bytes + 2 * weights;
    return TSR_OK;
}

tsr_status scalar_encode_tile(const struct scalar_encoder *encoder, const tsr_tile *tile, const float *x, uint8_t *dst,
                              uint64_t capacity, uint64_t *written, tsr_error *err) {
    return scalar_encode_segments(encoder, tile, x, NULL, dst, capacity, written, err);
}

tsr_status scalar_encode_segments(const struct scalar_encoder *encoder, const tsr_tile *tile, const float *x,
                                  const struct segment *chosen, uint8_t *dst, uint64_t capacity, uint64_t *written,
                                  tsr_error *err) {
    struct tile_work work = {.encoder = encoder, .tile = tile, .x = x, .chosen = chosen};
    struct sink sink = {dst, capacity, 0, false};
    tsr_status status = work_init(&work, err);
    if (status != TSR_OK) return status;
    quantise_tile(&work);
    struct side side = side_plan(work.segments, work.segment_count, scalar_classes(encoder));
    sink_number(&sink, side.centre, 2);
    sink_number(&sink, side.code_rice, 1);
    if (encoder->class_count > 1) sink_number(&sink, side.class_rice, 1);
    status = write_symbols(&work, &side, &sink, err);
    if (status != TSR_OK) return status;
    write_rest(&work, false, &sink);
    write_rest(&work, true, &sink);
    if (sink.full)
        return tsr_fail(err, TSR_E_SPACE, "scalar: tile needs more than %llu bytes", (unsigned long long)capacity);
    *written = sink.at;
    return TSR_OK;
}
