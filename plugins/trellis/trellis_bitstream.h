/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of the trellis codec, version 3: all that encoder and decoder share besides the code itself
 * (trellis_code.h) and the distributions (shape.h). Numbers are little-endian; a `varint` is LEB128 with at most
 * five bytes (32 bits). README.md has the same layout as a table, and what versions 1 and 2 had instead.
 *
 * Header (written by prepare, one for all tiles)
 *   u8      step mantissa bits m, 1..7: a step is a BF16 number with its lower 7 - m mantissa bits zero
 *   u8      log2 of the states, 2..8
 *   u8      probability bits, 12..14
 *   u8      unit u, 0..2: scales are 2^u quarters of an octave apart
 *   u8      scales S, 1..32
 *   i16     base: scale 0 is an RMS of 2^(base / 16) steps
 *   u8      flags: 1 rows have codes, 2 columns have codes, 4 columns have means
 *   i8      row centre
 *   for each group of scales, 2 (S - 1) 2^u / 8 + 1 of them, for quantiser 0 and 1:
 *     u8      count C of centroid offsets, at most 15
 *     i8[C]   offset of the point of magnitude 1..C in 1/128 of the step, outwards
 *   bits    with flag 2: i8 column centre, 4 bits Rice parameter, for each column its zigzag(code - centre); with flag 4:
 *           f32 unit, 4 bits Rice parameter, for each column zigzag(mean / unit); then the six lists of shape.h: first code
 *           in 8 bits, 3 bits Rice parameter, for each code behind it its zigzag(code - code before); padded with zeros to
 *           the end of the header
 *
 * Tile
 *   u16     centre of the step codes
 *   u8      Rice parameter of the steps, 0..15
 *   u8      Rice parameter of the rows' codes; absent without flag 1
 *   varint  bytes of the side bits
 *   varint  bytes of the symbol stream
 *   bytes   side bits, least significant bit first, padded with zeros: per row a step code and, with flag 1 and when the
 *           row has symbols, zigzag(row code - row centre)
 *   bytes   symbol stream: the symbols of all rows that have any, row by row; 0 bytes when there are none
 *   bytes   for each escape in order, a varint: 2 (|index| - M - 1) and 1 more if it is negative
 *   f32[]   the values of raw rows in order
 *
 * Step code c: 0 the row is all zero; 1 it is raw; from 2^m to 255 * 2^m - 1 the step is the float with the bits
 * c << (23 - m), and the row has a symbol for each column. Rice codes are those of the scalar codec.
 *
 * Each column has a state, 0 above the tile's first row. A symbol is coded in context 2 * scale + q, q being the lowest
 * bit of its column's state and scale the row's code plus the column's, within 0..S-1. It stands for the point
 * sign(i) * (2 |i| - q + offset / 128) (0 for i = 0) of quantiser q, times the step, plus the column's mean, in F32; then the state becomes
 * next[state][i mod 2]. Escapes have no offset. M is that of the context. */
#ifndef TRELLIS_BITSTREAM_H
#define TRELLIS_BITSTREAM_H

#include "numbers.h"
#include "offsets.h"
#include "step_code.h"
#include "shape.h"

#include <string.h>

enum {
    TRELLIS_BITSTREAM_VERSION = 3,
    TRELLIS_CLASSES_MAX = 16, /* of version 1 */
    TRELLIS_HEADER_FIXED = 9
};

enum trellis_flag { TRELLIS_ROWS_CODED = 1, TRELLIS_COLUMNS_CODED = 2, TRELLIS_MEANS = 4 };

/* Indices stay below this magnitude: their points are exact in F32, and an escape fits a varint. */
#define TRELLIS_INDEX_MAX (1 << 22)

/* The point of an index without offset, in steps. */
static inline float trellis_value(uint32_t quantiser, int32_t index) {
    uint32_t magnitude = (uint32_t)(index < 0 ? -index : index);
    float point = (float)index_point(quantiser, magnitude);
    return index < 0 ? -point : point;
}

/* points[2M+2]: what a symbol stands for, in steps; 0 for the escape. */
static inline void trellis_fill_points(float *points, uint32_t quantiser, uint32_t middle, const struct offsets *offsets) {
    points[middle] = 0;
    points[2 * middle + 1] = 0;
    for (uint32_t m = 1; m <= middle; m++) {
        float point = (float)index_point(quantiser, m) + (m <= offsets->count ? (float)offsets->values[m - 1] / 128 : 0);
        points[middle + m] = point;
        points[middle - m] = -point;
    }
}

#endif
