/* SPDX-License-Identifier: Apache-2.0
 *
 * The step of a row, the path down a column, and the cheapest way to write the steps of a tile. Prepare measures with
 * exactly these, so that what it predicts is what encode does. Doubles with + - * / and sqrt only: the same bits on
 * every machine. */
#include "trellis_encode.h"

#include <math.h>

/* Outside these an F32 step or its inverse could leave the range of normal numbers: such rows are stored raw. */
#define RMS_LEAST 0x1p-100
#define PEAK_MOST 0x1p+120f

struct trellis_row_facts trellis_row_look(const float *row, uint64_t columns) {
    double lanes[4] = {0};
    float largest = 0;
    for (uint64_t i = 0; i < columns; i++) {
        float magnitude = fabsf(row[i]);
        largest = magnitude > largest ? magnitude : largest;
        lanes[i % 4] += (double)magnitude * (double)magnitude;
    }
    double total = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
    return (struct trellis_row_facts){columns ? sqrt(total / (double)columns) : 0, largest};
}

/* Nearest step code. Positive floats order like their bits, so rounding works on the bits, over octaves too. */
static uint32_t code_nearest(double step, uint32_t mantissa_bits) {
    if (step >= 0x1p127) return 255u << mantissa_bits;
    float value = (float)step;
    uint32_t bits, shift = 23 - mantissa_bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits + (1u << (shift - 1))) >> shift;
}

/* Half octaves of RMS over nominal unit, 8 for equality: floor(log2(ratio^2) + 1/2) + 8. */
static uint32_t bucket_of(double ratio) {
    double square = ratio * ratio * 1.4142135623730951;
    uint64_t bits;
    memcpy(&bits, &square, sizeof bits);
    int64_t exponent = (int64_t)(bits >> 52) - 1023 + 8;
    return exponent < 0 ? 0 : exponent >= TRELLIS_CLASSES_MAX ? TRELLIS_CLASSES_MAX - 1 : (uint32_t)exponent;
}

/* A row's weight w asks for a step proportional to w^(-1/2), measured in the tensor's weighted RMS: so that weights of
 * 1 / RMS^2 and no weights at all mean the same steps. */
static double unit_of(const struct trellis_encoder *encoder, double rms, uint64_t index) {
    if (!encoder->row_weight) return rms;
    double weight = (double)encoder->row_weight[index];
    return weight > 0 && weight < HUGE_VAL ? encoder->weighted_rms / sqrt(weight) : rms;
}

struct segment trellis_row_choose(const struct trellis_encoder *encoder, const struct trellis_row_facts *facts,
                                  uint64_t index) {
    struct segment row = {.code = STEP_CODE_ZERO};
    if (facts->largest == 0) return row;
    if (facts->rms < RMS_LEAST || facts->largest >= PEAK_MOST) {
        row.code = STEP_CODE_RAW;
        return row;
    }
    double step = encoder->scale * unit_of(encoder, facts->rms, index), least = (double)facts->largest * 0x1p-20;
    if (step < least) step = least;
    if (trellis_bucket_count(encoder) > 1) row.bucket = bucket_of(facts->rms * encoder->scale / step);
    row.code = code_nearest(step, encoder->mantissa_bits);
    if (!step_code_is_step(row.code, encoder->mantissa_bits)) {
        row.code = STEP_CODE_ZERO;
        return row;
    }
    row.inverse = 1.0f / step_code_value(row.code, encoder->mantissa_bits);
    return row;
}

uint64_t trellis_lane_bytes(const struct trellis_encoder *encoder) {
    const uint64_t row = sizeof(struct trellis_costs *) + TRELLIS_LANES * 4 * 6 + encoder->code.states;
    return TRELLIS_SEGMENT * row + 64;
}

void trellis_lane_init(struct trellis_lane *lane, void *memory) {
    lane->costs = memory;
    lane->choices = (int32_t *)(void *)(lane->costs + TRELLIS_SEGMENT);
    lane->indices = lane->choices + TRELLIS_SEGMENT * 4 * TRELLIS_LANES;
    lane->u = (float *)(void *)(lane->indices + TRELLIS_SEGMENT * TRELLIS_LANES);
    lane->before = (uint8_t *)(lane->u + TRELLIS_SEGMENT * TRELLIS_LANES);
}

/* Takes coded rows from row `*at` on into a segment; returns their number. */
static uint64_t load_segment(const struct trellis_encoder *encoder, const struct trellis_columns *columns, uint64_t *at,
                             struct trellis_lane *lane) {
    uint64_t count = 0;
    for (; *at < columns->count && count < TRELLIS_SEGMENT; (*at)++) {
        const struct segment *row = &columns->rows[*at];
        if (!segment_is_coded(row)) continue;
        const float *x = columns->x + *at * columns->stride;
        float *u = lane->u + count * TRELLIS_LANES;
        uint32_t own =
            columns->classes ? (uint32_t)TRELLIS_CLASSES_MAX + encoder->bucket_class[row->bucket] : row->bucket;
        for (uint64_t i = 0; i < TRELLIS_LANES; i++) u[i] = i < columns->width ? x[i] * row->inverse : 0;
        lane->costs[count++] = &encoder->costs[own];
    }
    return count;
}

void trellis_columns_find(const struct trellis_encoder *encoder, const struct trellis_columns *columns,
                          struct trellis_lane *lane) {
    struct trellis_strip strip = {.code = &encoder->code,
                                  .costs = lane->costs,
                                  .u = lane->u,
                                  .indices = lane->indices,
                                  .choices = lane->choices,
                                  .before = lane->before};
    uint64_t done = 0;
    for (uint64_t at = 0; at < columns->count;) {
        strip.count = load_segment(encoder, columns, &at, lane);
        encoder->find(&strip);
        for (uint64_t i = 0; i < strip.count; i++, done++) {
            const uint64_t to = done * columns->index_stride, from = i * TRELLIS_LANES;
            memcpy(columns->indices + to, lane->indices + from, (size_t)columns->width * sizeof(int32_t));
            if (columns->u) memcpy(columns->u + to, lane->u + from, (size_t)columns->width * sizeof(float));
        }
    }
}
