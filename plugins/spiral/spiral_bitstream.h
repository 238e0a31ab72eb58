/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of the spiral codec, version 1: all that encoder and decoder share. Numbers are little-endian; a `varint`
 * is LEB128 with at most five bytes (32 bits). README.md has the same layout as a table.
 *
 * Header (written by prepare, one for all tiles)
 *   u8      curve: 0 uniform, 1 companded
 *   u8      flags: bit 0 rows are rotated, bit 1 tickets are packed without a model
 *   u64     seed of the rotation; absent without bit 0
 *   u8      step mantissa bits m, 1..7: a step is a BF16 number with its lower 7 - m mantissa bits zero
 *   varint  stride of the walk through a row, at least 1
 *   varint  A: tickets are cut into A symbols, 2..4096. Companded: A is the number of points
 *   uniform only:
 *     u8      delta: radius of ticket n is sqrt(n + delta / 16)
 *     u8      low bits L, 0..12: a symbol has 2^L tickets, told apart by L raw bits; symbol A-1 is the escape
 *     u8      classes K, 1..16
 *     K times:
 *       u8      count C of centroid offsets, at most 64
 *       i8[2C]  of ticket n < C: what is added to x and y of its point, in 1/64
 *       u8      points of the other tickets are multiplied by 1 - this / 512
 *   model   of A symbols and K contexts (companded: 1), as the host's entropy coder serialises it; absent with bit 1
 *
 * Tile: rows from top to bottom
 *   u16     centre of the step codes
 *   u8      Rice parameter of the steps, 0..15
 *   u8      Rice parameter of the classes; absent when K is 1
 *   varint  bytes of the side bits
 *   varint  bytes of the ticket stream
 *   bytes   side bits, least significant bit first, padded with zeros: per row a step code and, when K > 1 and the row
 *           has tickets, its class
 *   bytes   ticket stream: the tickets of all rows that have any, split into symbols and L raw bits and coded in the
 *           context of the row's class; packed: bits of a ticket without gaps, as few as A - 1 needs
 *   bytes   for each escape in order, two varints: zigzag of the multiples of sqrt(pi) * step that x and y are
 *   f32[]   the values of raw rows in order
 *
 * Step code c: 0 the row is all zero; 1 it is raw; from 2^m to 255 * 2^m - 1 the step is the float with the bits
 * c << (23 - m), and the row has ceil(columns / 2) tickets. A code is stored as zigzag(c - centre), a class as itself,
 * by a Rice code of parameter k (Rice 1979): v >> k ones, a zero, the k low bits of v; twelve ones announce the plain
 * value in 16 bits instead. A point is (x, y) of the ticket times the step, two products of F32 numbers. Pair i of a
 * row goes to places 2i and 2i+1 of its walk; the place behind the last column is dropped. */
#ifndef SPIRAL_BITSTREAM_H
#define SPIRAL_BITSTREAM_H

#include "numbers.h"
#include "step_code.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    SPIRAL_BITSTREAM_VERSION = 1,
    SPIRAL_UNIFORM = 0,
    SPIRAL_COMPANDED = 1,
    SPIRAL_ROTATED = 1,
    SPIRAL_PACKED = 2,
    SPIRAL_CLASSES_MAX = 16,
    SPIRAL_SYMBOLS_MAX = 4096,
    SPIRAL_POINTS_LEAST = 4,
    SPIRAL_LOW_BITS_MAX = 12,
    SPIRAL_OFFSETS_MAX = 64
};

/* Tickets are 16-bit values, the escape included. */
#define SPIRAL_TICKETS_MAX 65535u
/* Multiples in an escape stay below this magnitude: exact in F32, and a varint holds them. */
#define SPIRAL_INDEX_MAX (1 << 24)
/* Side of a square of the area of a cell, in steps of the uniform curve: sqrt(pi). */
#define SPIRAL_ESCAPE_UNIT 0x1.c5bf8ap+0f

/* The walk through a row of `columns`: place j is column j * hop mod columns. hop is the stride where that visits every
 * column, else 1. */
static inline uint64_t spiral_hop(uint64_t stride, uint64_t columns) {
    uint64_t a = columns, b = columns ? stride % columns : 0;
    if (b == 0) return 1;
    const uint64_t hop = b;
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a == 1 ? hop : 1;
}

static inline uint64_t spiral_next(uint64_t column, uint64_t hop, uint64_t columns) {
    return column + hop >= columns ? column + hop - columns : column + hop;
}

static inline uint64_t spiral_pairs(uint64_t columns) {
    return columns / 2 + columns % 2;
}

/* Bits of a packed ticket below `points`. */
static inline uint32_t spiral_ticket_bits(uint32_t points) {
    uint32_t bits = 1;
    while ((points - 1) >> bits) bits++;
    return bits;
}

#endif
