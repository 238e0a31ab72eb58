/* SPDX-License-Identifier: Apache-2.0
 *
 * One task is a panel of DENSE_PANEL columns against some rows of the product at or below it: both operands lie in the
 * layout that dense kernels want, which is made once for all tasks. Parts of a product are summed aside and then added, so
 * an element of 2^20 tokens is some 2048 additions of sums of 512, a relative error of about 1e-6, which is far below the
 * noise of any calibration text. */
#include "gram.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>
#include <cblas.h>
#include <string.h>
#include <tessera/tensor.h>

#define TASK_ROWS 96   /* of the product: a multiple of the rows that kernels take at once */
#define BLAS_ROWS 128
#define SQUARES_COLUMNS 128
#define TURN 32        /* rows and columns that are copied at once */

/* ---- layout ---- */

static void fill_panels(const struct gram *gram, const float *x, uint64_t first, uint64_t rows) {
    for (uint64_t c = 0; c < gram->n; c += DENSE_PANEL) {
        uint64_t width = min_u64(DENSE_PANEL, gram->n - c);
        float *to = gram->panels + c * gram->count + first * DENSE_PANEL;
        for (uint64_t t = first; t < first + rows; t++, to += DENSE_PANEL) {
            memcpy(to, x + t * gram->n + c, width * sizeof *to);
            if (width < DENSE_PANEL) memset(to + width, 0, (DENSE_PANEL - width) * sizeof *to);
        }
    }
}

struct layout {
    const struct gram *gram;
    const float *x;
};

static tsr_status layout_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct layout *layout = ctx;
    const struct gram *gram = layout->gram;
    uint64_t first = index * DENSE_PANEL, rows = min_u64(DENSE_PANEL, gram->count - first), n = gram->n;
    (void)worker;
    (void)err;
    gram->kernels->pack(TSR_DTYPE_F32, (const uint8_t *)(layout->x + first * n), n * sizeof(float), rows, n,
                        gram->turned + first * n);
    fill_panels(gram, layout->x, first, rows);
    return TSR_OK;
}

static bool is_at_hand(const struct gram *gram, uint64_t n, const float *x, uint64_t count) {
    if (!gram->waiting || gram->n != n || gram->count != count) return false;
    for (uint64_t t = 0; t < count; t++) {
        for (uint64_t c = 0; c < n; c += DENSE_PANEL) {
            const float *there = gram->panels + c * count + t * DENSE_PANEL;
            if (memcmp(there, x + t * n + c, min_u64(DENSE_PANEL, n - c) * sizeof *x)) return false;
        }
    }
    return true;
}

static tsr_status reserve(struct gram *gram, uint64_t floats, tsr_error *err) {
    if (gram->capacity >= floats) return TSR_OK;
    gram_clear(gram);
    gram->panels = mem_alloc_aligned(floats * sizeof *gram->panels);
    gram->turned = mem_alloc_aligned(floats * sizeof *gram->turned);
    if (!gram->panels || !gram->turned) return tsr_fail(err, TSR_E_NOMEM, "out of memory for rows of moments");
    gram->capacity = floats;
    return TSR_OK;
}

static uint64_t layout_floats(uint64_t n, uint64_t count) {
    return ceil_div(n, DENSE_PANEL) * DENSE_PANEL * ceil_div(count, DENSE_PANEL) * DENSE_PANEL;
}

static tsr_status take_rows(struct gram *gram, uint64_t n, const float *x, uint64_t count, const struct env *env,
                            tsr_error *err) {
    tsr_status st = gram_flush(gram, env, err);
    if (st == TSR_OK) st = reserve(gram, layout_floats(n, count), err);
    if (st != TSR_OK) return st;
    gram->n = n;
    gram->count = count;
    struct layout layout = {gram, x};
    return pool_for(env->pool, ceil_div(count, DENSE_PANEL), layout_task, &layout, err);
}

/* ---- products ---- */

static uint64_t tasks_of_panel(const struct gram *gram, uint64_t column) {
    return ceil_div(gram->n - column, TASK_ROWS);
}

/* Longer panels come first, so that workers end together. */
static uint64_t find_panel(const struct gram *gram, uint64_t *index) {
    uint64_t column = 0;
    for (; *index >= tasks_of_panel(gram, column); column += DENSE_PANEL) *index -= tasks_of_panel(gram, column);
    return column;
}

static void add_part(const struct gram *gram, uint64_t row, uint64_t rows, uint64_t column, const float *part) {
    uint64_t n = gram->n, width = min_u64(DENSE_PANEL, n - column);
    for (uint64_t i = 0; i < gram->waiting; i++) {
        for (uint64_t r = 0; r < rows; r++) {
            float *to = gram->sums[i] + (row + r) * n + column;
            for (uint64_t c = 0; c < width; c++) to[c] += part[r * DENSE_PANEL + c];
        }
    }
}

static tsr_status product_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct gram *gram = ctx;
    uint64_t column = find_panel(gram, &index), row = column + index * TASK_ROWS, rows = min_u64(TASK_ROWS, gram->n - row);
    float part[TASK_ROWS * DENSE_PANEL];
    (void)worker;
    (void)err;
    for (uint64_t t = 0; t < gram->count; t += DENSE_PANEL) {
        const struct dense_tile tile = {.x = gram->turned + t * gram->n + row * DENSE_PANEL,
                                        .panel = gram->panels + column * gram->count + t * DENSE_PANEL,
                                        .c = part,
                                        .x_stride = DENSE_PANEL,
                                        .c_stride = DENSE_PANEL,
                                        .tokens = rows,
                                        .depth = min_u64(DENSE_PANEL, gram->count - t),
                                        .add = t > 0};
        gram->kernels->multiply(&tile);
    }
    add_part(gram, row, rows, column, part);
    return TSR_OK;
}

tsr_status gram_flush(struct gram *gram, const struct env *env, tsr_error *err) {
    uint64_t tasks = 0;
    for (uint64_t column = 0; column < gram->n; column += DENSE_PANEL) tasks += tasks_of_panel(gram, column);
    tsr_status st = gram->waiting ? pool_for(env->pool, tasks, product_task, gram, err) : TSR_OK;
    gram->waiting = 0;
    return st;
}

/* ---- by OpenBLAS ---- */

struct blas {
    float *sums;
    const float *x;
    uint64_t n, count, blocks;
};

/* Later blocks are longer, so they come first. */
static tsr_status blas_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct blas *work = ctx;
    uint64_t first = (work->blocks - 1 - index) * BLAS_ROWS, rows = min_u64(BLAS_ROWS, work->n - first);
    (void)worker;
    (void)err;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)rows, (int)(first + rows), (int)work->count, 1,
                work->x + first, (int)work->n, work->x, (int)work->n, 1, work->sums + first * work->n, (int)work->n);
    return TSR_OK;
}

/* ---- the whole ---- */

static tsr_status add_piece(struct gram *gram, float *sums, uint64_t n, const float *x, uint64_t count, const struct env *env,
                            tsr_error *err) {
    tsr_status st = TSR_OK;
    if (!is_at_hand(gram, n, x, count)) st = take_rows(gram, n, x, count, env, err);
    if (st != TSR_OK) return st;
    gram->sums[gram->waiting++] = sums;
    return gram->waiting == GRAM_WAITING ? gram_flush(gram, env, err) : TSR_OK;
}

tsr_status gram_add(struct gram *gram, float *sums, uint64_t n, const float *x, uint64_t count, const struct env *env,
                    tsr_error *err) {
    if (!gram->kernels) gram->kernels = dense_kernels_best();
    if (!gram->kernels->multiply) {
        struct blas work = {.sums = sums, .x = x, .n = n, .count = count, .blocks = ceil_div(n, BLAS_ROWS)};
        return count ? pool_for(env->pool, work.blocks, blas_task, &work, err) : TSR_OK;
    }
    tsr_status st = TSR_OK;
    for (uint64_t t = 0; t < count && st == TSR_OK; t += GRAM_PIECE) {
        st = add_piece(gram, sums, n, x + t * n, min_u64(GRAM_PIECE, count - t), env, err);
    }
    return st;
}

void gram_clear(struct gram *gram) {
    mem_free(gram->panels);
    mem_free(gram->turned);
    *gram = (struct gram){.kernels = gram->kernels};
}

uint64_t gram_memory(uint64_t n) {
    return 2 * layout_floats(n, GRAM_PIECE) * sizeof(float);
}

/* ---- what else is made of rows ---- */

struct squaring {
    double *squares;
    const float *x;
    uint64_t n, count;
};

static tsr_status squares_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct squaring *work = ctx;
    uint64_t first = index * SQUARES_COLUMNS, end = min_u64(first + SQUARES_COLUMNS, work->n);
    (void)worker;
    (void)err;
    for (uint64_t t = 0; t < work->count; t++) {
        const float *row = work->x + t * work->n;
        for (uint64_t c = first; c < end; c++) work->squares[c] += (double)row[c] * (double)row[c];
    }
    return TSR_OK;
}

tsr_status gram_squares(double *squares, uint64_t n, const float *x, uint64_t count, const struct env *env, tsr_error *err) {
    struct squaring work = {squares, x, n, count};
    return pool_for(env->pool, ceil_div(n, SQUARES_COLUMNS), squares_task, &work, err);
}

/* Square blocks, since columns of a large matrix lie in as many cache lines. */
void gram_finish(float *sums, uint64_t n, double scale, const float *diagonal) {
    for (uint64_t row = 0; row < n; row += TURN) {
        for (uint64_t column = 0; column <= row; column += TURN) {
            for (uint64_t r = row; r < min_u64(row + TURN, n); r++) {
                for (uint64_t c = column; c < min_u64(column + TURN, r); c++) {
                    sums[r * n + c] = sums[c * n + r] = (float)((double)sums[r * n + c] * scale);
                }
            }
        }
    }
    for (uint64_t r = 0; r < n; r++) sums[r * n + r] = diagonal[r];
}
