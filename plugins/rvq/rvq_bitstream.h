/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of rvq, version 1: those of ../vq_parts/vq_bitstream.h, where stream s is stage s of the ladder and
 *   words   stage by stage, K[s] words of d numbers
 *   value   of a vector: word[0][index 0] + word[1][index 1] + ..., F32 additions from left to right
 * The first s streams of a tile alone give the first s terms of that sum. */
#ifndef RVQ_BITSTREAM_H
#define RVQ_BITSTREAM_H

enum { RVQ_BITSTREAM_VERSION = 1 };

#endif
