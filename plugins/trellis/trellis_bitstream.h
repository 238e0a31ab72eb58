/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of the trellis codec, version 1: all that encoder and decoder share besides the code itself
 * (trellis_code.h). Numbers are little-endian; a `varint` is LEB128 with at most five bytes (32 bits). README.md has
 * the same layout as a table.
 *
 * Header (written by prepare, one for all tiles)
 *   u8      step mantissa bits m, 1..7: a step is a BF16 number with its lower 7 - m mantissa bits zero
 *   u8      log2 of the states, 2..8
 *   u8      classes K, 1..16
 *   varint  limit M, at most 2047: symbols 0..2M are the indices -M..M, symbol 2M+1 is the escape
 *   2K times, quantiser 0 and 1 of each class:
 *     u8      count C of centroid offsets, at most 15
 *     i8[C]   offset of the point of magnitude 1..C in 1/128 of the step, outwards
 *   model   of 2M+2 symbols and 2K contexts, as the host's entropy coder serialises it
 *
 * Tile
 *   u16     centre of the step codes
 *   u8      Rice parameter of the steps, 0..15
 *   u8      Rice parameter of the classes; absent when K is 1
 *   varint  bytes of the side bits
 *   varint  bytes of the symbol stream
 *   bytes   side bits, least significant bit first, padded with zeros: per row a step code and, when K > 1 and the row
 *           has symbols, its class
 *   bytes   symbol stream: the symbols of all rows that have any, row by row; 0 bytes when there are none
 *   bytes   for each escape in order, a varint: zigzag(index)
 *   f32[]   the values of raw rows in order
 *
 * Step code c: 0 the row is all zero; 1 it is raw; from 2^m to 255 * 2^m - 1 the step is the float with the bits
 * c << (23 - m), and the row has a symbol for each column. Rice codes are those of the scalar codec.
 *
 * Each column has a state, 0 above the tile's first row. A symbol is coded in context 2 * class + q, q being the lowest
 * bit of its column's state, and stands for the point sign(i) * (2 |i| - q + offset / 128) (0 for i = 0) of quantiser
 * q, times the step, in F32; then the state becomes next[state][i mod 2]. Escapes have no offset. */
#ifndef TRELLIS_BITSTREAM_H
#define TRELLIS_BITSTREAM_H

#include "numbers.h"
#include "step_code.h"
#include "trellis_code.h"

#include <string.h>

enum {
    TRELLIS_BITSTREAM_VERSION = 1,
    TRELLIS_CLASSES_MAX = 16,
    TRELLIS_LIMIT_MAX = 2047, /* 2M+2 symbols are at most 4096 */
    TRELLIS_OFFSETS_MAX = 15
};

/* Indices stay below this magnitude: their points are exact in F32, and an escape fits a varint. */
#define TRELLIS_INDEX_MAX (1 << 22)

/* The point of an index without offset, in steps. */
static inline float trellis_value(uint32_t quantiser, int32_t index) {
    uint32_t magnitude = (uint32_t)(index < 0 ? -index : index);
    float point = (float)trellis_point(quantiser, magnitude);
    return index < 0 ? -point : point;
}

/* points[2M+2]: what a symbol stands for, in steps; 0 for the escape. offsets are those of magnitudes 1..count. */
static inline void trellis_fill_points(float *points, uint32_t quantiser, uint32_t middle, const int8_t *offsets,
                                       uint32_t count) {
    points[middle] = 0;
    points[2 * middle + 1] = 0;
    for (uint32_t m = 1; m <= middle; m++) {
        float point = (float)trellis_point(quantiser, m) + (m <= count ? (float)offsets[m - 1] / 128 : 0);
        points[middle + m] = point;
        points[middle - m] = -point;
    }
}

#endif
