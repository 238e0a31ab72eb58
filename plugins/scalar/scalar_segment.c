/* SPDX-License-Identifier: Apache-2.0
 *
 * The step of a segment, and the cheapest way to write the steps of a tile. Prepare measures with exactly these, so
 * that what it predicts is what encode does. Doubles with + - * / and sqrt only: the same bits on every machine. */
#include "scalar_encode.h"

#include <math.h>

/* Outside these an F32 step or its inverse could leave the range of normal numbers: such segments are stored raw. */
#define RMS_LEAST 0x1p-100
#define PEAK_MOST 0x1p+126f
/* From this length on it pays to announce that all of a segment rounds to zero. */
#define ZERO_RUN 128
/* Uniform error: RMS error is step / sqrt(12); a little less, since the dead zone and rare large errors add to it. */
#define STEPS_PER_ERROR 3.4

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
    return exponent < 0 ? 0 : exponent >= SCALAR_CLASSES_MAX ? SCALAR_CLASSES_MAX - 1 : (uint32_t)exponent;
}

/* A row's weight w asks for a step proportional to w^(-1/2), measured in the tensor's weighted RMS: so that weights of
 * 1 / RMS^2 and no weights at all mean the same steps. */
static double unit_of(const struct scalar_encoder *encoder, double rms, uint64_t row) {
    if (!encoder->row_weight) return rms;
    double weight = (double)encoder->row_weight[row];
    return weight > 0 && weight < HUGE_VAL ? encoder->weighted_rms / sqrt(weight) : rms;
}

struct segment scalar_segment_choose(const struct scalar_encoder *encoder, const float *x, uint64_t count,
                                     uint64_t row) {
    struct segment segment = {.code = STEP_CODE_ZERO};
    const double bound = encoder->settings.error_bound;
    float largest = 0;
    if (count == 0) return segment;
    double rms = sqrt(encoder->kernels->energy(x, count, &largest) / (double)count);
    if (largest == 0) return segment;
    if (rms < RMS_LEAST || largest >= PEAK_MOST) {
        segment.code = STEP_CODE_RAW;
        return segment;
    }
    double step = encoder->scale * unit_of(encoder, rms, row);
    if (bound > 0 && step > STEPS_PER_ERROR * bound * rms) step = STEPS_PER_ERROR * bound * rms;
    double least = (double)largest * 0x1p-22;
    if (step < least) step = least;
    if (scalar_bucket_count(encoder) > 1) segment.bucket = bucket_of(rms * encoder->scale / step);
    segment.code = code_nearest(step, encoder->mantissa_bits);
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
