/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of tensors of a raw or compressed checkpoint, many tensors at once, into memory of who asks. A row is one index of the
 * first extent; a scalar is one row. */
#ifndef READING_READER_ROWS_H
#define READING_READER_ROWS_H

#include "reader.h"

/* How a tensor can be cut. */
struct reader_cut {
    uint64_t rows;
    uint64_t row_bytes; /* 0 when rows are no whole bytes, or there are none: all or nothing */
    uint64_t f32_bytes; /* of the tensor widened to F32, 0 when it cannot be */
};
struct reader_cut reader_cut(const struct reader_tensor *tensor);

#define READER_ALL_ROWS UINT64_MAX

struct reader_want {
    uint64_t tensor; /* index */
    uint64_t first_row, row_count;
    bool widen; /* to F32 */
    void *dst;  /* aligned as its elements */
    uint64_t dst_bytes;
};

/* Checks all wants, then reads them on the env's workers. TSR_E_ARGUMENT for tensors or rows that are not there, TSR_E_SPACE
 * for a dst too small, TSR_E_UNSUPPORTED for a form or a cut that the dtype does not have. [instance] per env */
tsr_status reader_rows(const struct reader *reader, const struct reader_want *wants, uint64_t count, tsr_error *err);

#endif
