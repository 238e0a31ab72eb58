/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of hclam, version 1: those of ../vq_parts/vq_bitstream.h with two streams, the cell and the leaf in it, and
 *   words   the leaves of cell 0, of cell 1, ...: K[0] * K[1] words of d numbers; the cells have no words of their own
 *   value   of a vector: word[cell * K[1] + leaf] */
#ifndef HCLAM_BITSTREAM_H
#define HCLAM_BITSTREAM_H

enum { HCLAM_BITSTREAM_VERSION = 1, HCLAM_STREAMS = 2, HCLAM_SIZE_MAX = 256 };

#endif
