/* SPDX-License-Identifier: Apache-2.0
 *
 * The scale of a segment, its RMS in a few bits, and how the scales of a tile are written. Doubles with + * / and sqrt
 * only: the same bits on every machine. */
#include "input.h"
#include "sink.h"
#include "vq.h"

#include <math.h>

/* Outside these an F32 scale or its inverse could leave the range of normal numbers: such segments are stored raw. */
#define RMS_LEAST 0x1p-100
#define PEAK_MOST 0x1p+126f
#define ROTATED_PEAK_MOST 0x1p+100f

/* A scale that is off by d costs a share of about d^2 of the error, its code a few bits: the shorter the segment, the
 * fewer weights share these. */
uint32_t vq_mantissa_bits(uint64_t columns) {
    return columns <= 64 ? 2 : columns <= 512 ? 3 : columns <= 2048 ? 4 : 5;
}

/* Nearest code. Positive floats order like their bits, so rounding works on the bits, over octaves too. */
static uint32_t code_nearest(double scale, uint32_t mantissa_bits) {
    if (scale >= 0x1p127) return 255u << mantissa_bits;
    float value = (float)scale;
    uint32_t bits, shift = 23 - mantissa_bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits + (1u << (shift - 1))) >> shift;
}

uint32_t vq_scale_choose(const float *x, uint64_t count, uint32_t mantissa_bits) {
    double energy = 0;
    float largest = 0;
    for (uint64_t i = 0; i < count; i++) {
        float magnitude = fabsf(x[i]);
        energy += (double)x[i] * (double)x[i];
        largest = magnitude > largest ? magnitude : largest;
    }
    if (largest == 0) return STEP_CODE_ZERO;
    double rms = sqrt(energy / (double)count);
    if (rms < RMS_LEAST || largest >= PEAK_MOST) return STEP_CODE_RAW;
    uint32_t code = code_nearest(rms, mantissa_bits);
    return step_code_is_step(code, mantissa_bits) ? code : STEP_CODE_RAW;
}

bool vq_row_is_raw(const float *row, uint64_t columns) {
    double energy = 0;
    float largest = 0;
    for (uint64_t i = 0; i < columns; i++) {
        float magnitude = fabsf(row[i]);
        energy += (double)row[i] * (double)row[i];
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest >= ROTATED_PEAK_MOST || (largest > 0 && sqrt(energy / (double)columns) < RMS_LEAST);
}

void vq_choose_codes(const struct vq *vq, const struct vq_grid *grid, const float *row, uint32_t mantissa_bits,
                     uint16_t *codes) {
    for (uint64_t s = 0; s < grid->row_segments; s++) {
        codes[s] = (uint16_t)vq_scale_choose(row + s * grid->group, vq_segment_columns(grid, s), mantissa_bits);
        /* What is too small for a scale in a row that is not is nothing beside it. */
        if (vq->hadamard && codes[s] == STEP_CODE_RAW) codes[s] = STEP_CODE_ZERO;
    }
}

/* ---- bits ---- */

struct vq_side vq_side_plan(const uint16_t *codes, uint64_t count) {
    struct vq_side best = {.bits = UINT64_MAX};
    uint64_t sum = 0, scaled = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (codes[i] <= STEP_CODE_RAW) continue;
        sum += codes[i];
        scaled++;
    }
    uint32_t centre = scaled ? (uint32_t)((sum + scaled / 2) / scaled) : STEP_CODE_ZERO;
    for (uint32_t rice = 0; rice <= RICE_MAX; rice++) {
        uint64_t bits = 0;
        for (uint64_t i = 0; i < count; i++) bits += rice_bits(zigzag((int32_t)codes[i] - (int32_t)centre), rice);
        if (bits < best.bits) best = (struct vq_side){bits, centre, rice};
    }
    return best;
}

void vq_side_write(const uint16_t *codes, uint64_t count, const struct vq_side *side, uint8_t *bytes) {
    struct sink_bits bits = {bytes, 0};
    for (uint64_t i = 0; i < count; i++) {
        bits_put_rice(&bits, zigzag((int32_t)codes[i] - (int32_t)side->centre), side->rice);
    }
}

bool vq_side_read(const uint8_t *bytes, uint64_t size, const struct vq_side *side, uint32_t mantissa_bits,
                  uint16_t *codes, uint64_t count) {
    struct bits bits = {bytes, 0, size * 8, false};
    for (uint64_t i = 0; i < count; i++) {
        int64_t code = (int64_t)side->centre + unzigzag(bits_get_rice(&bits, side->rice));
        bool known = code == STEP_CODE_ZERO || code == STEP_CODE_RAW ||
                     (code > 0 && code < UINT16_MAX && step_code_is_step((uint32_t)code, mantissa_bits));
        if (bits.overrun || !known) return false;
        codes[i] = (uint16_t)code;
    }
    return bits_end(&bits);
}
