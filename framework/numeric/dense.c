/* SPDX-License-Identifier: Apache-2.0
 *
 * Cuts products into tasks: a panel of rows, widened once, times a run of tokens. Where there are no vector kernels,
 * OpenBLAS multiplies blocks of 64 tokens, zero-padded; its results depend on the shape of a call. */
#include "dense.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>
#include <cblas.h>
#include <format/dtype.h>
#include <string.h>

#include "dense_kernels.h"

#define BLAS_ROWS 128
#define BLAS_TOKENS 64
#define DEPTH 768          /* columns of a panel that are multiplied at once: 192 KiB stay in the second-level cache */
#define LONG_ROW 16384     /* columns from which on the sums of panels are added up, not continued */
#define TASKS 16           /* matrices with fewer panels are cut by tokens too */
#define TOKENS_A_TASK 48   /* at least: packing a panel costs about as much as multiplying it with four tokens */
#define ONE_BYTES_MIN (UINT64_C(16) << 10) /* weights of a task of one token */
#define ONE_BYTES_MAX (UINT64_C(256) << 10)

struct product {
    const struct dense *matrix;
    const float *x;
    float *y;
    uint64_t tokens;
    uint64_t tokens_a_task; /* panels */
    uint64_t rows_a_task;   /* one token */
    const struct env *env;
    const struct dense_kernels *kernels;
};

void dense_setup(void) {
    openblas_set_num_threads(1);
}

/* ---- by panels ---- */

/* Columns [from, from + depth) of rows [first, first + rows) into a panel. */
static void fill_panel(const struct product *product, uint64_t first, uint64_t rows, uint64_t from, uint64_t depth,
                       float *panel) {
    const struct dense *matrix = product->matrix;
    uint64_t bytes = dtype_bits(matrix->dtype) / 8;
    const uint8_t *data = matrix->data;
    if (!matrix->transposed) {
        product->kernels->pack(matrix->dtype, data + (first * matrix->columns + from) * bytes, matrix->columns * bytes, rows,
                               depth, panel);
        return;
    }
    if (rows < DENSE_PANEL) memset(panel, 0, depth * DENSE_PANEL * sizeof *panel);
    for (uint64_t c = 0; c < depth; c++) {
        dtype_to_f32(matrix->dtype, data + ((from + c) * matrix->rows + first) * bytes, rows, panel + c * DENSE_PANEL);
    }
}

/* y [tokens][matrix rows] gets, or grows by, part [tokens][DENSE_PANEL]. */
static void take_part(const struct dense_tile *tile, uint64_t rows, uint64_t stride, bool add, float *y) {
    for (uint64_t t = 0; t < tile->tokens; t++) {
        const float *part = tile->c + t * DENSE_PANEL;
        for (uint64_t r = 0; r < rows; r++) y[t * stride + r] = add ? y[t * stride + r] + part[r] : part[r];
    }
}

/* A chain of very many terms loses what cancels out (the gradient of an output matrix: 49152 terms, whose sum is a tenth of its
 * parts): long rows are summed panel by panel. */
static tsr_status panel_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct product *product = ctx;
    const struct dense *matrix = product->matrix;
    uint64_t panels = ceil_div(matrix->rows, DENSE_PANEL);
    uint64_t row = index % panels * DENSE_PANEL, rows = min_u64(DENSE_PANEL, matrix->rows - row);
    uint64_t token = index / panels * product->tokens_a_task, tokens = min_u64(product->tokens_a_task, product->tokens - token);
    uint64_t depth = min_u64(DEPTH, matrix->columns);
    float *panel = pool_scratch(product->env->pool, worker, (depth + tokens) * DENSE_PANEL * sizeof(float));
    if (!panel) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a panel of weights");
    float *part = panel + depth * DENSE_PANEL, *y = product->y + token * matrix->rows + row;
    bool in_pieces = matrix->columns >= LONG_ROW, aside = in_pieces || rows < DENSE_PANEL; /* aside: 64 wide */
    struct dense_tile tile = {.panel = panel,
                              .c = aside ? part : y,
                              .x_stride = matrix->columns,
                              .c_stride = aside ? DENSE_PANEL : matrix->rows,
                              .tokens = tokens};
    for (uint64_t c = 0; c < matrix->columns; c += depth) {
        tile.depth = min_u64(depth, matrix->columns - c);
        tile.x = product->x + token * matrix->columns + c;
        tile.add = c > 0 && !in_pieces;
        fill_panel(product, row, rows, c, tile.depth, panel);
        product->kernels->multiply(&tile);
        if (in_pieces) take_part(&tile, rows, matrix->rows, c > 0, y);
    }
    if (aside && !in_pieces) take_part(&tile, rows, matrix->rows, false, y);
    return TSR_OK;
}

static tsr_status apply_panels(struct product *product, tsr_error *err) {
    uint64_t panels = ceil_div(product->matrix->rows, DENSE_PANEL);
    uint64_t cuts = max_u64(1, min_u64(ceil_div(TASKS, max_u64(panels, 1)), product->tokens / TOKENS_A_TASK));
    product->tokens_a_task = ceil_div(product->tokens, cuts);
    return pool_for(product->env->pool, panels * ceil_div(product->tokens, product->tokens_a_task), panel_task, product, err);
}

/* ---- by OpenBLAS ---- */

/* Rows [first, first + rows) as F32 [rows][columns]. */
static void widen_rows(const struct dense *matrix, uint64_t first, uint64_t rows, float *dst, float *column) {
    uint64_t bytes = dtype_bits(matrix->dtype) / 8;
    const uint8_t *data = matrix->data;
    if (!matrix->transposed) {
        dtype_to_f32(matrix->dtype, data + first * matrix->columns * bytes, rows * matrix->columns, dst);
        return;
    }
    for (uint64_t c = 0; c < matrix->columns; c++) {
        dtype_to_f32(matrix->dtype, data + (c * matrix->rows + first) * bytes, rows, column);
        for (uint64_t r = 0; r < rows; r++) dst[r * matrix->columns + c] = column[r];
    }
}

static tsr_status blas_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct product *product = ctx;
    const struct dense *matrix = product->matrix;
    uint64_t first = index * BLAS_ROWS, rows = min_u64(BLAS_ROWS, matrix->rows - first), columns = matrix->columns;
    uint64_t tile = BLAS_ROWS * columns;
    float *memory = pool_scratch(product->env->pool, worker, (tile + BLAS_ROWS + BLAS_TOKENS * BLAS_ROWS) * sizeof(float));
    if (!memory) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a tile of %llu weights", (unsigned long long)tile);
    float *out = memory + tile + BLAS_ROWS;
    widen_rows(matrix, first, rows, memory, memory + tile);
    for (uint64_t t = 0; t < product->tokens; t += BLAS_TOKENS) {
        uint64_t count = min_u64(BLAS_TOKENS, product->tokens - t);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, BLAS_TOKENS, (int)rows, (int)columns, 1,
                    product->x + t * columns, (int)columns, memory, (int)columns, 0, out, (int)rows);
        for (uint64_t i = 0; i < count; i++) {
            memcpy(product->y + (t + i) * matrix->rows + first, out + i * rows, rows * sizeof *out);
        }
    }
    return TSR_OK;
}

static tsr_status apply_blas(struct product *product, tsr_error *err) {
    const struct dense *matrix = product->matrix;
    uint64_t padded = ceil_div(product->tokens, BLAS_TOKENS) * BLAS_TOKENS;
    float *copy = NULL;
    if (padded != product->tokens) {
        copy = mem_alloc_zero(padded * matrix->columns, sizeof *copy);
        if (!copy) return tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu tokens", (unsigned long long)padded);
        memcpy(copy, product->x, product->tokens * matrix->columns * sizeof *copy);
        product->x = copy;
    }
    tsr_status st = pool_for(product->env->pool, ceil_div(matrix->rows, BLAS_ROWS), blas_task, product, err);
    mem_free(copy);
    return st;
}

tsr_status dense_apply_by(const struct dense_kernels *kernels, const struct dense *matrix, const float *x, uint64_t tokens,
                          float *y, const struct env *env, tsr_error *err) {
    struct product product = {.matrix = matrix, .x = x, .y = y, .tokens = tokens, .env = env, .kernels = kernels};
    if (tokens == 0) return TSR_OK;
    return kernels->multiply ? apply_panels(&product, err) : apply_blas(&product, err);
}

tsr_status dense_apply(const struct dense *matrix, const float *x, uint64_t tokens, float *y, const struct env *env,
                       tsr_error *err) {
    return dense_apply_by(dense_kernels_best(), matrix, x, tokens, y, env, err);
}

/* ---- one token ---- */

static tsr_status one_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct product *product = ctx;
    const struct dense *matrix = product->matrix;
    uint64_t first = index * product->rows_a_task, rows = min_u64(product->rows_a_task, matrix->rows - first);
    uint64_t row_bytes = matrix->columns * (dtype_bits(matrix->dtype) / 8);
    (void)worker;
    (void)err;
    product->kernels->dot_rows(matrix->dtype, (const uint8_t *)matrix->data + first * row_bytes, rows, matrix->columns,
                               product->x, product->y + first);
    return TSR_OK;
}

/* Small enough that workers end together, large enough that handing tasks out costs nothing. */
static uint64_t rows_of_one_task(const struct dense *matrix, uint64_t workers) {
    uint64_t row_bytes = max_u64(1, matrix->columns * (dtype_bits(matrix->dtype) / 8));
    uint64_t rows = max_u64(ceil_div(matrix->rows, workers * 6), ceil_div(ONE_BYTES_MIN, row_bytes));
    return max_u64(1, min_u64(rows, ONE_BYTES_MAX / row_bytes));
}

tsr_status dense_apply_one_by(const struct dense_kernels *kernels, const struct dense *matrix, const float *x, float *y,
                              const struct env *env, tsr_error *err) {
    struct product product = {.matrix = matrix, .x = x, .y = y, .tokens = 1, .env = env, .kernels = kernels};
    if (matrix->transposed) return dense_apply_by(kernels, matrix, x, 1, y, env, err);
    product.rows_a_task = rows_of_one_task(matrix, pool_workers(env->pool));
    return pool_for(env->pool, ceil_div(matrix->rows, product.rows_a_task), one_task, &product, err);
}

uint64_t dense_one_pieces(const struct dense *matrix, uint64_t workers) {
    return ceil_div(matrix->rows, rows_of_one_task(matrix, workers));
}

void dense_one_piece(const struct dense *matrix, uint64_t workers, uint64_t index, const float *x, float *y) {
    struct product product = {.matrix = matrix, .x = x, .y = y, .tokens = 1, .kernels = dense_kernels_best()};
    product.rows_a_task = rows_of_one_task(matrix, workers);
    (void)one_task(&product, index, 0, NULL);
}

tsr_status dense_apply_one(const struct dense *matrix, const float *x, float *y, const struct env *env, tsr_error *err) {
    return dense_apply_one_by(dense_kernels_best(), matrix, x, y, env, err);
}
