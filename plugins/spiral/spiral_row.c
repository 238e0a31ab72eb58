/* SPDX-License-Identifier: Apache-2.0
 *
 * One row: its pairs, its step, its tickets, and the cheapest way to write the steps of a tile. Prepare measures with
 * exactly these, so that what it predicts is what encode does. Doubles with + - * / and sqrt only: the same bits on
 * every machine. */
#include "spiral_encode.h"

#include <math.h>

/* Outside these a step, its inverse or a rotated value could leave the range of normal F32 numbers: such rows are
 * stored raw. */
#define RMS_LEAST 0x1p-100
#define PEAK_MOST 0x1p+100f

enum { REFINEMENTS = 3 };

void spiral_lane_init(struct spiral_lane *lane, void *memory, uint64_t columns) {
    const uint64_t pairs = spiral_pairs(columns);
    lane->x = memory;
    lane->y = lane->x + pairs;
    lane->u = lane->y + pairs;
    lane->v = lane->u + pairs;
    lane->tickets = (uint16_t *)(void *)(lane->v + pairs);
}

bool spiral_row_is_raw(const float *row, uint64_t columns) {
    double total = 0;
    float largest = 0;
    for (uint64_t i = 0; i < columns; i++) {
        float magnitude = fabsf(row[i]);
        largest = magnitude > largest ? magnitude : largest;
        total += (double)magnitude * (double)magnitude;
    }
    return largest >= PEAK_MOST || (largest > 0 && sqrt(total / (double)columns) < RMS_LEAST);
}

const float *spiral_row_rotate(const struct spiral_encoder *encoder, const float *row, uint64_t columns, bool raw,
                               float *dst) {
    memcpy(dst, row, (size_t)columns * sizeof *dst);
    if (!raw) encoder->hadamard->forward(dst, 1, columns, encoder->seed);
    return dst;
}

void spiral_lane_load(const struct spiral_encoder *encoder, struct spiral_lane *lane, const float *row,
                      uint64_t columns) {
    const uint64_t hop = spiral_hop(encoder->stride, columns), pairs = spiral_pairs(columns);
    uint64_t column = 0;
    for (uint64_t i = 0; i < pairs; i++) {
        lane->x[i] = row[column];
        column = spiral_next(column, hop, columns);
        lane->y[i] = 2 * i + 1 < columns ? row[column] : 0;
        column = spiral_next(column, hop, columns);
    }
}

/* Sum of squares in four lanes of double, added pairwise; *largest gets the largest magnitude. */
static double energy(const struct spiral_lane *lane, uint64_t pairs, float *largest) {
    double lanes[4] = {0};
    float most = 0;
    for (uint64_t i = 0; i < pairs; i++) {
        double x = (double)lane->x[i], y = (double)lane->y[i];
        lanes[2 * (i % 2)] += x * x;
        lanes[2 * (i % 2) + 1] += y * y;
        float larger = fabsf(lane->x[i]) > fabsf(lane->y[i]) ? fabsf(lane->x[i]) : fabsf(lane->y[i]);
        most = larger > most ? larger : most;
    }
    *largest = most;
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

/* A fixed number of points has no rate to give away. */
static const float *weights_of(const struct spiral_encoder *encoder) {
    return encoder->settings.points ? NULL : encoder->row_weight;
}

void spiral_row_search(const struct spiral_encoder *encoder, const struct segment *row, struct spiral_lane *lane,
                       uint64_t pairs) {
    for (uint64_t i = 0; i < pairs; i++) {
        lane->u[i] = lane->x[i] * row->inverse;
        lane->v[i] = lane->y[i] * row->inverse;
    }
    encoder->search(&encoder->rings, lane->u, lane->v, pairs, lane->tickets);
}

static bool set_code(const struct spiral_encoder *encoder, struct segment *row, uint32_t code) {
    row->code = code;
    if (!step_code_is_step(code, encoder->mantissa_bits)) return false;
    row->inverse = 1.0f / step_code_value(code, encoder->mantissa_bits);
    return true;
}

/* Squared error of the present tickets, in steps, and the factor by which their points fit best. The place behind an
 * odd row's last column does not count. */
static double fit(const struct spiral_encoder *encoder, const struct spiral_lane *lane, uint64_t columns,
                  double *gain) {
    double along = 0, square = 0, error = 0;
    for (uint64_t i = 0; i < spiral_pairs(columns); i++) {
        double u = (double)lane->u[i], v = (double)lane->v[i];
        double px = (double)encoder->rings.x[lane->tickets[i]], py = (double)encoder->rings.y[lane->tickets[i]];
        if (2 * i + 1 == columns) py = 0;
        along += u * px + v * py;
        square += px * px + py * py;
        error += (u - px) * (u - px) + (v - py) * (v - py);
    }
    *gain = square > 0 ? along / square : 0;
    return error;
}

/* With a fixed number of points the best step depends on the row: steps of least squares and new tickets in turn, and
 * the best of all is kept. No row ends worse than zero. */
static void refine(const struct spiral_encoder *encoder, struct segment *row, struct spiral_lane *lane,
                   uint64_t columns, double total) {
    struct segment trial = *row;
    double best = total;
    row->code = STEP_CODE_ZERO;
    for (int i = 0; i <= REFINEMENTS; i++) {
        double gain, step = (double)step_code_value(trial.code, encoder->mantissa_bits);
        spiral_row_search(encoder, &trial, lane, spiral_pairs(columns));
        double error = fit(encoder, lane, columns, &gain) * step * step;
        if (error < best) {
            best = error;
            *row = trial;
        }
        uint32_t next = gain > 0 ? row_step_code(step * gain, encoder->mantissa_bits) : trial.code;
        if (next == trial.code || !set_code(encoder, &trial, next)) return;
    }
}

struct segment spiral_row_choose(const struct spiral_encoder *encoder, struct spiral_lane *lane, uint64_t columns,
                                 uint64_t index) {
    struct segment row = {.code = STEP_CODE_ZERO};
    float largest;
    if (columns == 0) return row;
    double total = energy(lane, spiral_pairs(columns), &largest), rms = sqrt(total / (double)columns);
    if (largest == 0) return row;
    double step = encoder->scale * row_step_unit(weights_of(encoder), encoder->weighted_rms, rms, index), least = (double)largest * 0x1p-21;
    if (step < least) step = least;
    if (spiral_bucket_count(encoder) > 1) row.bucket = row_step_bucket(rms * encoder->scale / step, SPIRAL_CLASSES_MAX);
    if (!set_code(encoder, &row, row_step_code(step, encoder->mantissa_bits)))
        row.code = STEP_CODE_ZERO;
    else if (encoder->settings.points)
        refine(encoder, &row, lane, columns, total);
    return row;
}
