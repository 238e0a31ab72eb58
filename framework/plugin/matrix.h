/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a tensor in matrix order whatever its order in the source, as bytes or as F32. Knows no codec. */
#ifndef PLUGIN_MATRIX_H
#define PLUGIN_MATRIX_H

#include "coder.h"

#include <pthread.h>

/* Zero-initialise. */
struct matrix {
    const struct coder_source *source;
    uint64_t rows, columns;
    uint64_t width; /* bytes an element */
    int32_t dtype;
    bool transposed;
    uint64_t block_rows; /* transposed: rows of one leading block; its bytes are [columns][block_rows] */
    /* A window of the transposed matrix, turned; under `lock`. */
    pthread_mutex_t lock;
    bool has_lock;
    uint8_t *window;
    uint8_t *strip;                       /* runs of source elements on their way into the window */
    uint64_t window_rows, window_columns; /* its size */
    uint64_t first_row, first_column;     /* where it stands; first_row == rows: nowhere */
};

/* TSR_E_ARGUMENT when the job's tensor contradicts itself. */
tsr_status matrix_open(struct matrix *matrix, const struct coder_job *job, const struct coder_source *source,
                       tsr_error *err);
void matrix_close(struct matrix *matrix);
/* A block in source dtype, row by row. [any] */
tsr_status matrix_read(struct matrix *matrix, uint64_t first_row, uint64_t rows, uint64_t first_column,
                       uint64_t columns, void *dst, tsr_error *err);
/* The same as F32, NaN and Inf as 0. [any] */
tsr_status matrix_read_finite(struct matrix *matrix, uint64_t first_row, uint64_t rows, uint64_t first_column,
                              uint64_t columns, float *dst, tsr_error *err);
/* False when an element of src[count] is NaN or Inf; true for dtypes that have neither. [any] */
bool matrix_finite(int32_t dtype, const void *src, uint64_t count);

#endif
