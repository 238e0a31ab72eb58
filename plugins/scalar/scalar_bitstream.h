/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of the scalar codec, version 1: all that encoder and decoder share. Numbers are little-endian; a
 * `varint` is LEB128 with at most five bytes (32 bits). README.md has the same layout as a table.
 *
 * Header (written by prepare, one for all tiles)
 *   u8      step mantissa bits m, 1..7: a step is a BF16 number with its lower 7 - m mantissa bits zero
 *   u8      classes K, 1..16: each has its own distribution and reconstruction points
 *   varint  group: columns that share a step, 0 for the whole row (of the tile)
 *   varint  limit M, at most 2047: symbols 0..2M are the indices -M..M, symbol 2M+1 is the escape
 *   K times:
 *     u8      count C of centroid offsets, at most 15
 *     i8[C]   offset of the reconstruction point of magnitude 1..C in 1/256 of the step, outwards
 *   model   of 2M+2 symbols and K contexts, as the host's entropy coder serialises it
 *
 * Tile: segments in row order, segments of a row from left to right
 *   u16     centre of the step codes
 *   u8      Rice parameter of the steps, 0..15
 *   u8      Rice parameter of the classes; absent when K is 1
 *   varint  bytes of the side bits
 *   varint  bytes of the symbol stream
 *   bytes   side bits, least significant bit first, padded with zeros: per segment a step code and, when K > 1 and the
 *           segment has symbols, its class
 *   bytes   symbol stream: the symbols of all segments that have any, coded in the context of the segment's class;
 *           0 bytes when there are none
 *   bytes   for each escape in order, a varint: zigzag(index)
 *   f32[]   the values of raw segments in order
 *
 * Step code c: 0 the segment is all zero; 1 it is raw; from 2^m to 255 * 2^m - 1 the step is the float with the bits
 * c << (23 - m), and the segment has a symbol for each column. A code is stored as zigzag(c - centre), a class as
 * itself, by a Rice code of parameter k (Rice 1979): v >> k ones, a zero, the k low bits of v; twelve ones announce
 * the plain value in 16 bits instead. An index i of magnitude a becomes sign(i) * (a + offset[a] / 256) * step, the
 * product of two F32 numbers; an escaped one i * step. */
#ifndef SCALAR_BITSTREAM_H
#define SCALAR_BITSTREAM_H

#include "numbers.h"
#include "step_code.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    SCALAR_BITSTREAM_VERSION = 1,
    SCALAR_CLASSES_MAX = 16,
    SCALAR_LIMIT_MAX = 2047, /* 2M+2 symbols are at most 4096 */
    SCALAR_OFFSETS_MAX = 15
};

/* A segment's indices stay below this magnitude: exact in F32, and its escape fits a varint. */
#define SCALAR_INDEX_MAX (1 << 24)

/* points[2M+2]: what a symbol stands for, in steps; 0 for the escape. offsets are those of magnitudes 1..count. */
static inline void scalar_fill_points(float *points, uint32_t middle, const int8_t *offsets, uint32_t count) {
    points[middle] = 0;
    points[2 * middle + 1] = 0;
    for (uint32_t m = 1; m <= middle; m++) {
        float point = (float)m + (m <= count ? (float)offsets[m - 1] / 256 : 0);
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
