/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of the hhtld-block codec, version 1. Numbers are little-endian.
 *
 * Header (written by prepare, one for all tiles)
 *   u8      N, nodes, 1..64
 *   u8      0
 *   u16[N]  leaves of each node, 1..256; L is their sum
 *   i8[L][17] leaves, none all zero; a leaf is the direction of its 17 numbers
 *
 * Tile: for each row of it, an entry for each 17 columns (the last one of a row may cover fewer)
 *   u16     Slot D: bits 15..10 node, 9..2 leaf below it, bit 1 polarity, bit 0 zero
 *   bf16    Slot V: the gain g, finite, not negative
 *
 * Weight j of an entry is s g q_j / |q|, s = -1 with polarity, else 1, in double, rounded to F32. */
#ifndef HHTLD_BLOCK_BITSTREAM_H
#define HHTLD_BLOCK_BITSTREAM_H

#include "hhtld_bitstream.h"

enum {
    HHTLD_BLOCK_BITSTREAM_VERSION = 1,
    HHTLD_OCTAVE = 17,
    HHTLD_BLOCK_NODES_MAX = 64,
    HHTLD_BLOCK_ENTRY_BYTES = 4,
    HHTLD_BLOCK_HEADER_FIXED = 2
};

static inline uint64_t hhtld_block_octaves(uint64_t columns) {
    return (columns + HHTLD_OCTAVE - 1) / HHTLD_OCTAVE;
}

static inline uint64_t hhtld_block_header_bytes(uint64_t nodes, uint64_t leaves) {
    return HHTLD_BLOCK_HEADER_FIXED + 2 * nodes + HHTLD_OCTAVE * leaves;
}

#endif
