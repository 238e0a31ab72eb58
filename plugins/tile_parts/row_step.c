/* SPDX-License-Identifier: Apache-2.0
 *
 * See row_step.h. */
#include "row_step.h"

#include <math.h>
#include <string.h>

double exact_log2(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    double exponent = (double)((int64_t)(bits >> 52) - 1023);
    bits = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1023) << 52;
    memcpy(&value, &bits, sizeof bits);
    if (value > 1.4142135623730951) {
        value /= 2;
        exponent += 1;
    }
    /* ln m = 2 artanh((m - 1) / (m + 1)) */
    double t = (value - 1) / (value + 1), square = t * t, sum = 0;
    for (int k = 17; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
    return exponent + 2 * t * sum * 1.4426950408889634;
}

double exact_exp2(double value) {
    int whole = (int)(value < 0 ? value - 0.5 : value + 0.5);
    double x = (value - whole) * 0.6931471805599453, sum = 1;
    for (int k = 14; k >= 1; k--) sum = 1 + sum * x / k;
    uint64_t bits = (uint64_t)(whole + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

double exact_entropy_bits(double count, double total) {
    return count > 0 ? count * (exact_log2(total) - exact_log2(count)) : 0;
}

uint32_t row_step_mantissa_bits(uint64_t columns) {
    return columns <= 64 ? 2 : columns <= 512 ? 3 : columns <= 2048 ? 4 : 5;
}

struct row_facts row_look(const float *row, const float *gain, const float *means, uint64_t columns) {
    double lanes[4] = {0}, spreads[4] = {0};
    float largest = 0;
    for (uint64_t i = 0; i < columns; i++) {
        const float centred = fabsf(means ? row[i] - means[i] : row[i]);
        largest = centred > largest ? centred : largest;
        lanes[i % 4] += (double)row[i] * (double)row[i];
        if (gain || means) spreads[i % 4] += (double)centred * (double)centred * (gain ? (double)gain[i] : 1);
    }
    const double *of_spread = gain || means ? spreads : lanes;
    double total = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
    double spread = (of_spread[0] + of_spread[2]) + (of_spread[1] + of_spread[3]);
    if (columns == 0) return (struct row_facts){0};
    return (struct row_facts){sqrt(total / (double)columns), sqrt(spread / (double)columns), largest};
}

/* Positive floats order like their bits, so rounding works on the bits, over octaves too. */
uint32_t row_step_code(double step, uint32_t mantissa_bits) {
    if (step >= 0x1p127) return 255u << mantissa_bits;
    float value = (float)step;
    uint32_t bits, shift = 23 - mantissa_bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits + (1u << (shift - 1))) >> shift;
}

double row_step_unit(const float *row_weight, double weighted_rms, double rms, uint64_t row) {
    if (!row_weight) return rms;
    double weight = (double)row_weight[row];
    return weight > 0 && weight < HUGE_VAL ? weighted_rms / sqrt(weight) : rms;
}

uint32_t row_step_bucket(double ratio, uint32_t classes) {
    double square = ratio * ratio * 1.4142135623730951;
    uint64_t bits;
    memcpy(&bits, &square, sizeof bits);
    int64_t exponent = (int64_t)(bits >> 52) - 1023 + 8;
    return exponent < 0 ? 0 : exponent >= (int64_t)classes ? classes - 1 : (uint32_t)exponent;
}
