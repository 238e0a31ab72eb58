/* SPDX-License-Identifier: Apache-2.0
 *
 * The fast Hadamard transform in plain C, and the table of services. Scaling comes before the butterflies in both
 * directions, so that values grow by sqrt(block) at most. */
#include "hadamard.h"

#include <base/rng.h>

#define BLOCK_MAX (UINT64_C(1) << 22)

/* 64 signs at a time: word i of the random numbers of `seed` belongs to values 64 i .. 64 i + 63. */
static void scale(float *x, uint64_t count, float factor, uint64_t seed) {
    struct rng rng = {seed};
    uint64_t word = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (i % 64 == 0) word = rng_next(&rng);
        x[i] *= word >> (i % 64) & 1 ? -factor : factor;
    }
}

static void flip(float *x, uint64_t count, uint64_t seed) {
    scale(x, count, 1, seed);
}

static void transform(float *x, uint64_t block) {
    for (uint64_t half = 1; half < block; half *= 2) {
        for (uint64_t i = 0; i < block; i += 2 * half) {
            for (uint64_t j = i; j < i + half; j++) {
                float a = x[j], b = x[j + half];
                x[j] = a + b;
                x[j + half] = a - b;
            }
        }
    }
}

const struct hadamard_kernels hadamard_portable = {scale, flip, transform};

const struct hadamard_kernels *hadamard_kernels_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return &hadamard_avx2;
#endif
    return &hadamard_portable;
}

static uint64_t seed_of(const char *name) {
    return rng_seed(name);
}

static uint64_t block_of(uint64_t columns) {
    uint64_t block = columns & (~columns + 1);
    return block == 0 ? 1 : block > BLOCK_MAX ? BLOCK_MAX : block;
}

/* 1 / sqrt(block): a power of two, times sqrt(1/2) for odd powers. */
static float norm_of(uint64_t block) {
    float norm = 1;
    for (; block >= 4; block /= 4) norm *= 0.5f;
    return block == 2 ? norm * 0x1.6a09e6p-1f : norm;
}

static void forward(float *x, uint64_t rows, uint64_t columns, uint64_t seed) {
    const struct hadamard_kernels *use = hadamard_kernels_best();
    const uint64_t block = block_of(columns);
    for (uint64_t r = 0; r < rows; r++, x += columns) {
        use->scale(x, columns, norm_of(block), seed);
        for (uint64_t i = 0; i < columns; i += block) use->transform(x + i, block);
    }
}

static void inverse(float *x, uint64_t rows, uint64_t columns, uint64_t seed) {
    const struct hadamard_kernels *use = hadamard_kernels_best();
    const uint64_t block = block_of(columns);
    const float norm = norm_of(block);
    for (uint64_t r = 0; r < rows; r++, x += columns) {
        for (uint64_t i = 0; i < columns; i++) x[i] *= norm;
        for (uint64_t i = 0; i < columns; i += block) use->transform(x + i, block);
        use->flip(x, columns, seed);
    }
}

const tsr_hadamard *hadamard_services(void) {
    static const tsr_hadamard services = {sizeof services, seed_of, block_of, forward, inverse};
    return &services;
}
