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
#define UNITS_MOST 400

int32_t trellis_row_units(const struct trellis_encoder *encoder, const struct row_facts *facts, uint64_t index) {
    const double ratio = facts->spread / row_step_unit(encoder->row_weight, encoder->weighted_rms, facts->rms, index);
    if (!(ratio > 0x1p-60)) return -UNITS_MOST;
    const double units = floor(exact_log2(ratio) * 4 / (double)(1u << encoder->shape.unit) + 0.5);
    return units < -UNITS_MOST ? -UNITS_MOST : units > UNITS_MOST ? UNITS_MOST : (int32_t)units;
}

/* Within 100 of the centre, so that what is written fits a byte. */
static uint32_t bucket_of(const struct trellis_encoder *encoder, const struct row_facts *facts, uint64_t index) {
    int32_t distance = encoder->rows_coded ? trellis_row_units(encoder, facts, index) - encoder->row_low : 0;
    if (encoder->rows_coded) distance -= encoder->row_centre;
    distance = distance < -100 ? -100 : distance > 100 ? 100 : distance;
    const int32_t code = encoder->row_centre + distance;
    return (uint32_t)((code < -127 ? -127 : code > 127 ? 127 : code) + TRELLIS_CODE_ZERO);
}

struct segment trellis_row_choose(const struct trellis_encoder *encoder, const struct row_facts *facts,
                                  uint64_t index) {
    struct segment row = {.code = STEP_CODE_ZERO};
    if (facts->rms == 0) return row;
    if (facts->rms < RMS_LEAST || facts->largest >= PEAK_MOST) {
        row.code = STEP_CODE_RAW;
        return row;
    }
    double step = encoder->scale * row_step_unit(encoder->row_weight, encoder->weighted_rms, facts->rms, index), least = (double)facts->largest * 0x1p-20;
    if (step < least) step = least;
    row.bucket = bucket_of(encoder, facts, index);
    row.code = row_step_code(step, encoder->mantissa_bits);
    if (!step_code_is_step(row.code, encoder->mantissa_bits)) {
        row.code = STEP_CODE_ZERO;
        return row;
    }
    row.inverse = 1.0f / step_code_value(row.code, encoder->mantissa_bits);
    return row;
}

uint64_t trellis_lane_bytes(const struct trellis_encoder *encoder) {
    const uint64_t row = sizeof(int32_t) + TRELLIS_LANES * 4 * 6 + encoder->code.states;
    return TRELLIS_SEGMENT * row + 64;
}

void trellis_lane_init(struct trellis_lane *lane, void *memory) {
    lane->rows = memory;
    lane->choices = lane->rows + TRELLIS_SEGMENT;
    lane->indices = lane->choices + TRELLIS_SEGMENT * 4 * TRELLIS_LANES;
    lane->u = (float *)(void *)(lane->indices + TRELLIS_SEGMENT * TRELLIS_LANES);
    lane->before = (uint8_t *)(lane->u + TRELLIS_SEGMENT * TRELLIS_LANES);
}

/* Takes coded rows from row `*at` on into a segment, less their columns' means; returns their number. */
static uint64_t load_segment(const struct trellis_columns *columns, const float *means, uint64_t *at,
                             struct trellis_lane *lane) {
    uint64_t count = 0;
    for (; *at < columns->count && count < TRELLIS_SEGMENT; (*at)++) {
        const struct segment *row = &columns->rows[*at];
        if (!segment_is_coded(row)) continue;
        const float *x = columns->x + *at * columns->stride;
        float *u = lane->u + count * TRELLIS_LANES;
        for (uint64_t i = 0; i < TRELLIS_LANES; i++) u[i] = i < columns->width ? (x[i] - means[i]) * row->inverse : 0;
        lane->rows[count++] = trellis_row_code(row);
    }
    return count;
}

void trellis_columns_find(const struct trellis_encoder *encoder, const struct trellis_columns *columns,
                          struct trellis_lane *lane) {
    struct trellis_strip strip = {.code = &encoder->code,
                                  .costs = trellis_costs(encoder, columns->final, 0, 0),
                                  .scales = (int32_t)encoder->shape.scales,
                                  .rows = lane->rows,
                                  .u = lane->u,
                                  .indices = lane->indices,
                                  .choices = lane->choices,
                                  .before = lane->before};
    const float *known = columns->centred ? NULL : column_means(&encoder->columns, columns->first);
    float means[TRELLIS_LANES] = {0};
    uint64_t done = 0;
    for (uint64_t i = 0; i < columns->width; i++) {
        strip.columns[i] = column_code(&encoder->columns, columns->first + i);
        if (known) means[i] = known[i];
    }
    for (uint64_t at = 0; at < columns->count;) {
        strip.count = load_segment(columns, means, &at, lane);
        encoder->find(&strip);
        for (uint64_t i = 0; i < strip.count; i++, done++) {
            const uint64_t to = done * columns->index_stride, from = i * TRELLIS_LANES;
            memcpy(columns->indices + to, lane->indices + from, (size_t)columns->width * sizeof(int32_t));
            if (columns->u) memcpy(columns->u + to, lane->u + from, (size_t)columns->width * sizeof(float));
        }
    }
}
