/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of the hclam-index codec, version 1. Numbers are little-endian.
 *
 * Header (written by prepare, one for all tiles)
 *   u16     K1, nodes of the first level, 1..256
 *   u16     0
 *   u32     C, columns of the rows
 *   u16[K1] leaves below each node, 1..256; L is their sum
 *   (K1 + L) times: f32 scale, f32 radius; nodes of the first level, then all leaves in order; not negative, a radius
 *           may be Inf
 *   i8[K1 + L][C] the centre of node i is the vector scale * its C numbers; scale <= 2^119
 *
 * Tile: two bytes a row
 *   u8      node of the first level
 *   u8      leaf below it
 *
 * No row is further from the centre of its node, nor from that of its leaf, than their radii. */
#ifndef HCLAM_INDEX_BITSTREAM_H
#define HCLAM_INDEX_BITSTREAM_H

#include <stdint.h>
#include <string.h>

enum {
    HCLAM_INDEX_BITSTREAM_VERSION = 1,
    HCLAM_INDEX_FAN_MAX = 256,
    HCLAM_INDEX_HEADER_FIXED = 8,
    HCLAM_INDEX_ENTRY_BYTES = 2,
    HCLAM_INDEX_NODE_BYTES = 8
};

#define HCLAM_INDEX_SCALE_MAX 0x1p119f

static inline uint64_t hclam_index_header_bytes(uint64_t columns, uint64_t nodes, uint64_t leaves) {
    return HCLAM_INDEX_HEADER_FIXED + 2 * nodes + (nodes + leaves) * (HCLAM_INDEX_NODE_BYTES + columns);
}

static inline uint32_t hclam_index_get16(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
}

static inline uint32_t hclam_index_get32(const uint8_t *bytes) {
    return hclam_index_get16(bytes) | hclam_index_get16(bytes + 2) << 16;
}

static inline float hclam_index_get_f32(const uint8_t *bytes) {
    uint32_t bits = hclam_index_get32(bytes);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void hclam_index_put16(uint8_t *bytes, uint32_t value) {
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

static inline void hclam_index_put32(uint8_t *bytes, uint32_t value) {
    hclam_index_put16(bytes, value);
    hclam_index_put16(bytes + 2, value >> 16);
}

static inline void hclam_index_put_f32(uint8_t *bytes, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    hclam_index_put32(bytes, bits);
}

#endif
