/* SPDX-License-Identifier: Apache-2.0
 *
 * How a tensor is cut into blocks to be measured: all of it, or a sample of its rows. */
#ifndef CUT_H
#define CUT_H

#include <stdbool.h>
#include <tessera/codec.h>

/* Blocks of whole rows, or pieces of one row: `row_blocks` by `column_blocks` of them. */
struct cut {
    uint64_t block_rows, block_columns;
    uint64_t row_blocks, column_blocks;
    uint64_t row_stride; /* rows from block to block */
};

struct block {
    uint64_t first_row, rows, first_column, columns;
};

/* Blocks of at most `most` weights; of a sample of at most `sample`, unless a row has more. */
struct cut_sizes {
    uint64_t most, sample;
};

struct cut cut_make(const tsr_tensor *tensor, bool sample, struct cut_sizes sizes);
struct block block_at(const struct cut *cut, const tsr_tensor *tensor, uint64_t index);
/* A sample would be the whole tensor. */
bool cut_sample_is_all(const tsr_tensor *tensor, struct cut_sizes sizes);

#endif
