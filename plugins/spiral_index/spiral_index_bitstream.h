/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of the spiral-index codec, version 1. Numbers are little-endian.
 *
 * Header (written by prepare, one for all tiles)
 *   u16     start, octave of the first sample; O = ceil(C / 17) octaves
 *   u16     stride, octaves from one anchor to the next, coprime to O
 *   u16     length K, anchors, 4..32
 *   u16     0
 *   u32     C, columns of the rows
 *   u16[18] NeuronPrint: start, stride, length of q, k, v, gate, up, down. What this tensor is among these has start and
 *           stride of above, and for length the bucket of its RMS (0: all zero); the others are 0. No decoder needs it
 *
 * Tile: for each row M + 1 numbers in BF16, M = min(17 K, C)
 *   samples the row at the columns of the walk, rounded to the nearest, ties to even; finite
 *   rest    the least BF16 not below the length of what the samples miss; may be Inf */
#ifndef SPIRAL_INDEX_BITSTREAM_H
#define SPIRAL_INDEX_BITSTREAM_H

#include <stdint.h>
#include <string.h>

enum {
    SPIRAL_INDEX_BITSTREAM_VERSION = 1,
    SPIRAL_INDEX_OCTAVE = 17,
    SPIRAL_INDEX_ANCHORS_MIN = 4,
    SPIRAL_INDEX_ANCHORS_MAX = 32,
    SPIRAL_INDEX_SAMPLES_MAX = SPIRAL_INDEX_OCTAVE * SPIRAL_INDEX_ANCHORS_MAX,
    SPIRAL_INDEX_COLUMNS_MAX = 1 << 18, /* octaves fit 16 bits */
    SPIRAL_INDEX_PRINT = 12,            /* offset of the print */
    SPIRAL_INDEX_SLOTS = 6,
    SPIRAL_INDEX_HEADER_BYTES = SPIRAL_INDEX_PRINT + 6 * SPIRAL_INDEX_SLOTS
};

static inline uint32_t spiral_index_get16(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
}

static inline void spiral_index_put16(uint8_t *bytes, uint32_t value) {
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

static inline float spiral_index_from_bf16(uint32_t half) {
    uint32_t bits = half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Of finite values, to finite ones. */
static inline uint32_t spiral_index_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t half = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return (half & 0x7FFF) == 0x7F80 ? half - 1 : half;
}

#endif
