/* SPDX-License-Identifier: Apache-2.0
 *
 * The scale of a segment, its RMS in a few bits, and how the scales of a tile are written. Doubles with + * / and sqrt
 * only: the same bits on every machine. */
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
    if (largest == 0) return VQ_CODE_ZERO;
    double rms = sqrt(energy / (double)count);
    if (rms < RMS_LEAST || largest >= PEAK_MOST) return VQ_CODE_RAW;
    uint32_t code = code_nearest(rms, mantissa_bits);
    return vq_code_is_scale(code, mantissa_bits) ? code : VQ_CODE_RAW;
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
        if (vq->hadamard && codes[s] == VQ_CODE_RAW) codes[s] = VQ_CODE_ZERO;
    }
}

/* ---- bits ---- */

static uint64_t rice_bits(uint32_t value, uint32_t rice) {
    uint32_t prefix = value >> rice;
    return prefix < VQ_RICE_PREFIX_MAX ? prefix + 1 + rice : VQ_RICE_PREFIX_MAX + 16;
}

struct vq_side vq_side_plan(const uint16_t *codes, uint64_t count) {
    struct vq_side best = {.bits = UINT64_MAX};
    uint64_t sum = 0, scaled = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (codes[i] <= VQ_CODE_RAW) continue;
        sum += codes[i];
        scaled++;
    }
    uint32_t centre = scaled ? (uint32_t)((sum + scaled / 2) / scaled) : VQ_CODE_ZERO;
    for (uint32_t rice = 0; rice <= VQ_RICE_MAX; rice++) {
        uint64_t bits = 0;
        for (uint64_t i = 0; i < count; i++) bits += rice_bits(vq_zigzag((int32_t)codes[i] - (int32_t)centre), rice);
        if (bits < best.bits) best = (struct vq_side){bits, centre, rice};
    }
    return best;
}

static void put(uint8_t *bytes, uint64_t *at, uint32_t value, uint32_t count) {
    for (uint32_t i = 0; i < count; i++, ++*at) {
        bytes[*at / 8] = (uint8_t)(bytes[*at / 8] | ((value >> i) & 1u) << (*at % 8));
    }
}

void vq_side_write(const uint16_t *codes, uint64_t count, const struct vq_side *side, uint8_t *bytes) {
    uint64_t at = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t value = vq_zigzag((int32_t)codes[i] - (int32_t)side->centre), prefix = value >> side->rice;
        if (prefix >= VQ_RICE_PREFIX_MAX) {
            put(bytes, &at, (1u << VQ_RICE_PREFIX_MAX) - 1, VQ_RICE_PREFIX_MAX);
            put(bytes, &at, value, 16);
            continue;
        }
        put(bytes, &at, (1u << prefix) - 1, prefix + 1);
        put(bytes, &at, value, side->rice);
    }
}

/* Zeros behind the end, and `overrun` then. */
struct bits {
    const uint8_t *bytes;
    uint64_t at, count;
    bool overrun;
};

static uint32_t get(struct bits *bits, uint32_t count) {
    uint32_t value = 0;
    if (count > bits->count - bits->at) {
        bits->overrun = true;
        return 0;
    }
    for (uint32_t i = 0; i < count; i++, bits->at++) {
        value |= (uint32_t)(bits->bytes[bits->at / 8] >> (bits->at % 8) & 1) << i;
    }
    return value;
}

static uint32_t get_rice(struct bits *bits, uint32_t rice) {
    uint32_t prefix = 0;
    while (prefix < VQ_RICE_PREFIX_MAX && get(bits, 1)) prefix++;
    if (prefix == VQ_RICE_PREFIX_MAX) return get(bits, 16);
    return prefix << rice | get(bits, rice);
}

bool vq_side_read(const uint8_t *bytes, uint64_t size, const struct vq_side *side, uint32_t mantissa_bits,
                  uint16_t *codes, uint64_t count) {
    struct bits bits = {bytes, 0, size * 8, false};
    for (uint64_t i = 0; i < count; i++) {
        int64_t code = (int64_t)side->centre + vq_unzigzag(get_rice(&bits, side->rice));
        bool known = code == VQ_CODE_ZERO || code == VQ_CODE_RAW ||
                     (code > 0 && code < UINT16_MAX && vq_code_is_scale((uint32_t)code, mantissa_bits));
        if (bits.overrun || !known) return false;
        codes[i] = (uint16_t)code;
    }
    return bits.count - bits.at < 8;
}
