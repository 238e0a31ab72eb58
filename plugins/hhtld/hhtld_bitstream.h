/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of the hhtld index, version 1: all that encoder, decoder and search share. Numbers are little-endian, f32 and
 * bf16 finite and not negative unless said otherwise. README.md has the same layout as a table.
 *
 * Header (written by prepare, one for all tiles)
 *   u8      palette: 0 it follows; 1 it is the dictionary of the tensor's group
 *   u8      HEEL: the basin of the role; 0 attention scores (q, k, o), 1 values, 2 gates, 3 everything else
 *   bytes   the palette, when it follows
 *
 * Palette
 *   u8      flags: bit 0 entries have a gain of their own; bit 1 TWIG counts through all families; bit 2 there is a table
 *   u8      F, families, 1..16
 *   u8      K, lanes of Slot L, 0..128
 *   u8      0
 *   u32     C, columns of the rows
 *   u16[F]  leaves of each family, 1..256 (with bit 1: 256 in all); L is their sum
 *   bf16[C] centre m, of either sign
 *   L times f32 scale, f32 gain g
 *   i8[L][C] leaves; leaf i is the vector u = scale * its C numbers
 *   K times f32 scale, f32 step, f32 slack
 *   i8[K][C] lanes; lane j is the vector v = scale * its C numbers
 *   table   f32 z_min (of either sign), f32 z_range, u32 clamped, i8[T][T]; T is L with bit 1 and F without
 *
 * Tile: one entry a row
 *   u16     Slot D: bits 15..14 HEEL, 13..10 HIP (the family), 9..2 TWIG (the leaf within it, or within all), bit 1
 *           polarity (1: the leaf points the other way), bit 0 open (1: Slot V is no bound, the row must be read)
 *   bf16    Slot V: no less than |w - m - s g u|, s = -1 with polarity, else 1; Inf (0x7F80) exactly when bit 0 is set
 *   bf16    the row's own gain g instead of the leaf's, with bit 0 of the flags
 *   bf16    with K > 0, Slot V of Slot L: no less than |w - m - s g u - sum b_j step_j v_j|, or Inf when slack_j is not
 *           kept: |<v_j, that difference>| <= slack_j for every lane
 *   i8[K]   Slot L: b, -127..127
 *
 * Products of a palette stay finite: g * scale <= 2^118, |m| <= 2^126, step * scale <= 2^104. */
#ifndef HHTLD_BITSTREAM_H
#define HHTLD_BITSTREAM_H

#include <stdint.h>
#include <string.h>

enum {
    HHTLD_BITSTREAM_VERSION = 1,
    HHTLD_FAMILIES_MAX = 16,
    HHTLD_TWIGS_MAX = 256,
    HHTLD_LANES_MAX = 128,
    HHTLD_FLAG_ROW_GAIN = 1,
    HHTLD_FLAG_FLAT = 2,
    HHTLD_FLAG_TABLE = 4,
    HHTLD_FLAGS_KNOWN = 7,
    HHTLD_PALETTE_OWN = 0,
    HHTLD_PALETTE_SHARED = 1,
    HHTLD_HEADER_FIXED = 2,
    HHTLD_PALETTE_FIXED = 8,
    HHTLD_BF16_INF = 0x7F80
};

#define HHTLD_LEAF_PRODUCT_MAX 0x1p118f
#define HHTLD_CENTRE_MAX 0x1p126f
#define HHTLD_LANE_PRODUCT_MAX 0x1p104f

/* One row, unpacked. */
struct hhtld_entry {
    uint32_t heel, hip, twig;
    uint32_t polarity, open;
    uint16_t bound;      /* Slot V, BF16 */
    uint16_t gain;       /* BF16; with HHTLD_FLAG_ROW_GAIN */
    uint16_t lane_bound; /* BF16; with lanes */
};

static inline uint16_t hhtld_slot_d(const struct hhtld_entry *entry) {
    return (uint16_t)(entry->heel << 14 | entry->hip << 10 | entry->twig << 2 | entry->polarity << 1 | entry->open);
}

static inline void hhtld_unpack_slot_d(uint16_t slot, struct hhtld_entry *entry) {
    entry->heel = slot >> 14;
    entry->hip = slot >> 10 & 15;
    entry->twig = slot >> 2 & 255;
    entry->polarity = slot >> 1 & 1;
    entry->open = slot & 1;
}

static inline uint64_t hhtld_entry_bytes(uint32_t flags, uint32_t lanes) {
    return (flags & HHTLD_FLAG_ROW_GAIN ? 6u : 4u) + (lanes ? 2 + (uint64_t)lanes : 0);
}

static inline uint32_t hhtld_get16(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
}

static inline uint32_t hhtld_get32(const uint8_t *bytes) {
    return hhtld_get16(bytes) | hhtld_get16(bytes + 2) << 16;
}

static inline float hhtld_get_f32(const uint8_t *bytes) {
    uint32_t bits = hhtld_get32(bytes);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void hhtld_put16(uint8_t *bytes, uint32_t value) {
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

static inline void hhtld_put32(uint8_t *bytes, uint32_t value) {
    hhtld_put16(bytes, value);
    hhtld_put16(bytes + 2, value >> 16);
}

static inline void hhtld_put_f32(uint8_t *bytes, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    hhtld_put32(bytes, bits);
}

static inline float hhtld_bf16_value(uint32_t code) {
    uint32_t bits = code << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The least BF16 number that is not below value >= 0; Inf beyond the largest. */
static inline uint16_t hhtld_bf16_up(double value) {
    uint32_t bits;
    if (!(value <= 0x1.FEp127)) return HHTLD_BF16_INF; /* the largest BF16; NaN too */
    float single = (float)value;
    memcpy(&bits, &single, sizeof bits);
    uint32_t code = bits >> 16;
    while ((double)hhtld_bf16_value(code) < value) code++;
    return (uint16_t)code;
}

/* To nearest, ties up; the sign is kept. */
static inline uint16_t hhtld_bf16_near(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x8000) >> 16);
}

#endif
