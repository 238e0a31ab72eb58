/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner loops of generic-causal-lm: every form agrees with the scalar one, AVX2 and AVX-512 give the same bits, lengths that
 * fill no vector included; exp and the gates are as exact as they say. */
#include "unit.h"

#include "../../models/generic-causal-lm/kernels.h"

#include <base/rng.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { MAX = 4096 };

static float A[MAX], B[MAX], WANT[MAX], GOT[2][MAX];

static void fill(float *values, const char *seed) {
    struct rng rng = {rng_seed(seed)};
    for (int i = 0; i < MAX; i++) values[i] = (float)(rng_real(&rng) * 8 - 4);
}

/* The vector forms that this processor has. */
static int forms(const struct kernels *list[2]) {
    int count = 0;
#if defined(__x86_64__)
    if (kernels_best() != &kernels_scalar) list[count++] = &kernels_avx2;
    if (kernels_best() == &kernels_avx512) list[count++] = &kernels_avx512;
#endif
    return count;
}

static bool near(const float *a, const float *b, uint64_t count, double tolerance) {
    double worst = 0;
    for (uint64_t i = 0; i < count; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]) / (1 + fabs((double)a[i])));
    }
    return worst <= tolerance;
}

/* Runs one operation by all forms on copies of A, and compares the first `count` values. */
static void compare(void (*run)(const struct kernels *kernels, float *values, uint64_t count), uint64_t count) {
    const struct kernels *list[2];
    int there = forms(list);
    memcpy(WANT, A, sizeof A);
    run(&kernels_scalar, WANT, count);
    for (int f = 0; f < there; f++) {
        memcpy(GOT[f], A, sizeof A);
        run(list[f], GOT[f], count);
        CU_ASSERT(near(WANT, GOT[f], MAX, 2e-5));
    }
    if (there == 2) CU_ASSERT(!memcmp(GOT[0], GOT[1], sizeof GOT[0]));
}

static void run_add_scaled(const struct kernels *kernels, float *values, uint64_t count) {
    kernels->add_scaled(values, 0.37f, B, count);
}

static void run_scale(const struct kernels *kernels, float *values, uint64_t count) {
    kernels->scale(values, values, 0.3f, B, 1.0f, count);
}

static void run_multiply_by(const struct kernels *kernels, float *values, uint64_t count) {
    kernels->multiply_by(values, B, count);
}

static void run_silu(const struct kernels *kernels, float *values, uint64_t count) {
    kernels->gate(values, 1, 0, count);
}

static void run_gelu(const struct kernels *kernels, float *values, uint64_t count) {
    kernels->gate(values, 1.5957691f, 0.0713548f, count);
}

static void run_squares(const struct kernels *kernels, float *values, uint64_t count) {
    values[0] = (float)kernels->squares(B, count);
}

static void rows_of_any_length_agree(void) {
    static void (*const runs[])(const struct kernels *, float *, uint64_t) = {run_add_scaled, run_scale, run_multiply_by,
                                                                              run_silu,       run_gelu,  run_squares};
    static const uint64_t lengths[] = {0, 1, 7, 8, 15, 16, 17, 31, 33, 576, 1000};
    fill(A, "a");
    fill(B, "b");
    for (size_t r = 0; r < sizeof runs / sizeof runs[0]; r++) {
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) compare(runs[r], lengths[i]);
    }
}

static uint64_t first_shown, width_shown;

static void run_exponentials(const struct kernels *kernels, float *values, uint64_t count) {
    float sum = kernels->exponentials(values, first_shown, count, width_shown);
    values[width_shown] = sum;
}

/* Zeros outside the window, and the same bits in a wider row. */
static void exponentials_agree_and_do_not_depend_on_width(void) {
    static const uint64_t ends[] = {1, 5, 16, 17, 63, 64, 100, 640};
    fill(A, "scores");
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        for (first_shown = 0; first_shown < ends[i]; first_shown += 7) {
            float narrow[MAX];
            width_shown = (ends[i] + 63) / 64 * 64;
            compare(run_exponentials, ends[i]);
            memcpy(narrow, WANT, sizeof narrow);
            width_shown += 128;
            compare(run_exponentials, ends[i]);
            CU_ASSERT(!memcmp(narrow, WANT, ends[i] * sizeof *narrow));
            CU_ASSERT_EQUAL(narrow[width_shown - 128], WANT[width_shown]);
            for (uint64_t j = 0; j < width_shown; j++) CU_ASSERT((j >= first_shown && j < ends[i]) || WANT[j] == 0);
        }
    }
}

static void exp_is_within_two_units_in_the_last_place(void) {
    double worst = 0;
    for (float x = -86; x <= 0; x += 0.00371f) {
        float row[16] = {x, 0};
        (void)kernels_best()->exponentials(row, 0, 2, 16);
        worst = fmax(worst, fabs((double)row[0] / exp((double)x) - 1));
    }
    CU_ASSERT(worst < 2.4e-7);
}

/* A broken weight must show in the logits, whatever the bits of its NaN. */
static void no_number_stays_no_number(void) {
    const struct kernels *list[3] = {&kernels_scalar};
    int there = 1 + forms(list + 1);
    uint32_t bits = 0x7FC00123;
    for (int f = 0; f < there; f++) {
        float row[16] = {1, 2, 3};
        memcpy(&row[1], &bits, sizeof bits);
        list[f]->gate(row, 1, 0, 3);
        CU_ASSERT(isnan(row[1]) && !isnan(row[0]) && !isnan(row[2]));
        CU_ASSERT(isnan(list[f]->exponentials(row, 0, 3, 16)));
    }
}

static void check_product(uint64_t rows, uint64_t columns, uint64_t depth) {
    struct kernel_product product = {A, B, WANT, depth + 3, columns + 5, columns + 1, rows, columns, depth};
    const struct kernels *list[2];
    int there = forms(list);
    memset(WANT, 0, sizeof WANT);
    memset(GOT, 0, sizeof GOT);
    kernels_scalar.multiply(&product);
    for (int f = 0; f < there; f++) {
        product.c = GOT[f];
        list[f]->multiply(&product);
        CU_ASSERT(near(WANT, GOT[f], MAX, 1e-5));
    }
    if (there == 2) CU_ASSERT(!memcmp(GOT[0], GOT[1], sizeof GOT[0]));
}

static void products_agree(void) {
    static const uint64_t rows[] = {1, 2, 3, 5, 6, 7, 13, 24}, columns[] = {16, 48, 64, 80};
    fill(A, "a");
    fill(B, "b");
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
            check_product(rows[r], columns[c], 1);
            check_product(rows[r], columns[c], 37);
        }
    }
}

static const struct unit_test TESTS[] = {
    {"rows_of_any_length_agree", rows_of_any_length_agree},
    {"exponentials_agree_and_do_not_depend_on_width", exponentials_agree_and_do_not_depend_on_width},
    {"exp_is_within_two_units_in_the_last_place", exp_is_within_two_units_in_the_last_place},
    {"no_number_stays_no_number", no_number_stays_no_number},
    {"products_agree", products_agree},
};
UNIT_MAIN(TESTS)
