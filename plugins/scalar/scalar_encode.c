/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodes one tile: chooses and refines the step of each segment, quantises, and writes the layout of
 * scalar_bitstream.h from top to bottom. Reads the encoder only: any number of tiles at a time. */
#include "scalar_encode.h"

#include "escape.h"
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
    uint8_t *contexts; /* scale of each symbol; only with several scales */
    uint64_t row_segments, segment_count, symbol_count;
};

static struct scalar_quantiser quantiser_of(const struct scalar_encoder *encoder, const struct segment *segment) {
    return (struct scalar_quantiser){segment->inverse, scalar_rounding(encoder), encoder->model.middle,
                                     encoder->model.middle};
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

/* A segment's values, and what becomes of them. */
struct span {
    const float *x;
    uint16_t *symbols;
    const uint8_t *contexts; /* or NULL: one scale */
    uint64_t count;
};

/* Magnitudes beyond the limits of their scales become escapes; returns how many more of these there are. */
static uint32_t limit_symbols(const struct scalar_encoder *encoder, const struct span *span) {
    const uint32_t middle = encoder->model.middle, escape = 2 * middle + 1;
    uint32_t escapes = 0;
    for (uint64_t i = 0; i < span->count; i++) {
        const uint32_t limit = encoder->model.limits[span->contexts[i]], symbol = span->symbols[i];
        if (symbol - (middle - limit) <= 2 * limit || symbol == escape) continue;
        span->symbols[i] = (uint16_t)escape;
        escapes++;
    }
    return escapes;
}

/* Symbols of a segment at its present step. */
static void quantise(const struct scalar_encoder *encoder, struct segment *segment, const struct span *span) {
    const struct scalar_quantiser quantiser = quantiser_of(encoder, segment);
    segment->escapes = (uint32_t)encoder->kernels->quantise(span->x, span->count, &quantiser, span->symbols);
    if (span->contexts) segment->escapes += limit_symbols(encoder, span);
}

/* y[count] as the decoder and then the host will have it. */
static void decode(const struct scalar_encoder *encoder, const struct segment *segment, const struct span *span,
                   float *y) {
    const uint32_t escape = 2 * encoder->model.middle + 1;
    const int32_t dtype = encoder->tensor->dtype;
    const float step = step_code_value(segment->code, encoder->mantissa_bits);
    const float *points = encoder->points + (uint64_t)scalar_bucket_list(encoder, segment->bucket) * (escape + 1);
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
        const uint64_t left = whole->count - at;
        const struct span span = {whole->x + at, whole->symbols + at, NULL, left < CHUNK ? left : CHUNK};
        decode(encoder, segment, &span, y);
        for (uint64_t i = 0; i < span.count; i++) {
            double difference = (double)span.x[i] - (double)y[i];
            error += difference * difference;
        }
    }
    return error;
}

/* Makes the step finer until the bound holds; raw if no step is fine enough. */
static void refine(const struct scalar_encoder *encoder, struct segment *segment, const struct span *span) {
    const double bound = encoder->settings.error_bound;
    float largest;
    double allowed = bound * bound * encoder->kernels->energy(span->x, span->count, &largest);
    while (squared_error(encoder, segment, span) > allowed) {
        segment->code--;
        float step = step_code_value(segment->code, encoder->mantissa_bits);
        if (!step_code_is_step(segment->code, encoder->mantissa_bits) || step < largest * 0x1p-22f) {
            segment->code = STEP_CODE_RAW;
            return;
        }
        segment->inverse = 1.0f / step;
        quantise(encoder, segment, span);
    }
}

/* Columns of segment `index` of a row, and the first of them in the tile. */
static uint64_t segment_columns(const struct tile_work *work, uint64_t index, uint64_t *first) {
    const uint64_t group = work->encoder->settings.group;
    *first = index % work->row_segments * group;
    return scalar_segment_columns(work->tile->columns, group, index % work->row_segments);
}

static void quantise_segment(struct tile_work *work, uint64_t index) {
    const struct scalar_encoder *encoder = work->encoder;
    const uint64_t row = index / work->row_segments;
    uint64_t first, count = segment_columns(work, index, &first);
    const float *x = work->x + row * work->tile->columns + first;
    uint8_t *contexts = work->contexts ? work->contexts + work->symbol_count : NULL;
    const struct span span = {x, work->symbols + work->symbol_count, contexts, count};
    struct segment *segment = &work->segments[index];
    first += work->tile->first_column;
    *segment = work->chosen ? work->chosen[index]
                            : scalar_segment_choose(encoder, x, work->tile->first_row + row, first, count);
    if (!segment_is_coded(segment)) return;
    if (contexts)
        scalar_contexts(encoder, scalar_row_code(encoder, segment), first, count,
                        (int32_t)encoder->shape.scales - 1, contexts);
    quantise(encoder, segment, &span);
    if (encoder->settings.error_bound > 0) refine(encoder, segment, &span);
    if (segment_is_coded(segment)) work->symbol_count += count;
}

/* The stream goes behind a gap for its own length, which is known only afterwards, and is moved up then. */
static tsr_status write_symbols(const struct tile_work *work, const struct side *side, struct sink *sink,
                                tsr_error *err) {
    const struct scalar_encoder *encoder = work->encoder;
    const tsr_entropy_split split = {sizeof split, encoder->model.entropy, work->contexts, 0, 16};
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
    if (bits) side_write(work->segments, work->segment_count, scalar_row_codes(work->encoder), side, bits);
    return TSR_OK;
}

/* Escaped indices of a segment, whose symbols begin with symbol `at`. */
static void write_escapes(const struct tile_work *work, uint64_t index, uint64_t at, struct sink *sink) {
    const struct scalar_encoder *encoder = work->encoder;
    const struct segment *segment = &work->segments[index];
    const struct scalar_quantiser quantiser = quantiser_of(encoder, segment);
    uint64_t first, count = segment_columns(work, index, &first), left = segment->escapes;
    const float *x = work->x + index / work->row_segments * work->tile->columns + first;
    for (uint64_t i = 0; left > 0 && i < count; i++) {
        if (work->symbols[at + i] != 2 * encoder->model.middle + 1) continue;
        const uint32_t limit = encoder->model.limits[work->contexts ? work->contexts[at + i] : 0];
        sink_varint(sink, escape_code(index_of(x[i], &quantiser), limit));
        left--;
    }
}

static void write_raw(const struct tile_work *work, uint64_t index, struct sink *sink) {
    uint64_t first, count = segment_columns(work, index, &first);
    const float *x = work->x + index / work->row_segments * work->tile->columns + first;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        sink_number(sink, bits, 4);
    }
}

/* Escapes, and raw segments behind them. */
static void write_rest(const struct tile_work *work, struct sink *sink) {
    uint64_t at = 0, first;
    for (uint64_t i = 0; i < work->segment_count; i++) {
        if (!segment_is_coded(&work->segments[i])) continue;
        if (work->segments[i].escapes > 0) write_escapes(work, i, at, sink);
        at += segment_columns(work, i, &first);
    }
    for (uint64_t i = 0; i < work->segment_count; i++) {
        if (work->segments[i].code == STEP_CODE_RAW) write_raw(work, i, sink);
    }
}

uint64_t scalar_encode_bound(const struct scalar_encoder *encoder, const tsr_tile *tile) {
    const tsr_entropy_split split = {sizeof split, encoder->model.entropy, NULL, 0, 16};
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
    uint64_t total = segment_bytes + weights * (encoder->shape.scales > 1 ? 3 : 2) + 64;
    uint8_t *memory = encoder->host->scratch(encoder->host, work->tile->worker, total);
    if (!memory) {
        return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for a tile of %llu weights", (unsigned long long)weights);
    }
    work->segments = (struct segment *)(void *)memory;
    work->symbols = (uint16_t *)(void *)(memory + segment_bytes);
    if (encoder->shape.scales > 1) work->contexts = memory + segment_bytes + 2 * weights;
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
    for (uint64_t i = 0; i < work.segment_count; i++) quantise_segment(&work, i);
    struct side side = side_plan(work.segments, work.segment_count, scalar_row_codes(encoder));
    sink_number(&sink, side.centre, 2);
    sink_number(&sink, side.code_rice, 1);
    if (encoder->rows_coded) sink_number(&sink, side.class_rice, 1);
    status = write_symbols(&work, &side, &sink, err);
    if (status != TSR_OK) return status;
    write_rest(&work, &sink);
    if (sink.full)
        return tsr_fail(err, TSR_E_SPACE, "scalar: tile needs more than %llu bytes", (unsigned long long)capacity);
    *written = sink.at;
    return TSR_OK;
}
