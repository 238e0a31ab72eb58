/* SPDX-License-Identifier: Apache-2.0
 *
 * Distributions of indices by a few numbers instead of tables, as scalar and trellis write them (their bitstream 2). The
 * scale of a weight, known before it is decoded, says which one: RMS over step, from the codes of its row and column.
 * Magnitudes follow a generalised Gaussian, the zero and escapes have a probability of their own. Decoders compute them:
 * doubles with + - * / alone, no libm. */
#ifndef SHAPE_H
#define SHAPE_H

#include "input.h"
#include "row_step.h"
#include "sink.h"
#include "step_code.h"

enum {
    SHAPE_SCALES_MAX = 32,
    SHAPE_LIMIT_MAX = 2047, /* 2M+2 symbols are at most 4096 */
    SHAPE_SYMBOLS_MAX = 2 * SHAPE_LIMIT_MAX + 2,
    SHAPE_UNIT_MAX = 2,
    SHAPE_CONTEXTS_MAX = 2 * SHAPE_SCALES_MAX
};

/* Points of magnitudes: quantiser 0 has the even numbers, quantiser 1 the odd ones and zero. In steps of a trellis, whose
 * two take turns; a quantiser alone has the even ones, in halves of its step. */
static inline uint32_t index_point(uint32_t quantiser, uint32_t magnitude) {
    return magnitude ? 2 * magnitude - quantiser : 0;
}

/* What is stored for each scale, as codes; those of quantiser 1 where there is one. */
enum shape_list {
    SHAPE_POWER,  /* (4 + c) / 8 */
    SHAPE_SLOPE_0, /* of quantiser 0: 2^((c - 32) / 8) */
    SHAPE_SLOPE_1,
    SHAPE_ZERO_0, /* odds of zero in quantiser 0: 2^((c - 128) / 8) */
    SHAPE_ZERO_1,
    SHAPE_ESCAPE, /* 2^-(c + 1) */
    SHAPE_LISTS
};

struct shape {
    uint32_t quantisers; /* 1 or 2 */
    uint32_t probability_bits;
    uint32_t unit;   /* log2 of the quarters of an octave between scales */
    uint32_t scales; /* 1..SHAPE_SCALES_MAX */
    int32_t base;    /* scale 0 is 2^(base / 16) in the measure of points */
    uint8_t codes[SHAPE_LISTS][SHAPE_SCALES_MAX];
};

/* The unit where codes of rows and columns are paid for by the weights. */
static inline uint32_t shape_unit_for(double weights) {
    return weights >= 1 << 18 ? 0 : weights >= 1 << 14 ? 1 : 2;
}

static inline uint32_t shape_scale(const struct shape *shape, int32_t row, int32_t column) {
    const int32_t sum = row + column, last = (int32_t)shape->scales - 1;
    return (uint32_t)(sum < 0 ? 0 : sum > last ? last : sum);
}

/* Scales of one octave share reconstruction points. */
static inline uint32_t shape_group(const struct shape *shape, uint32_t scale) {
    return (scale << shape->unit) >> 2;
}

static inline uint32_t shape_groups(const struct shape *shape) {
    return shape_group(shape, shape->scales - 1) + 1;
}

/* A distribution for each, quantisers of a scale side by side. */
static inline uint32_t shape_contexts(const struct shape *shape) {
    return shape->quantisers * shape->scales;
}

/* log2 of a scale in the measure of points. */
static inline double shape_log(const struct shape *shape, uint32_t scale) {
    return (double)shape->base / 16 + (double)(scale << shape->unit) / 4;
}

/* Largest magnitude that has a symbol in this scale and quantiser, M; f[2M+2] gets the frequencies of -M..M and of the
 * escape, which sum to 2^probability_bits. f has room for SHAPE_SYMBOLS_MAX. */
uint32_t shape_frequencies(const struct shape *shape, uint32_t scale, uint32_t quantiser, uint32_t *f);

/* The numbers before the lists: probability bits, unit, scales in a byte each, base as i16. False for what no writer writes. */
void shape_write_numbers(const struct shape *shape, struct sink *sink);
bool shape_read_numbers(struct shape *shape, struct input *input);

/* The codes as bits. */
uint64_t shape_bits(const struct shape *shape);
void shape_write(const struct shape *shape, struct sink_bits *bits);
/* False for what no writer writes; `scales` is known. */
bool shape_read(struct shape *shape, struct bits *bits);

#endif
