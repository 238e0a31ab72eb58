/* SPDX-License-Identifier: Apache-2.0
 *
 * Dense products: every kernel agrees with a sum in double on odd shapes and all dtypes, AVX2 and AVX-512 give the same
 * bits for many tokens, and no token's result depends on the tokens beside it or on workers. */
#include "unit.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <base/rng.h>
#include <format/dtype.h>
#include <math.h>
#include <numeric/dense.h>
#include <numeric/dense_kernels.h>
#include <string.h>

enum { ROWS_MAX = 200, COLUMNS_MAX = 1600, TOKENS_MAX = 70, WEIGHTS_MAX = 66 * 16500 };

static const struct {
    uint64_t rows, columns, tokens;
} SHAPES[] = {{1, 1, 1},     {3, 5, 2},      {64, 64, 6},   {65, 33, 7},    {16, 16, 64},
              {63, 31, 13},  {130, 100, 70}, {200, 47, 66}, {17, 1600, 11}, {66, 769, 5},
              {66, 16500, 5}};
static const int32_t DTYPES[] = {TSR_DTYPE_F32, TSR_DTYPE_F16, TSR_DTYPE_BF16};

struct world {
    struct env env;
    struct dense matrix;
    float weights[WEIGHTS_MAX], x[TOKENS_MAX * COLUMNS_MAX];
    uint8_t stored[WEIGHTS_MAX * 4];
    float y[TOKENS_MAX * ROWS_MAX], other[TOKENS_MAX * ROWS_MAX];
};
static struct world WORLD;

static void fill(float *values, uint64_t count, const char *seed) {
    struct rng rng = {rng_seed(seed)};
    for (uint64_t i = 0; i < count; i++) values[i] = (float)(rng_real(&rng) * 2 - 1);
}

/* The weights are what the dtype holds, so that only sums round. */
static void set_world(size_t shape, int32_t dtype, bool transposed) {
    uint64_t rows = SHAPES[shape].rows, columns = SHAPES[shape].columns, count = rows * columns;
    fill(WORLD.weights, count, "weights");
    fill(WORLD.x, SHAPES[shape].tokens * columns, "x");
    dtype_from_f32(dtype, WORLD.weights, count, WORLD.stored);
    dtype_to_f32(dtype, WORLD.stored, count, WORLD.weights);
    WORLD.matrix = (struct dense){WORLD.stored, dtype, rows, columns, transposed};
}

static bool near(const float *y, uint64_t tokens) {
    const struct dense *matrix = &WORLD.matrix;
    double worst = 0;
    for (uint64_t t = 0; t < tokens; t++) {
        for (uint64_t r = 0; r < matrix->rows; r++) {
            double sum = 0, size = 1e-30;
            for (uint64_t c = 0; c < matrix->columns; c++) {
                uint64_t at = matrix->transposed ? c * matrix->rows + r : r * matrix->columns + c;
                double term = (double)WORLD.weights[at] * (double)WORLD.x[t * matrix->columns + c];
                sum += term;
                size += fabs(term);
            }
            worst = fmax(worst, fabs((double)y[t * matrix->rows + r] - sum) / size);
        }
    }
    return worst < 1e-6;
}

static unsigned kernels_here(const struct dense_kernels *list[3]) {
    unsigned count = 0;
    list[count++] = &dense_kernels_scalar;
#if defined(__x86_64__)
    if (dense_kernels_best() != &dense_kernels_scalar) list[count++] = &dense_kernels_avx2;
    if (dense_kernels_best() == &dense_kernels_avx512) list[count++] = &dense_kernels_avx512;
#endif
    return count;
}

static void each_case(void (*check)(size_t shape)) {
    WORLD.env.pool = pool_create(3);
    for (size_t s = 0; s < sizeof SHAPES / sizeof SHAPES[0]; s++) {
        for (size_t d = 0; d < 2 * sizeof DTYPES / sizeof DTYPES[0]; d++) {
            set_world(s, DTYPES[d / 2], d % 2);
            check(s);
        }
    }
    pool_destroy(WORLD.env.pool);
}

static void check_sums(size_t shape) {
    const struct dense_kernels *list[3];
    unsigned count = kernels_here(list);
    for (unsigned k = 0; k < count; k++) {
        uint64_t tokens = SHAPES[shape].tokens;
        CU_ASSERT_EQUAL(dense_apply_by(list[k], &WORLD.matrix, WORLD.x, tokens, WORLD.y, &WORLD.env, NULL), TSR_OK);
        CU_ASSERT(near(WORLD.y, tokens));
        CU_ASSERT_EQUAL(dense_apply_one_by(list[k], &WORLD.matrix, WORLD.x, WORLD.y, &WORLD.env, NULL), TSR_OK);
        CU_ASSERT(near(WORLD.y, 1));
    }
}

static void every_kernel_sums_all_columns(void) {
    each_case(check_sums);
}

static void check_bits(size_t shape) {
    const struct dense_kernels *list[3];
    unsigned count = kernels_here(list);
    uint64_t tokens = SHAPES[shape].tokens, bytes = tokens * SHAPES[shape].rows * sizeof(float);
    if (count < 3) return;
    CU_ASSERT_EQUAL(dense_apply_by(list[1], &WORLD.matrix, WORLD.x, tokens, WORLD.y, &WORLD.env, NULL), TSR_OK);
    CU_ASSERT_EQUAL(dense_apply_by(list[2], &WORLD.matrix, WORLD.x, tokens, WORLD.other, &WORLD.env, NULL), TSR_OK);
    CU_ASSERT(!memcmp(WORLD.y, WORLD.other, bytes));
}

static void vector_kernels_give_the_same_bits(void) {
    each_case(check_bits);
}

static void check_cuts(size_t shape) {
    uint64_t tokens = SHAPES[shape].tokens, rows = SHAPES[shape].rows, columns = SHAPES[shape].columns;
    CU_ASSERT_EQUAL(dense_apply(&WORLD.matrix, WORLD.x, tokens, WORLD.y, &WORLD.env, NULL), TSR_OK);
    for (uint64_t t = 0; t < tokens; t += 3) {
        uint64_t count = tokens - t < 3 ? tokens - t : 3;
        CU_ASSERT_EQUAL(dense_apply(&WORLD.matrix, WORLD.x + t * columns, count, WORLD.other + t * rows, &WORLD.env, NULL), TSR_OK);
    }
    CU_ASSERT(!memcmp(WORLD.y, WORLD.other, tokens * rows * sizeof(float)));
}

static void results_do_not_depend_on_the_cut(void) {
    each_case(check_cuts);
}

static const struct unit_test TESTS[] = {
    {"every_kernel_sums_all_columns", every_kernel_sums_all_columns},
    {"vector_kernels_give_the_same_bits", vector_kernels_give_the_same_bits},
    {"results_do_not_depend_on_the_cut", results_do_not_depend_on_the_cut},
};
UNIT_MAIN(TESTS)
