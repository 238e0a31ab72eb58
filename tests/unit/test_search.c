/* SPDX-License-Identifier: Apache-2.0
 *
 * Exact scores and near-duplicates: kernels agree, no pair is missed. */
#include "unit.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <base/rng.h>
#include <math.h>
#include <numeric/score.h>
#include <search/search_duplicates.h>
#include <stdlib.h>
#include <string.h>

static float normal(struct rng *rng) {
    double sum = -6;
    for (int j = 0; j < 12; j++) sum += rng_real(rng);
    return (float)sum;
}

static void vector_scores_equal_the_portable_ones(void) {
#if defined(__x86_64__)
    float a[200], b[200];
    struct rng rng = {4};
    if (!__builtin_cpu_supports("avx2")) return;
    for (int i = 0; i < 200; i++) {
        a[i] = normal(&rng);
        b[i] = normal(&rng) * 1e20f;
    }
    for (uint64_t count = 0; count < 200; count++) {
        CU_ASSERT_EQUAL(score_avx2.inner(a, b, count), score_portable.inner(a, b, count));
        CU_ASSERT_EQUAL(score_avx2.distance(a, b, count), score_portable.distance(a, b, count));
    }
#endif
}

static void scores_are_right(void) {
    const float a[3] = {1, 2, 3}, b[3] = {4, -5, 0.5f};
    CU_ASSERT_EQUAL(score_kernels()->inner(a, b, 3), -4.5);
    CU_ASSERT_EQUAL(score_kernels()->distance(a, b, 3), 9 + 49 + 6.25);
    CU_ASSERT_EQUAL(score_kernels()->inner(a, b, 0), 0);
}

/* Rows in families of a common direction with more or less noise; zeros, NaN and Inf among them. */
static float *make_rows(uint64_t rows, uint64_t columns) {
    float *x = mem_alloc_zero(rows * columns + 1, sizeof *x);
    for (uint64_t r = 0; r < rows; r++) {
        struct rng rng = {r + 1}, family = {1000 + r % 50};
        double noise = rng_real(&rng), length = 0.01 + 100 * rng_real(&rng);
        for (uint64_t c = 0; c < columns; c++) {
            x[r * columns + c] = (float)(length * ((double)normal(&family) + noise * (double)normal(&rng)));
        }
    }
    if (rows > 40) {
        memset(x + 7 * columns, 0, columns * sizeof *x);
        x[11 * columns] = NAN;
        x[13 * columns] = INFINITY;
    }
    return x;
}

static double cosine_of(const float *a, const float *b, uint64_t columns) {
    double ab = score_portable.inner(a, b, columns), aa = score_portable.inner(a, a, columns);
    double bb = score_portable.inner(b, b, columns);
    return isfinite(aa) && isfinite(bb) && aa > 0 && bb > 0 ? ab / (sqrt(aa) * sqrt(bb)) : NAN;
}

static void check_pairs(uint64_t rows, uint64_t columns, double cosine, const struct env *env) {
    float *x = make_rows(rows, columns);
    const struct search_rows matrix = {(uint8_t *)x, rows, columns, 4, TSR_DTYPE_F32};
    struct search_pairs pairs = {.limit = 1000000};
    uint64_t at = 0;
    CU_ASSERT_EQUAL_FATAL(search_duplicates(&matrix, cosine, env, &pairs, NULL), TSR_OK);
    for (uint64_t a = 0; a < rows; a++) {
        for (uint64_t b = a + 1; b < rows; b++) {
            if (!(cosine_of(x + a * columns, x + b * columns, columns) >= cosine)) continue;
            CU_ASSERT_FATAL(at < pairs.kept && pairs.items[at].a == a && pairs.items[at].b == b);
            at++;
        }
    }
    CU_ASSERT_EQUAL(at, pairs.kept);
    CU_ASSERT_EQUAL(pairs.count, pairs.kept);
    CU_ASSERT(pairs.compared <= rows * rows / 2);
    search_pairs_clear(&pairs);
    mem_free(x);
}

static void no_near_duplicate_is_missed(void) {
    static const uint64_t COLUMNS[] = {1, 7, 8, 65, 200};
    static const double COSINES[] = {0.3, 0.9, 0.99, 1};
    struct env env = {.pool = pool_create(2)};
    for (unsigned c = 0; c < 5; c++) {
        for (unsigned t = 0; t < 4; t++) check_pairs(300, COLUMNS[c], COSINES[t], &env);
    }
    check_pairs(0, 8, 0.9, &env);
    check_pairs(1, 8, 0.9, &env);
    pool_destroy(env.pool);
}

static void pairs_beyond_the_limit_are_counted(void) {
    struct env env = {.pool = pool_create(1)};
    float x[40];
    for (int i = 0; i < 40; i++) x[i] = 1;
    const struct search_rows matrix = {(uint8_t *)x, 10, 4, 4, TSR_DTYPE_F32};
    struct search_pairs pairs = {.limit = 5};
    CU_ASSERT_EQUAL(search_duplicates(&matrix, 0.9, &env, &pairs, NULL), TSR_OK);
    CU_ASSERT_EQUAL(pairs.count, 45);
    CU_ASSERT_EQUAL(pairs.kept, 5);
    search_pairs_clear(&pairs);
    pool_destroy(env.pool);
}

static const struct unit_test TESTS[] = {
    {"vector_scores_equal_the_portable_ones", vector_scores_equal_the_portable_ones},
    {"scores_are_right", scores_are_right},
    {"no_near_duplicate_is_missed", no_near_duplicate_is_missed},
    {"pairs_beyond_the_limit_are_counted", pairs_beyond_the_limit_are_counted},
};
UNIT_MAIN(TESTS)
