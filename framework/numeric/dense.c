/* SPDX-License-Identifier: Apache-2.0
 *
 * Cuts products into tasks of TASK_ROWS rows. A task widens its rows once and walks over the tokens. */
#include "dense.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>
#include <cblas.h>
#include <format/dtype.h>
#include <string.h>

#include "dense_kernels.h"

#define TASK_ROWS 128
#define TOKEN_BLOCK 64

struct product {
    const struct dense *matrix;
    const float *x; /* padded: [blocks * TOKEN_BLOCK][columns] */
    float *y;
    uint64_t tokens;
    const struct env *env;
    const struct dense_kernels *kernels;
};

void dense_setup(void) {
    openblas_set_num_threads(1);
}

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

static tsr_status apply_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct product *product = ctx;
    const struct dense *matrix = product->matrix;
    uint64_t first = index * TASK_ROWS, rows = min_u64(TASK_ROWS, matrix->rows - first), columns = matrix->columns;
    uint64_t tile = TASK_ROWS * columns;
    float *memory = pool_scratch(product->env->pool, worker, (tile + TASK_ROWS + TOKEN_BLOCK * TASK_ROWS) * sizeof(float));
    if (!memory) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a tile of %llu weights", (unsigned long long)tile);
    float *out = memory + tile + TASK_ROWS;
    widen_rows(matrix, first, rows, memory, memory + tile);
    for (uint64_t t = 0; t < product->tokens; t += TOKEN_BLOCK) {
        uint64_t count = min_u64(TOKEN_BLOCK, product->tokens - t);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, TOKEN_BLOCK, (int)rows, (int)columns, 1,
                    product->x + t * columns, (int)columns, memory, (int)columns, 0, out, (int)rows);
        for (uint64_t i = 0; i < count; i++) {
            memcpy(product->y + (t + i) * matrix->rows + first, out + i * rows, rows * sizeof *out);
        }
    }
    return TSR_OK;
}

tsr_status dense_apply(const struct dense *matrix, const float *x, uint64_t tokens, float *y, const struct env *env,
                        tsr_error *err) {
    uint64_t padded = ceil_div(tokens, TOKEN_BLOCK) * TOKEN_BLOCK;
    float *copy = NULL;
    if (padded != tokens) {
        copy = mem_alloc_zero(padded * matrix->columns, sizeof *copy);
        if (!copy) return tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu tokens", (unsigned long long)padded);
        memcpy(copy, x, tokens * matrix->columns * sizeof *copy);
    }
    struct product product = {.matrix = matrix, .x = copy ? copy : x, .y = y, .tokens = tokens, .env = env};
    tsr_status st = pool_for(env->pool, ceil_div(matrix->rows, TASK_ROWS), apply_task, &product, err);
    mem_free(copy);
    return st;
}

static tsr_status one_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct product *product = ctx;
    const struct dense *matrix = product->matrix;
    uint64_t first = index * TASK_ROWS, rows = min_u64(TASK_ROWS, matrix->rows - first);
    uint64_t bytes = dtype_bits(matrix->dtype) / 8;
    if (!matrix->transposed) {
        const uint8_t *data = (const uint8_t *)matrix->data + first * matrix->columns * bytes;
        product->kernels->dot_rows(matrix->dtype, data, rows, matrix->columns, product->x, product->y + first);
        return TSR_OK;
    }
    float *memory = pool_scratch(product->env->pool, worker, (TASK_ROWS * matrix->columns + TASK_ROWS) * sizeof(float));
    if (!memory) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a tile");
    widen_rows(matrix, first, rows, memory, memory + TASK_ROWS * matrix->columns);
    product->kernels->dot_rows(TSR_DTYPE_F32, (const uint8_t *)memory, rows, matrix->columns, product->x, product->y + first);
    return TSR_OK;
}

tsr_status dense_apply_one(const struct dense *matrix, const float *x, float *y, const struct env *env, tsr_error *err) {
    struct product product = {.matrix = matrix, .x = x, .y = y, .tokens = 1, .env = env, .kernels = dense_kernels_best()};
    return pool_for(env->pool, ceil_div(matrix->rows, TASK_ROWS), one_task, &product, err);
}
