/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner products: the bits of the specification from every kernel. */
#include "unit.h"

#include <base/rng.h>
#include <math.h>
#include <numeric/products.h>

enum { MOST = 300 };

static float a[MOST], b[MOST];
static int8_t codes[MOST];

static void fill(uint64_t seed) {
    struct rng rng = {seed};
    for (int i = 0; i < MOST; i++) {
        a[i] = (float)(rng_real(&rng) - 0.5);
        b[i] = (float)(rng_real(&rng) - 0.5);
        codes[i] = (int8_t)((int)rng_below(&rng, 255) - 127);
    }
}

static void vector_kernels_equal_the_portable_ones(void) {
#if defined(__x86_64__)
    fill(9);
    if (!__builtin_cpu_supports("avx2")) return;
    for (uint64_t count = 0; count < MOST; count++) {
        CU_ASSERT_EQUAL(products_avx2.dot(a, b, count), products_portable.dot(a, b, count));
        CU_ASSERT_EQUAL(products_avx2.dot_codes(codes, a, count), products_portable.dot_codes(codes, a, count));
    }
#endif
}

static void products_are_right(void) {
    fill(3);
    for (uint64_t count = 0; count < MOST; count++) {
        double sum = 0, sizes = 0, coded = 0;
        for (uint64_t i = 0; i < count; i++) {
            sum += (double)a[i] * (double)b[i];
            sizes += fabs((double)a[i] * (double)b[i]);
            coded += (double)codes[i] * (double)a[i];
        }
        double rounding = sizes * 0x1p-24 * (double)(count / 32 + 6);
        CU_ASSERT_DOUBLE_EQUAL((double)products_services()->dot(a, b, count), sum, rounding);
        CU_ASSERT_DOUBLE_EQUAL((double)products_services()->dot_codes(codes, a, count), coded, 127 * 0x1p-20);
    }
}

static const struct unit_test TESTS[] = {
    {"vector_kernels_equal_the_portable_ones", vector_kernels_equal_the_portable_ones},
    {"products_are_right", products_are_right},
};
UNIT_MAIN(TESTS)
