/* SPDX-License-Identifier: Apache-2.0
 *
 * Second moments: near sums in double on odd shapes, the same bits from any number of workers and by AVX2 and AVX-512,
 * whether a product is shared or not. */
#include "unit.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <base/rng.h>
#include <math.h>
#include <numeric/dense.h>
#include <numeric/gram.h>
#include <string.h>

enum { N_MAX = 200, COUNT_MAX = 1100, TARGETS = 11 };

static const struct {
    uint64_t n, count;
} SHAPES[] = {{1, 1}, {5, 3}, {64, 64}, {65, 100}, {97, 512}, {130, 513}, {200, 1100}};

static float X[N_MAX * COUNT_MAX], Y[N_MAX * COUNT_MAX];
static float ONE[N_MAX * N_MAX], OTHER[N_MAX * N_MAX], MANY[TARGETS][N_MAX * N_MAX];

static void fill(float *values, uint64_t count, const char *seed) {
    struct rng rng = {rng_seed(seed)};
    for (uint64_t i = 0; i < count; i++) values[i] = (float)(rng_real(&rng) * 2 - 1);
}

/* sums = moments of X and then of Y, finished. */
static void make(const struct dense_kernels *kernels, size_t shape, uint64_t workers, float *sums) {
    struct env env = {.pool = pool_create(workers)};
    struct gram gram = {.kernels = kernels};
    uint64_t n = SHAPES[shape].n, count = SHAPES[shape].count;
    float zeros[N_MAX] = {0};
    memset(sums, 0, n * n * sizeof *sums);
    CU_ASSERT_EQUAL(gram_add(&gram, sums, n, X, count, &env, NULL), TSR_OK);
    CU_ASSERT_EQUAL(gram_add(&gram, sums, n, Y, count, &env, NULL), TSR_OK);
    CU_ASSERT_EQUAL(gram_flush(&gram, &env, NULL), TSR_OK);
    gram_finish(sums, n, 0.5, zeros);
    gram_clear(&gram);
    pool_destroy(env.pool);
}

static void fill_inputs(void) {
    fill(X, N_MAX * COUNT_MAX, "x");
    fill(Y, N_MAX * COUNT_MAX, "y");
    dense_setup();
}

static double worst(size_t shape, const float *sums) {
    uint64_t n = SHAPES[shape].n, count = SHAPES[shape].count;
    double worst_so_far = 0;
    for (uint64_t r = 0; r < n; r++) {
        for (uint64_t c = 0; c < n; c++) {
            double sum = 0, size = 1e-30;
            for (uint64_t t = 0; t < count && r != c; t++) {
                double a = (double)X[t * n + r] * (double)X[t * n + c], b = (double)Y[t * n + r] * (double)Y[t * n + c];
                sum += 0.5 * (a + b);
                size += fabs(a) + fabs(b);
            }
            worst_so_far = fmax(worst_so_far, fabs((double)sums[r * n + c] - sum) / size);
        }
    }
    return worst_so_far;
}

static void moments_are_near_sums_in_double(void) {
    fill_inputs();
    for (size_t s = 0; s < sizeof SHAPES / sizeof SHAPES[0]; s++) {
        make(NULL, s, 2, ONE);
        CU_ASSERT(worst(s, ONE) < 1e-6);
        make(&dense_kernels_scalar, s, 2, ONE); /* OpenBLAS */
        CU_ASSERT(worst(s, ONE) < 1e-6);
    }
}

static void bits_depend_on_neither_workers_nor_vectors(void) {
    fill_inputs();
    for (size_t s = 0; s < sizeof SHAPES / sizeof SHAPES[0]; s++) {
        uint64_t bytes = SHAPES[s].n * SHAPES[s].n * sizeof *ONE;
        make(NULL, s, 1, ONE);
        make(NULL, s, 7, OTHER);
        CU_ASSERT(!memcmp(ONE, OTHER, bytes));
#if defined(__x86_64__)
        if (dense_kernels_best() == &dense_kernels_scalar) continue;
        make(&dense_kernels_avx2, s, 2, OTHER);
        CU_ASSERT(!memcmp(ONE, OTHER, bytes));
#endif
    }
}

/* More matrices than wait at once get the same rows, then rows of another width come, then the first again. */
static void what_shares_rows_gets_what_it_got_alone(void) {
    struct env env = {.pool = pool_create(3)};
    struct gram gram = {0};
    uint64_t n = 97, count = 300;
    float narrow[9] = {0}, zeros[N_MAX] = {0};
    fill_inputs();
    memset(ONE, 0, sizeof ONE);
    memset(MANY, 0, sizeof MANY);
    for (int turn = 0; turn < 2; turn++) {
        CU_ASSERT_EQUAL(gram_add(&gram, ONE, n, turn ? Y : X, count, &env, NULL), TSR_OK);
        CU_ASSERT_EQUAL(gram_flush(&gram, &env, NULL), TSR_OK);
    }
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < TARGETS; i++) {
            CU_ASSERT_EQUAL(gram_add(&gram, MANY[i], n, turn ? Y : X, count, &env, NULL), TSR_OK);
        }
        CU_ASSERT_EQUAL(gram_add(&gram, narrow, 3, X, 4, &env, NULL), TSR_OK);
    }
    CU_ASSERT_EQUAL(gram_flush(&gram, &env, NULL), TSR_OK);
    gram_finish(ONE, n, 1, zeros);
    for (int i = 0; i < TARGETS; i++) {
        gram_finish(MANY[i], n, 1, zeros);
        CU_ASSERT(!memcmp(ONE, MANY[i], n * n * sizeof *ONE));
    }
    gram_clear(&gram);
    pool_destroy(env.pool);
}

static void squares_are_sums_in_order(void) {
    struct env env = {.pool = pool_create(2)};
    double squares[N_MAX] = {0}, sums[N_MAX] = {0};
    fill_inputs();
    CU_ASSERT_EQUAL(gram_squares(squares, 200, X, 50, &env, NULL), TSR_OK);
    for (uint64_t t = 0; t < 50; t++) {
        for (uint64_t c = 0; c < 200; c++) sums[c] += (double)X[t * 200 + c] * (double)X[t * 200 + c];
    }
    CU_ASSERT(!memcmp(squares, sums, sizeof sums));
    pool_destroy(env.pool);
}

static const struct unit_test TESTS[] = {
    {"moments_are_near_sums_in_double", moments_are_near_sums_in_double},
    {"bits_depend_on_neither_workers_nor_vectors", bits_depend_on_neither_workers_nor_vectors},
    {"what_shares_rows_gets_what_it_got_alone", what_shares_rows_gets_what_it_got_alone},
    {"squares_are_sums_in_order", squares_are_sums_in_order},
};

UNIT_MAIN(TESTS)
