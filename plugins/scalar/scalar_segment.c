/* SPDX-License-Identifier: Apache-2.0
 *
 * The step of a segment, and the cheapest way to write the steps of a tile. Prepare measures with exactly these, so
 * that what it predicts is what encode does. Doubles with + - * /, sqrt and floor only: the same bits on every machine. */
#include "scalar_encode.h"

#include <math.h>

/* Outside these an F32 step or its inverse could leave the range of normal numbers: such segments are stored raw. */
#define RMS_LEAST 0x1p-100
#define PEAK_MOST 0x1p+126f
/* From this length on it pays to announce that all of a segment rounds to zero. */
#define ZERO_RUN 128
/* Uniform error: RMS error is step / sqrt(12); a little less, since the dead zone and rare large errors add to it. */
#define STEPS_PER_ERROR 3.4

double scalar_reference(const struct scalar_encoder *encoder) {
    const double bound = STEPS_PER_ERROR * encoder->settings.error_bound;
    return bound > 0 && bound < encoder->scale ? bound : encoder->scale;
}

/* By the RMS of the weights over the scales of their columns, whose sum of squares is `energy`. */
static uint32_t bucket_of(const struct scalar_encoder *encoder, double energy, uint64_t count, double step) {
    const double ratio = sqrt(energy / (double)count) / step * scalar_reference(encoder);
    if (!(ratio > 0x1p-60)) return 0;
    const double units = floor(exact_log2(ratio) * 4 / (double)(1u << encoder->shape.unit) + 0.5);
    const double bucket = units - encoder->row_units + SCALAR_BUCKET_MEAN;
    return bucket < 0 ? 0 : bucket > SCALAR_BINS - 1 ? SCALAR_BINS - 1 : (uint32_t)bucket;
}

struct segment scalar_segment_choose(const struct scalar_encoder *encoder, const float *x, uint64_t row,
                                     uint64_t column, uint64_t count) {
    struct segment segment = {.code = STEP_CODE_ZERO, .bucket = SCALAR_BUCKET_MEAN};
    const double bound = encoder->settings.error_bound;
    float largest = 0;
    if (count == 0) return segment;
    double energy = encoder->kernels->energy(x, count, &largest), rms = sqrt(energy / (double)count);
    if (largest == 0) return segment;
    if (rms < RMS_LEAST || largest >= PEAK_MOST) {
        segment.code = STEP_CODE_RAW;
        return segment;
    }
    double step = encoder->scale * row_step_unit(encoder->row_weight, encoder->weighted_rms, rms, row);
    if (bound > 0 && step > STEPS_PER_ERROR * bound * rms) step = STEPS_PER_ERROR * bound * rms;
    double least = (double)largest * 0x1p-22;
    if (step < least) step = least;
    if (encoder->rows_coded) {
        const float *gain = column_gain(&encoder->columns, column);
        segment.bucket = bucket_of(encoder, gain ? encoder->kernels->spread(x, gain, count) : energy, count, step);
    }
    segment.code = row_step_code(step, encoder->mantissa_bits);
    if (!step_code_is_step(segment.code, encoder->mantissa_bits)) {
        segment.code = bound > 0 ? STEP_CODE_RAW : STEP_CODE_ZERO;
        return segment;
    }
    segment.inverse = 1.0f / step_code_value(segment.code, encoder->mantissa_bits);
    if (bound == 0 && count >= ZERO_RUN && largest * segment.inverse + scalar_rounding(encoder) < 1) {
        segment.code = STEP_CODE_ZERO;
    }
    return segment;
}
