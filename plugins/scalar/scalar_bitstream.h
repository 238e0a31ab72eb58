/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of the scalar codec, version 2: all that encoder and decoder share besides the distributions
 * (tile_parts/shape.h). Numbers are little-endian; a `varint` is LEB128 with at most five bytes (32 bits). README.md has the
 * same layout as a table, and what version 1 had instead.
 *
 * Header (written by prepare, one for all tiles)
 *   u8      step mantissa bits m, 1..7: a step is a BF16 number with its lower 7 - m mantissa bits zero
 *   u8      probability bits, 12..14
 *   u8      unit u, 0..2: scales are 2^u quarters of an octave apart
 *   u8      scales S, 1..32
 *   i16     base: scale 0 is an RMS of 2^(base / 16) half steps
 *   u8      flags: 1 rows have codes, 2 columns have codes, 4 tables stand for distributions
 *   i8      row centre
 *   varint  group: columns that share a step, 0 for the whole row (of the tile)
 *   with flag 4, S times:
 *     varint  limit M of the scale, at most 2047: larger magnitudes are escapes
 *   for each group of scales, (S - 1) 2^u / 4 + 1 of them:
 *     u8      count C of centroid offsets, at most 15
 *     i8[C]   offset of the reconstruction point of magnitude 1..C in 1/256 of the step, outwards
 *   bits    with flag 2: i8 column centre, 4 bits Rice parameter, for each column its zigzag(code - centre); then, without
 *           flag 4, four of the lists of shape.h (those of quantiser 1 are left out); padded with zeros
 *   model   with flag 4, of 2 max M + 2 symbols and S contexts, as the host's entropy coder serialises it
 *
 * Tile: segments in row order, segments of a row from left to right
 *   u16     centre of the step codes
 *   u8      Rice parameter of the steps, 0..15
 *   u8      Rice parameter of the rows' codes; absent without flag 1
 *   varint  bytes of the side bits
 *   varint  bytes of the symbol stream
 *   bytes   side bits, least significant bit first, padded with zeros: per segment a step code and, with flag 1 and when the
 *           segment has symbols, zigzag(row code - row centre)
 *   bytes   symbol stream: the symbols of all segments that have any; 0 bytes when there are none
 *   bytes   for each escape in order, a varint: 2 (|index| - M - 1) and 1 more if it is negative
 *   f32[]   the values of raw segments in order
 *
 * Step code c: 0 the segment is all zero; 1 it is raw; from 2^m to 255 * 2^m - 1 the step is the float with the bits
 * c << (23 - m), and the segment has a symbol for each column. A code is stored as zigzag(c - centre) by a Rice code of
 * parameter k (Rice 1979): v >> k ones, a zero, the k low bits of v; twelve ones announce the plain value in 16 bits
 * instead. A symbol is coded in the context of its scale, the row's code plus the column's within 0..S-1. An index i of
 * magnitude a becomes sign(i) * (a + offset[a] / 256) * step, the product of two F32 numbers, with the offsets of the group
 * of the scale that the row's code and the column centre add up to; an escaped one i * step. */
#ifndef SCALAR_BITSTREAM_H
#define SCALAR_BITSTREAM_H

#include "numbers.h"
#include "offsets.h"
#include "shape.h"
#include "step_code.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    SCALAR_BITSTREAM_VERSION = 2,
    SCALAR_CLASSES_MAX = 16, /* of version 1 */
    SCALAR_LISTS_MAX = SHAPE_SCALES_MAX, /* of offsets */
};

enum scalar_flag { SCALAR_ROWS_CODED = 1, SCALAR_COLUMNS_CODED = 2, SCALAR_TABLES = 4 };

/* A segment's indices stay below this magnitude: exact in F32, and its escape fits a varint. */
#define SCALAR_INDEX_MAX (1 << 24)

/* points[2M+2]: what a symbol stands for, in steps; 0 for the escape. */
static inline void scalar_fill_points(float *points, uint32_t middle, const struct offsets *offsets) {
    points[middle] = 0;
    points[2 * middle + 1] = 0;
    for (uint32_t m = 1; m <= middle; m++) {
        float point = (float)m + (m <= offsets->count ? (float)offsets->values[m - 1] / 256 : 0);
        points[middle + m] = point;
        points[middle - m] = -point;
    }
}

/* Number of segments of a row of `columns`, and the columns of segment `index`. */
static inline uint64_t scalar_segments(uint64_t columns, uint64_t group) {
    return group == 0 || columns == 0 ? 1 : (columns - 1) / group + 1;
}

static inline uint64_t scalar_segment_columns(uint64_t columns, uint64_t group, uint64_t index) {
    if (group == 0) return columns;
    return columns - index * group < group ? columns - index * group : group;
}

#endif
