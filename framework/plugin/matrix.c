/* SPDX-License-Identifier: Apache-2.0
 *
 * A tensor in source order needs no work: a range of rows is a range of bytes. A transposed one is turned window by
 * window: for each column of the window the source holds one run of consecutive rows. Strips of 32 columns are read run
 * by run and then turned, so that writes stay within 32 elements of a row. The window is kept, so that a codec may ask
 * for one row at a time in prepare and the source is still read about once. */
#include "matrix.h"

#include <base/alloc.h>
#include <format/dtype.h>
#include <string.h>

#define WINDOW_WEIGHTS (UINT64_C(1) << 21)
#define STRIP_COLUMNS UINT64_C(32)
#define CHUNK_BYTES (UINT64_C(1) << 16)

static tsr_status check_tensor(const struct coder_job *job, tsr_error *err) {
    const tsr_tensor *tensor = job->tensor;
    uint64_t count, bits;
    bool whole = job->dtype_bits > 0 && job->dtype_bits % 8 == 0;
    if (!whole || !checked_mul(tensor->rows, tensor->columns, &count) || !checked_mul(count, job->dtype_bits, &bits) ||
        bits / 8 != tensor->bytes) {
        return tsr_fail(err, TSR_E_ARGUMENT, "matrix of %llu x %llu elements of %u bits in %llu bytes",
                        (unsigned long long)tensor->rows, (unsigned long long)tensor->columns, job->dtype_bits,
                        (unsigned long long)tensor->bytes);
    }
    if (!job->transposed || count == 0) return TSR_OK;
    uint64_t rank = tensor->rank;
    if (rank < 2 || tensor->shape[rank - 2] != tensor->columns || tensor->shape[rank - 1] == 0 ||
        tensor->rows % tensor->shape[rank - 1]) {
        return tsr_fail(err, TSR_E_ARGUMENT, "matrix of %llu x %llu is not the turned shape of the source",
                        (unsigned long long)tensor->rows, (unsigned long long)tensor->columns);
    }
    return TSR_OK;
}

tsr_status matrix_open(struct matrix *matrix, const struct coder_job *job, const struct coder_source *source,
                       tsr_error *err) {
    const tsr_tensor *tensor = job->tensor;
    tsr_status st = check_tensor(job, err);
    if (st != TSR_OK) return st;
    matrix->source = source;
    matrix->rows = tensor->rows;
    matrix->columns = tensor->columns;
    matrix->width = job->dtype_bits / 8;
    matrix->dtype = tensor->dtype;
    matrix->transposed = job->transposed && tensor->bytes > 0;
    if (!matrix->transposed) return TSR_OK;
    matrix->block_rows = tensor->shape[tensor->rank - 1];
    matrix->window_columns = min_u64(matrix->columns, WINDOW_WEIGHTS);
    matrix->window_rows = min_u64(matrix->rows, WINDOW_WEIGHTS / matrix->window_columns);
    matrix->first_row = matrix->rows;
    matrix->window = mem_alloc_array(matrix->window_rows * matrix->window_columns, matrix->width);
    matrix->strip = mem_alloc_array(matrix->window_rows * STRIP_COLUMNS, matrix->width);
    if (!matrix->window || !matrix->strip) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a window of rows");
    matrix->has_lock = pthread_mutex_init(&matrix->lock, NULL) == 0;
    return matrix->has_lock ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a lock");
}

void matrix_close(struct matrix *matrix) {
    if (matrix->has_lock) pthread_mutex_destroy(&matrix->lock);
    mem_free(matrix->window);
    mem_free(matrix->strip);
    *matrix = (struct matrix){0};
}

/* strip [columns][rows] -> dst [rows][stride], width bytes an element. Inlined, so that a constant width gives moves.
 */
static inline __attribute__((always_inline)) void turn(const uint8_t *strip, uint64_t rows, uint64_t columns,
                                                       uint64_t width, uint8_t *dst, uint64_t stride) {
    for (uint64_t r = 0; r < rows; r++) {
        uint8_t *to = dst + r * stride * width;
        const uint8_t *from = strip + r * width;
        for (uint64_t c = 0; c < columns; c++) memcpy(to + c * width, from + c * rows * width, width);
    }
}

static void turn_strip(const uint8_t *strip, uint64_t rows, uint64_t columns, uint64_t width, uint8_t *dst,
                       uint64_t stride) {
    if (width == 2) {
        turn(strip, rows, columns, 2, dst, stride);
    } else if (width == 4) {
        turn(strip, rows, columns, 4, dst, stride);
    } else {
        turn(strip, rows, columns, width, dst, stride);
    }
}

/* Turns `rows` rows that lie in one leading block, beginning at matrix row `row`, into dst [rows][window_columns]. */
static tsr_status turn_rows(struct matrix *matrix, uint64_t row, uint64_t rows, uint64_t columns, uint8_t *dst,
                            tsr_error *err) {
    uint64_t width = matrix->width, block = row / matrix->block_rows, inside = row % matrix->block_rows;
    for (uint64_t c = 0; c < columns; c += STRIP_COLUMNS) {
        uint64_t count = min_u64(STRIP_COLUMNS, columns - c);
        for (uint64_t i = 0; i < count; i++) {
            uint64_t column = matrix->first_column + c + i;
            uint64_t element = (block * matrix->columns + column) * matrix->block_rows + inside;
            tsr_status st = matrix->source->read(matrix->source->ctx, element * width, matrix->strip + i * rows * width,
                                                 rows * width, err);
            if (st != TSR_OK) return st;
        }
        turn_strip(matrix->strip, rows, count, width, dst + c * width, matrix->window_columns);
    }
    return TSR_OK;
}

/* Moves the window so that it holds an element; positions are multiples of its size. */
static tsr_status move_window(struct matrix *matrix, uint64_t row, uint64_t column, tsr_error *err) {
    uint64_t first_row = row / matrix->window_rows * matrix->window_rows;
    uint64_t first_column = column / matrix->window_columns * matrix->window_columns;
    if (matrix->first_row == first_row && matrix->first_column == first_column) return TSR_OK;
    uint64_t columns = min_u64(matrix->window_columns, matrix->columns - first_column);
    uint64_t end = min_u64(first_row + matrix->window_rows, matrix->rows);
    matrix->first_row = matrix->rows;
    matrix->first_column = first_column;
    for (uint64_t r = first_row; r < end;) {
        uint64_t count = min_u64(end - r, matrix->block_rows - r % matrix->block_rows);
        uint8_t *dst = matrix->window + (r - first_row) * matrix->window_columns * matrix->width;
        tsr_status st = turn_rows(matrix, r, count, columns, dst, err);
        if (st != TSR_OK) return st;
        r += count;
    }
    matrix->first_row = first_row;
    return TSR_OK;
}

/* Copies columns of one row out of as many windows as they cross. Called with the lock held. */
static tsr_status read_turned_row(struct matrix *matrix, uint64_t row, uint64_t column, uint64_t columns, uint8_t *dst,
                                  tsr_error *err) {
    while (columns) {
        tsr_status st = move_window(matrix, row, column, err);
        if (st != TSR_OK) return st;
        uint64_t inside = column - matrix->first_column;
        uint64_t count = min_u64(columns, matrix->window_columns - inside);
        uint64_t at = (row - matrix->first_row) * matrix->window_columns + inside;
        memcpy(dst, matrix->window + at * matrix->width, count * matrix->width);
        dst += count * matrix->width;
        column += count;
        columns -= count;
    }
    return TSR_OK;
}

static bool is_inside(const struct matrix *matrix, uint64_t first_row, uint64_t rows, uint64_t first_column,
                      uint64_t columns) {
    return first_row <= matrix->rows && rows <= matrix->rows - first_row && first_column <= matrix->columns &&
           columns <= matrix->columns - first_column;
}

static tsr_status outside(tsr_error *err) {
    return tsr_fail(err, TSR_E_ARGUMENT, "a block outside the matrix was asked for");
}

tsr_status matrix_read(struct matrix *matrix, uint64_t first_row, uint64_t rows, uint64_t first_column,
                       uint64_t columns, void *dst, tsr_error *err) {
    uint64_t width = matrix->width, row_bytes = columns * width;
    if (!is_inside(matrix, first_row, rows, first_column, columns)) return outside(err);
    if (rows == 0 || columns == 0) return TSR_OK;
    if (!matrix->transposed && columns == matrix->columns) {
        return matrix->source->read(matrix->source->ctx, first_row * row_bytes, dst, rows * row_bytes, err);
    }
    tsr_status st = TSR_OK;
    if (matrix->transposed) pthread_mutex_lock(&matrix->lock);
    for (uint64_t r = 0; r < rows && st == TSR_OK; r++) {
        uint8_t *to = (uint8_t *)dst + r * row_bytes;
        uint64_t at = ((first_row + r) * matrix->columns + first_column) * width;
        st = matrix->transposed ? read_turned_row(matrix, first_row + r, first_column, columns, to, err)
                                : matrix->source->read(matrix->source->ctx, at, to, row_bytes, err);
    }
    if (matrix->transposed) pthread_mutex_unlock(&matrix->lock);
    return st;
}

static void clear_infinite(float *values, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        if ((bits & UINT32_C(0x7F800000)) == UINT32_C(0x7F800000)) values[i] = 0;
    }
}

/* A run of elements that follow each other in one row (or, in a source that is not turned, anywhere). */
static tsr_status read_finite_run(struct matrix *matrix, uint64_t row, uint64_t column, uint64_t count, uint8_t *chunk,
                                  float *dst, tsr_error *err) {
    uint64_t width = matrix->width, offset = (row * matrix->columns + column) * width;
    tsr_status st = matrix->transposed ? matrix_read(matrix, row, 1, column, count, chunk, err)
                                       : matrix->source->read(matrix->source->ctx, offset, chunk, count * width, err);
    if (st != TSR_OK) return st;
    dtype_to_f32(matrix->dtype, chunk, count, dst);
    clear_infinite(dst, count);
    return TSR_OK;
}

tsr_status matrix_read_finite(struct matrix *matrix, uint64_t first_row, uint64_t rows, uint64_t first_column,
                              uint64_t columns, float *dst, tsr_error *err) {
    uint64_t piece = CHUNK_BYTES / matrix->width, run = columns;
    if (!is_inside(matrix, first_row, rows, first_column, columns)) return outside(err);
    if (!matrix->transposed && columns == matrix->columns) {
        run = rows * columns;
        rows = run ? 1 : 0;
    }
    uint8_t *chunk = mem_alloc_aligned(CHUNK_BYTES);
    tsr_status st = chunk ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for rows");
    for (uint64_t r = 0; r < rows && st == TSR_OK; r++) {
        for (uint64_t c = 0; c < run && st == TSR_OK; c += piece) {
            uint64_t count = min_u64(piece, run - c);
            st = read_finite_run(matrix, first_row + r, first_column + c, count, chunk, dst + r * run + c, err);
        }
    }
    mem_free(chunk);
    return st;
}

/* NaN and Inf of a float dtype are the values whose bits under the mask are all set. */
static uint64_t infinite_mask(int32_t dtype) {
    switch (dtype) {
    case TSR_DTYPE_F64:
        return UINT64_C(0x7FF0000000000000);
    case TSR_DTYPE_F32:
    case TSR_DTYPE_C64:
        return UINT64_C(0x7F800000);
    case TSR_DTYPE_F16:
        return UINT64_C(0x7C00);
    case TSR_DTYPE_BF16:
        return UINT64_C(0x7F80);
    case TSR_DTYPE_F8_E5M2:
        return UINT64_C(0x7C);
    case TSR_DTYPE_F8_E4M3:
        return UINT64_C(0x7F);
    default:
        return 0;
    }
}

/* Eight bytes at a time, lanes of `width` bytes. Without its sign, (x & mask) ^ mask is 0 in a lane that is all ones
 * and else at most `low`, all bits but the sign; so adding `low` reaches the sign bit unless the lane was 0, and never
 * carries into the next lane. */
static bool no_lane_is_full(const uint8_t *bytes, uint64_t size, uint64_t width, uint64_t lane_mask) {
    uint64_t ones = width == 8 ? 1 : UINT64_MAX / ((UINT64_C(1) << 8 * width) - 1); /* 1 in each lane */
    uint64_t mask = ones * lane_mask, sign = ones << (8 * width - 1), seen = sign, word;
    uint64_t whole = size / 8 * 8;
    for (uint64_t i = 0; i < whole; i += 8) {
        memcpy(&word, bytes + i, 8);
        seen &= ((word & mask) ^ mask) + ~sign;
    }
    word = 0;
    memcpy(&word, bytes + whole, size - whole);
    seen &= ((word & mask) ^ mask) + ~sign;
    return seen == sign;
}

bool matrix_finite(int32_t dtype, const void *src, uint64_t count) {
    uint64_t mask = infinite_mask(dtype), width = dtype_bits(dtype) / 8;
    if (dtype == TSR_DTYPE_F8_E8M0) return !count || !memchr(src, 0xFF, count); /* no sign; NaN is 0xFF */
    if (dtype == TSR_DTYPE_C64) return no_lane_is_full(src, count * 8, 4, mask);
    return mask == 0 || no_lane_is_full(src, count * width, width, mask);
}
