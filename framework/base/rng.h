/* SPDX-License-Identifier: Apache-2.0
 *
 * Reproducible random numbers: splitmix64 (Steele, Lea, Flood 2014). Seeds come from names, never from time. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng) {
    uint64_t z = (rng->state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Uniform in [0, 1), 53 bits. */
static inline double rng_real(struct rng *rng) {
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

__extension__ typedef unsigned __int128 rng_wide;

/* Uniform in 0..bound-1 for bound > 0; the bias is below bound / 2^64. */
static inline uint64_t rng_below(struct rng *rng, uint64_t bound) {
    return (uint64_t)(((rng_wide)rng_next(rng) * bound) >> 64);
}

/* FNV-1a of a name: a seed that is the same everywhere. */
static inline uint64_t rng_seed(const char *name) {
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (; *name; name++) hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001B3);
    return hash;
}

#endif
