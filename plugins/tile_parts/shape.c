/* SPDX-License-Identifier: Apache-2.0
 *
 * Frequencies from the codes of a shape, and the codes as bits. plugins/trellis/README.md, "Scales and
 * distributions", says the same in words; every operation here is part of the format. */
#include "shape.h"

#include <string.h>

/* Magnitudes whose density is below 2^-this of the first one's do not count. */
#define DEPTH 24.0
#define UNITS 1073741824.0 /* 2^30: probabilities as whole numbers */

static const uint8_t CODE_MOST[SHAPE_LISTS] = {31, 127, 127, 255, 255, 15};

/* ---- frequencies ---- */

/* Densities at the points of magnitudes 1.. over that of the first, w[0] unused; returns how many, *sum theirs. */
static uint32_t densities(const struct shape *shape, uint32_t scale, uint32_t quantiser, double *w,
                          double *sum) {
    const double power = (4 + shape->codes[SHAPE_POWER][scale]) / 8.0;
    const double log_slope = (shape->codes[SHAPE_SLOPE_0 + quantiser][scale] - 32) / 8.0;
    const double shift = log_slope - power * shape_log(shape, scale);
    double first = 0;
    uint32_t m = 1;
    *sum = 0;
    for (; m <= SHAPE_LIMIT_MAX; m++) {
        double log_depth = power * exact_log2((double)index_point(quantiser, m)) + shift;
        double depth = log_depth > 60 ? 0x1p60 : log_depth < -60 ? 0 : exact_exp2(log_depth);
        if (m == 1) first = depth;
        if (depth - first > DEPTH) break;
        w[m] = exact_exp2(first - depth);
        *sum += w[m];
    }
    return m - 1;
}

/* Whole numbers that are as probable, of magnitudes and of the escape. */
static void probabilities(const struct shape *shape, uint32_t scale, uint32_t quantiser, double *w,
                          uint32_t limit, uint64_t *escape) {
    const double odds = exact_exp2((shape->codes[SHAPE_ZERO_0 + quantiser][scale] - 128) / 8.0);
    const double outside = UNITS * exact_exp2(-1.0 - shape->codes[SHAPE_ESCAPE][scale]);
    const double zero = (UNITS - outside) * (odds / (1 + odds));
    double inside = 0;
    for (uint32_t m = 1; m <= limit; m++) inside += w[m];
    const double each = (UNITS - outside - zero) / (2 * inside);
    w[0] = zero;
    for (uint32_t m = 1; m <= limit; m++) w[m] *= each;
    *escape = (uint64_t)outside;
}

/* A slot for each of `count` symbols, the others of `all` in proportion to what their shares are above one. */
static void share_slots(const uint64_t *shares, uint32_t count, uint32_t all, uint32_t *f) {
    uint64_t total = 0, slot, above = 0, at = 0;
    for (uint32_t i = 0; i < count; i++) total += shares[i];
    slot = total / all;
    for (uint32_t i = 0; i < count; i++) above += shares[i] > slot ? shares[i] - slot : 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t next = at + (shares[i] > slot ? shares[i] - slot : 0);
        f[i] = 1;
        if (above > 0) f[i] += (uint32_t)(next * (all - count) / above - at * (all - count) / above);
        at = next;
    }
}

uint32_t shape_frequencies(const struct shape *shape, uint32_t scale, uint32_t quantiser, uint32_t *f) {
    double w[SHAPE_LIMIT_MAX + 1], sum;
    uint64_t shares[SHAPE_SYMBOLS_MAX];
    uint32_t limit = densities(shape, scale, quantiser, w, &sum), all = UINT32_C(1) << shape->probability_bits;
    while (limit > 1 && w[limit] * (all / 2) < sum) limit--;
    probabilities(shape, scale, quantiser, w, limit, &shares[2 * limit + 1]);
    for (uint32_t m = 0; m <= limit; m++) shares[limit + m] = shares[limit - m] = (uint64_t)w[m];
    share_slots(shares, 2 * limit + 2, all, f);
    return limit;
}

/* ---- bytes ---- */

void shape_write_numbers(const struct shape *shape, struct sink *sink) {
    sink_number(sink, shape->probability_bits, 1);
    sink_number(sink, shape->unit, 1);
    sink_number(sink, shape->scales, 1);
    sink_number(sink, (uint32_t)shape->base, 2);
}

bool shape_read_numbers(struct shape *shape, struct input *input) {
    shape->probability_bits = input_byte(input);
    shape->unit = input_byte(input);
    shape->scales = input_byte(input);
    shape->base = (int16_t)input_number(input, 2);
    return !input->short_of && shape->probability_bits >= 12 && shape->probability_bits <= 14 &&
           shape->unit <= SHAPE_UNIT_MAX && shape->scales >= 1 && shape->scales <= SHAPE_SCALES_MAX;
}

enum { FIRST_BITS = 8, RICE_BITS = 3 };

static bool has_list(const struct shape *shape, uint32_t list) {
    return shape->quantisers == 2 || (list != SHAPE_SLOPE_1 && list != SHAPE_ZERO_1);
}

static uint64_t list_bits(const struct shape *shape, uint32_t list, uint32_t rice) {
    const uint8_t *codes = shape->codes[list];
    uint64_t bits = FIRST_BITS + RICE_BITS;
    for (uint32_t s = 1; s < shape->scales; s++) bits += rice_bits(zigzag(codes[s] - codes[s - 1]), rice);
    return bits;
}

static uint32_t list_rice(const struct shape *shape, uint32_t list) {
    uint32_t best = 0;
    for (uint32_t rice = 1; rice < 1u << RICE_BITS; rice++) {
        if (list_bits(shape, list, rice) < list_bits(shape, list, best)) best = rice;
    }
    return best;
}

uint64_t shape_bits(const struct shape *shape) {
    uint64_t bits = 0;
    for (uint32_t list = 0; list < SHAPE_LISTS; list++) {
        if (has_list(shape, list)) bits += list_bits(shape, list, list_rice(shape, list));
    }
    return bits;
}

void shape_write(const struct shape *shape, struct sink_bits *bits) {
    for (uint32_t list = 0; list < SHAPE_LISTS; list++) {
        if (!has_list(shape, list)) continue;
        const uint8_t *codes = shape->codes[list];
        const uint32_t rice = list_rice(shape, list);
        bits_put(bits, codes[0], FIRST_BITS);
        bits_put(bits, rice, RICE_BITS);
        for (uint32_t s = 1; s < shape->scales; s++) bits_put_rice(bits, zigzag(codes[s] - codes[s - 1]), rice);
    }
}

bool shape_read(struct shape *shape, struct bits *bits) {
    for (uint32_t list = 0; list < SHAPE_LISTS; list++) {
        if (!has_list(shape, list)) continue;
        uint8_t *codes = shape->codes[list];
        int32_t code = (int32_t)bits_get(bits, FIRST_BITS);
        const uint32_t rice = bits_get(bits, RICE_BITS);
        for (uint32_t s = 0; s < shape->scales; s++) {
            if (s > 0) code += unzigzag(bits_get_rice(bits, rice));
            if (code < 0 || code > CODE_MOST[list]) return false;
            codes[s] = (uint8_t)code;
        }
    }
    return !bits->overrun;
}
