/* SPDX-License-Identifier: Apache-2.0
 *
 * Distributions of indices by a few numbers instead of tables (bitstream 2). The scale of a weight, known before it is
 * decoded, says which one: RMS over step in quarters of an octave, from the codes of its row and column. Magnitudes
 * follow a generalised Gaussian, the zero and escapes have a probability of their own. Decoders compute them: doubles
 * with + - * / alone, no libm. */
#ifndef TRELLIS_SHAPE_H
#define TRELLIS_SHAPE_H

#include "input.h"
#include "row_step.h"
#include "sink.h"
#include "step_code.h"
#include "trellis_code.h"

enum {
    TRELLIS_SCALES_MAX = 32,
    TRELLIS_LIMIT_MAX = 2047, /* 2M+2 symbols are at most 4096 */
    TRELLIS_SYMBOLS_MAX = 2 * TRELLIS_LIMIT_MAX + 2,
    TRELLIS_UNIT_MAX = 2
};

/* What is stored for each scale, as codes. */
enum trellis_shape_list {
    TRELLIS_POWER,  /* (4 + c) / 8 */
    TRELLIS_SLOPE_0, /* of quantiser 0: 2^((c - 32) / 8) */
    TRELLIS_SLOPE_1,
    TRELLIS_ZERO_0, /* odds of zero in quantiser 0: 2^((c - 128) / 8) */
    TRELLIS_ZERO_1,
    TRELLIS_ESCAPE, /* 2^-(c + 1) */
    TRELLIS_LISTS
};

struct trellis_shape {
    uint32_t probability_bits;
    uint32_t unit;   /* log2 of the quarters of an octave between scales */
    uint32_t scales; /* 1..TRELLIS_SCALES_MAX */
    int32_t base;    /* scale 0 is 2^(base / 16) steps */
    uint8_t codes[TRELLIS_LISTS][TRELLIS_SCALES_MAX];
};

static inline uint32_t trellis_scale(const struct trellis_shape *shape, int32_t row, int32_t column) {
    const int32_t sum = row + column, last = (int32_t)shape->scales - 1;
    return (uint32_t)(sum < 0 ? 0 : sum > last ? last : sum);
}

/* Scales of one octave share reconstruction points. */
static inline uint32_t trellis_group(const struct trellis_shape *shape, uint32_t scale) {
    return (scale << shape->unit) >> 2;
}

static inline uint32_t trellis_groups(const struct trellis_shape *shape) {
    return trellis_group(shape, shape->scales - 1) + 1;
}

/* log2 of a scale in steps. */
static inline double trellis_shape_log(const struct trellis_shape *shape, uint32_t scale) {
    return (double)shape->base / 16 + (double)(scale << shape->unit) / 4;
}

/* Largest magnitude that has a symbol in this scale and quantiser, M; f[2M+2] gets the frequencies of -M..M and of the
 * escape, which sum to 2^probability_bits. f has room for TRELLIS_SYMBOLS_MAX. */
uint32_t trellis_shape_frequencies(const struct trellis_shape *shape, uint32_t scale, uint32_t quantiser, uint32_t *f);

/* The codes as bits. */
uint64_t trellis_shape_bits(const struct trellis_shape *shape);
void trellis_shape_write(const struct trellis_shape *shape, struct sink_bits *bits);
/* False for what no writer writes; `scales` is known. */
bool trellis_shape_read(struct trellis_shape *shape, struct bits *bits);

#endif
