/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes that the vector quantisers (rvq, hclam) share: codebook, header, tile. Numbers are little-endian; a
 * `varint` is LEB128 with at most five bytes (32 bits). README.md of this folder has the same layout as a table.
 *
 * Codebook (in the header, or the dictionary of a group)
 *   varint  d: columns of a vector
 *   u8      S: streams, as many as the parameters say
 *   S times:
 *     varint  K: values of an index of this stream, 1..65536, at most what the parameters say
 *     u8      0: indices are packed; 1: they are entropy-coded
 *   BF16[]  the words; how many follows from S and K, their order is the codec's
 *   model   for each entropy-coded stream in order: one context, ((K - 1) >> low) + 1 symbols, where low = max(w, 12) -
 * 12 and w is the width of an index, ceil(log2 K)
 *   zeros   only in a dictionary: any number of them
 *
 * Header (written by prepare)
 *   u8      0: the codebook is the group's dictionary; 1: it follows at the end
 *   u64     seed of the rotation; only with the parameter `hadamard`
 *
 * Tile: segments (a row, or `group` columns of it; the last of a row may be shorter) in row order
 *   u8      m * 16 + k: mantissa bits of scale codes, 1..7, and their Rice parameter
 *   u16     centre of the scale codes
 *   varint  bytes of the side bits
 *   bytes   side bits, least significant bit first, padded with zeros: for each segment zigzag(code - centre) by a Rice
 *           code of parameter k: v >> k ones, a zero, the k low bits of v; twelve ones announce v in 16 bits instead
 *   f32[]   the values of raw segments in order
 *   S times, for all n = rows * ceil(columns / d) vectors of the tile, row by row:
 *     packed         ceil(n * w / 8) bytes: the indices as the entropy coder packs raw bits
 *     entropy-coded  varint bytes, then the coder's stream of split values: low_bits = low, symbol_bits = 16 - low
 *
 * Scale code c: 0 the segment is all zero; 1 it is raw; from 2^m to 255 * 2^m - 1 the scale is the float with the bits
 * c << (23 - m). Vector j of a row covers its columns j * d .. j * d + d - 1 as far as they exist. Its values are those
 * of the words that its indices name, added as the codec says, times the scale of the segment in which it lies. With
 * the parameter `hadamard` a row of the tile without raw segments is then rotated back; of other rows all segments are
 * raw. */
#ifndef VQ_BITSTREAM_H
#define VQ_BITSTREAM_H

#include "numbers.h"
#include "step_code.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    VQ_STREAMS_MAX = 16,
    VQ_SIZE_MAX = 65536,
    VQ_SYMBOL_BITS_MAX = 12, /* the entropy coder's largest alphabet */
    VQ_HEADER_SHARED = 0,
    VQ_HEADER_OWN = 1,
    VQ_SEED_BYTES = 8
};

/* Bits of an index below `size`. */
static inline uint32_t vq_width(uint32_t size) {
    uint32_t width = 0;
    while (UINT64_C(1) << width < size) width++;
    return width;
}

static inline uint32_t vq_low_bits(uint32_t width) {
    return width > VQ_SYMBOL_BITS_MAX ? width - VQ_SYMBOL_BITS_MAX : 0;
}

/* How the columns of a tile are cut. */
struct vq_grid {
    uint64_t rows, columns, dim;
    uint64_t group;        /* columns of a segment, `columns` for whole rows */
    uint64_t row_segments; /* of a row */
    uint64_t row_vectors;
    uint64_t segments, vectors; /* of the tile */
};

/* group 0: the row; else a multiple of dim. */
static inline struct vq_grid vq_grid_make(uint64_t rows, uint64_t columns, uint64_t dim, uint64_t group) {
    struct vq_grid grid = {.rows = rows, .columns = columns, .dim = dim, .group = group ? group : columns};
    grid.row_segments = (columns - 1) / grid.group + 1;
    grid.row_vectors = (columns - 1) / dim + 1;
    grid.segments = rows * grid.row_segments;
    grid.vectors = rows * grid.row_vectors;
    return grid;
}

static inline uint64_t vq_segment_columns(const struct vq_grid *grid, uint64_t index) {
    uint64_t left = grid->columns - index * grid->group;
    return left < grid->group ? left : grid->group;
}

#endif
