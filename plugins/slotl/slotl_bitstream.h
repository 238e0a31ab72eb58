/* SPDX-License-Identifier: Apache-2.0
 *
 * slotl: Slot L, a low-rank correction with quantised coefficients. Bitstream version 1, shared by encoder and decoder;
 * README.md explains it. Numbers are little-endian.
 *
 * A row is  w[c] = 2^exponent * ( P[t][c] + sum over k of q[k] * (scale[k] * B[k][c]) ),  k in order, in F32, where B is the
 * basis, P a palette of rows and t the row's twig; without a palette the first term is 0. Components come in four bands by
 * the bits of their coefficients: 16, 8, 4, 2.
 *
 *   header  u16 n16, n8, n4, n2     components of each band, SLOTL_RANK_MAX at most in all
 *           u16 palette             rows of P, 0..256
 *           i16 exponent            -160..160
 *           u8 flags                SLOTL_SHARED: B is in the dictionary; SLOTL_MODEL: there is a model of the 8-bit band
 *           u8                      0
 *           f32 scale[K]            K = n16 + n8 + n4 + n2, finite
 *           bf16 B[K][columns]      unless shared
 *           bf16 P[palette][columns]
 *           model                   (docs/format.md 8.1) alphabet 256, one context
 *
 *   tile    u8 twig[rows]           only with a palette
 *           i16 [rows][n16]
 *           u32 bytes               only with a model and n8 > 0: of the stream that follows; 0: raw
 *           stream or u8 [rows][n8] q + 128; a stream is as in docs/format.md 8.2
 *           u4 [rows][n4]           q + 8, two a byte, low first, rows end on whole bytes
 *           u2 [rows][n2]           q + 1, four a byte, low first, rows end on whole bytes
 *
 *   dictionary  u16 K, u16 0, u32 columns, bf16 B[K][columns] */
#ifndef SLOTL_BITSTREAM_H
#define SLOTL_BITSTREAM_H

#include <stdbool.h>
#include <string.h>
#include <tessera/codec.h>

#define SLOTL_VERSION 1
#define SLOTL_RANK_MAX 64
#define SLOTL_BANDS 4
#define SLOTL_PALETTE_MAX 256
#define SLOTL_HEADER_BYTES 14
#define SLOTL_DICTIONARY_BYTES 8
#define SLOTL_EXPONENT_MAX 160
#define SLOTL_SHARED 1
#define SLOTL_MODEL 2

/* Largest coefficient of each band. */
static const int32_t SLOTL_LIMITS[SLOTL_BANDS] = {32767, 127, 7, 1};

/* What a header says; pointers into memory of its owner. */
struct slotl_shape {
    uint32_t bands[SLOTL_BANDS];
    uint32_t rank; /* their sum */
    uint32_t palette;
    int32_t exponent;
    bool shared, has_model;
};

static inline uint32_t slotl_band_of(const struct slotl_shape *shape, uint32_t component) {
    uint32_t band = 0, end = shape->bands[0];
    while (component >= end && band + 1 < SLOTL_BANDS) end += shape->bands[++band];
    return band;
}

/* Bytes of a tile in which the 8-bit band is raw. */
static inline uint64_t slotl_raw_bytes(const struct slotl_shape *shape, uint64_t rows) {
    uint64_t row = (shape->palette ? 1 : 0) + 2 * shape->bands[0] + shape->bands[1] + (shape->bands[2] + 1) / 2 +
                   (shape->bands[3] + 3) / 4;
    return rows * row + (shape->has_model && shape->bands[1] ? 4 : 0);
}

static inline float slotl_from_bf16(uint32_t bits) {
    uint32_t wide = bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* To nearest, ties to even; for finite values. */
static inline uint16_t slotl_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* 2^power for -126..127. */
static inline float slotl_power(int32_t power) {
    uint32_t bits = (uint32_t)(power + 127) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* value * 2^power, -252..254, in two exact steps but for rounding in the denormal range; never Inf. */
static inline float slotl_scale(float value, int32_t power) {
    int32_t half = power / 2;
    float scaled = value * slotl_power(half) * slotl_power(power - half);
    if (scaled > 3.40282347e+38f) return 3.40282347e+38f;
    return scaled < -3.40282347e+38f ? -3.40282347e+38f : scaled;
}

#endif
