/* SPDX-License-Identifier: Apache-2.0
 *
 * Codec extension "tessera.codec.block/0": quantises a tile some columns at a time and returns their reconstruction at
 * once, so that the host can run error feedback (GPTQ: Frantar et al. 2022, arXiv:2210.17323; block LDLQ: Tseng et al.
 * 2024, arXiv:2402.04396) around any codec that has it: what is left over of a block is spread over the columns still to
 * come before they are quantised. The rows of a tile are one sequence in a block, so a codec may use them as one (a
 * trellis path down the rows). For F32 input only. */
#ifndef TESSERA_EXT_BLOCK_H
#define TESSERA_EXT_BLOCK_H

#include "../codec.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_BLOCK_ID "tessera.codec.block/0"
#define TSR_BLOCK_WIDTH_MAX 16

typedef struct tsr_block {
    uint64_t struct_size;
    /* Columns in one block: 1, 2, 4, 8 or 16; the last block of a tile may be narrower. 0: not with these parameters (rows
     * are rotated), the host encodes without feedback. [any] */
    uint64_t (*width)(void *self);
    /* The columns (counted from tile->first_column) of block `index` in the order in which values are given; returns
     * their number. The blocks 0, 1, ... visit every column of the tile exactly once. [any] */
    uint64_t (*columns)(void *self, const tsr_tile *tile, uint64_t index, uint64_t *columns);
    /* State of one tile, to be ended or abandoned. src is the tile as encode would get it: for what looks at the
     * whole tile first (scales, steps). TSR_E_UNSUPPORTED when there are no blocks with these parameters (rows that are
     * rotated, or are one vector): the host encodes without feedback. [worker] */
    tsr_status (*begin)(void *self, const tsr_tile *tile, const float *src, void **state, tsr_error *err);
    /* Quantises block `index`, each once, in any order: values[rows][columns of the block], already corrected by the host.
     * reconstruction gets what decode will return for them. [worker] */
    tsr_status (*quantise)(void *self, void *state, uint64_t index, const float *values, float *reconstruction,
                           tsr_error *err);
    /* Writes the tile as encode does and frees the state, on failure too. With values that the host did not change, the
     * bytes are those of encode, unless encode looks further ahead than a block (then they decode to no more error
     * than it promises). [worker] */
    tsr_status (*end)(void *self, void *state, void *dst, uint64_t capacity, uint64_t *written, tsr_error *err);
    void (*abandon)(void *self, void *state);
} tsr_block;

#ifdef __cplusplus
}
#endif
#endif
