/* SPDX-License-Identifier: Apache-2.0
 *
 * Codes of steps and scales, as the layouts of scalar, spiral, trellis, rvq and hclam write them. Code c with m
 * mantissa bits: 0 all is zero; 1 the values are raw; from 2^m to 255 * 2^m - 1 the step is the float with the bits c
 * << (23 - m). */
#ifndef STEP_CODE_H
#define STEP_CODE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { STEP_CODE_ZERO = 0, STEP_CODE_RAW = 1 };

static inline bool step_code_is_step(uint32_t code, uint32_t mantissa_bits) {
    return code >= 1u << mantissa_bits && code < 255u << mantissa_bits;
}

static inline float step_code_value(uint32_t code, uint32_t mantissa_bits) {
    uint32_t bits = code << (23 - mantissa_bits);
    float step;
    memcpy(&step, &bits, sizeof step);
    return step;
}

/* Signed numbers as unsigned ones: 0, -1, 1, -2, ... are 0, 1, 2, 3, ... */
static inline uint32_t zigzag(int32_t value) {
    return value < 0 ? (uint32_t)(-(int64_t)value) * 2 - 1 : (uint32_t)value * 2;
}

static inline int32_t unzigzag(uint32_t value) {
    return value & 1 ? -(int32_t)(value / 2) - 1 : (int32_t)(value / 2);
}

#endif
