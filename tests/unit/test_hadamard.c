/* SPDX-License-Identifier: Apache-2.0
 *
 * The randomised Hadamard transform: orthogonal, its own inverse but for the signs, the same bits from every kernel. */
#include "unit.h"

#include <base/alloc.h>
#include <base/rng.h>
#include <math.h>
#include <numeric/hadamard.h>
#include <string.h>

static const uint64_t COLUMNS[] = {1, 2, 3, 4, 8, 17, 64, 96, 576, 1000, 1536, 3072, 4096, 32768};

static void fill(float *x, uint64_t count, uint64_t seed) {
    struct rng rng = {seed};
    for (uint64_t i = 0; i < count; i++) x[i] = (float)(rng_real(&rng) + rng_real(&rng) - 1);
}

static double energy(const float *x, uint64_t count) {
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

static void the_block_is_the_largest_power_of_two_that_divides(void) {
    const tsr_hadamard *h = hadamard_services();
    CU_ASSERT_EQUAL(h->block(0), 1);
    CU_ASSERT_EQUAL(h->block(1), 1);
    CU_ASSERT_EQUAL(h->block(576), 64);
    CU_ASSERT_EQUAL(h->block(1000), 8);
    CU_ASSERT_EQUAL(h->block(3072), 1024);
    CU_ASSERT_EQUAL(h->block(UINT64_C(1) << 40), UINT64_C(1) << 22);
}

static void it_equals_the_definition(void) {
    enum { N = 64 };
    float x[N], y[N];
    struct rng rng = {7};
    fill(x, N, 1);
    memcpy(y, x, sizeof y);
    hadamard_services()->forward(y, 1, N, 7);
    uint64_t signs = rng_next(&rng);
    for (unsigned r = 0; r < N; r++) {
        double sum = 0;
        for (unsigned c = 0; c < N; c++) {
            unsigned negative = (unsigned)__builtin_popcount(r & c) + (unsigned)(signs >> c & 1);
            sum += negative % 2 ? -(double)x[c] : (double)x[c];
        }
        CU_ASSERT_DOUBLE_EQUAL((double)y[r], sum / 8, 1e-6);
    }
}

static void energy_is_kept_and_the_inverse_gives_back(void) {
    const tsr_hadamard *h = hadamard_services();
    for (unsigned i = 0; i < sizeof COLUMNS / sizeof COLUMNS[0]; i++) {
        uint64_t count = 2 * COLUMNS[i];
        float *x = mem_alloc_array(count, sizeof *x), *y = mem_alloc_array(count, sizeof *y);
        fill(x, count, i);
        memcpy(y, x, count * sizeof *y);
        h->forward(y, 2, COLUMNS[i], h->seed("a"));
        CU_ASSERT_DOUBLE_EQUAL(energy(y, count), energy(x, count), 1e-5 * energy(x, count));
        h->inverse(y, 2, COLUMNS[i], h->seed("a"));
        for (uint64_t j = 0; j < count; j++) CU_ASSERT_DOUBLE_EQUAL((double)y[j], (double)x[j], 1e-5);
        mem_free(x);
        mem_free(y);
    }
}

/* One large value becomes many small ones, with other signs for another name. */
static void an_outlier_is_spread(void) {
    enum { N = 1024 };
    const tsr_hadamard *h = hadamard_services();
    float x[2][N] = {{0}};
    x[0][5] = x[1][5] = 32;
    x[0][6] = x[1][6] = 1;
    h->forward(x[0], 1, N, h->seed("a"));
    h->forward(x[1], 1, N, h->seed("b"));
    for (unsigned i = 0; i < N; i++) CU_ASSERT(fabsf(x[0][i]) < 1.1f && fabsf(x[0][i]) > 0.9f);
    CU_ASSERT_NOT_EQUAL(memcmp(x[0], x[1], sizeof x[0]), 0);
}

/* Bits recorded once: they go into files. */
static void the_bits_are_those_of_the_first_version(void) {
    static const uint32_t EXPECTED[6] = {0x3f3504f3, 0xc007c3b6, 0x409e6454, 0xbf3504f4, 0x40f8e6ce, 0xbf3504f0};
    float x[6] = {1, 2, 3, 4, 5, 6};
    uint32_t bits[6];
    const tsr_hadamard *h = hadamard_services();
    CU_ASSERT_EQUAL(h->seed("model.layers.0.mlp.up_proj.weight"), UINT64_C(0xBB99F1CAD1E26788));
    h->forward(x, 1, 6, 1);
    memcpy(bits, x, sizeof bits);
    for (int i = 0; i < 6; i++) CU_ASSERT_EQUAL(bits[i], EXPECTED[i]);
}

static void vector_kernels_equal_the_portable_ones(void) {
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2")) return;
    for (uint64_t count = 1; count <= 1 << 14; count = count < 200 ? count + 1 : count * 2) {
        float *x = mem_alloc_array(count, sizeof *x), *y = mem_alloc_array(count, sizeof *y);
        fill(x, count, count);
        memcpy(y, x, count * sizeof *y);
        hadamard_portable.scale(x, count, 0.3f, count);
        hadamard_avx2.scale(y, count, 0.3f, count);
        hadamard_portable.flip(x, count, 99);
        hadamard_avx2.flip(y, count, 99);
        if ((count & (count - 1)) == 0) {
            hadamard_portable.transform(x, count);
            hadamard_avx2.transform(y, count);
        }
        CU_ASSERT_EQUAL(memcmp(x, y, count * sizeof *y), 0);
        mem_free(x);
        mem_free(y);
    }
#endif
}

static const struct unit_test TESTS[] = {
    {"the_block_is_the_largest_power_of_two_that_divides", the_block_is_the_largest_power_of_two_that_divides},
    {"it_equals_the_definition", it_equals_the_definition},
    {"energy_is_kept_and_the_inverse_gives_back", energy_is_kept_and_the_inverse_gives_back},
    {"an_outlier_is_spread", an_outlier_is_spread},
    {"the_bits_are_those_of_the_first_version", the_bits_are_those_of_the_first_version},
    {"vector_kernels_equal_the_portable_ones", vector_kernels_equal_the_portable_ones},
};
UNIT_MAIN(TESTS)
