/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks are the same whoever works on them, so that sums in block order do not depend on the number of workers. */
#include "cut.h"

enum { SAMPLE_BLOCKS = 16 };

struct cut cut_make(const tsr_tensor *tensor, bool sample, struct cut_sizes sizes) {
    const uint64_t weights = sample ? sizes.sample : sizes.most;
    struct cut cut = {.block_rows = 1, .block_columns = tensor->columns, .column_blocks = 1};
    if (tensor->rows == 0 || tensor->columns == 0) return cut;
    if (tensor->columns > sizes.most) cut.block_columns = sizes.most;
    if (!sample) cut.column_blocks = (tensor->columns - 1) / cut.block_columns + 1;
    if (cut.block_columns < weights) cut.block_rows = weights / cut.block_columns;
    if (cut.block_rows > tensor->rows) cut.block_rows = tensor->rows;
    cut.row_blocks = (tensor->rows - 1) / cut.block_rows + 1;
    cut.row_stride = cut.block_rows;
    if (sample && cut.row_blocks > SAMPLE_BLOCKS) {
        cut.row_blocks = SAMPLE_BLOCKS;
        cut.row_stride = (tensor->rows - cut.block_rows) / (SAMPLE_BLOCKS - 1);
    }
    return cut;
}

struct block block_at(const struct cut *cut, const tsr_tensor *tensor, uint64_t index) {
    struct block block = {.first_row = index / cut->column_blocks * cut->row_stride,
                          .rows = cut->block_rows,
                          .first_column = index % cut->column_blocks * cut->block_columns,
                          .columns = cut->block_columns};
    if (block.rows > tensor->rows - block.first_row) block.rows = tensor->rows - block.first_row;
    if (block.columns > tensor->columns - block.first_column) block.columns = tensor->columns - block.first_column;
    return block;
}

bool cut_sample_is_all(const tsr_tensor *tensor, struct cut_sizes sizes) {
    const struct cut cut = cut_make(tensor, true, sizes);
    return tensor->columns <= cut.block_columns && (tensor->rows == 0 || cut.row_stride == cut.block_rows);
}
