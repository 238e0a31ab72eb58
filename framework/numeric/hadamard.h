/* SPDX-License-Identifier: Apache-2.0
 *
 * The randomised Hadamard transform as the host lends it to plugins (tessera/ext/hadamard.h). Knows no codec. */
#ifndef NUMERIC_HADAMARD_H
#define NUMERIC_HADAMARD_H

#include <tessera/ext/hadamard.h>

struct hadamard_kernels {
    /* x[i] is multiplied by `scale`, and by -1 where bit i of the random signs of `seed` is set. */
    void (*scale)(float *x, uint64_t count, float scale, uint64_t seed);
    /* Flips the signs alone. */
    void (*flip)(float *x, uint64_t count, uint64_t seed);
    /* Unnormalised Hadamard transform of x[block], a power of two: butterflies of distance 1, 2, 4, .. in this order.
     */
    void (*transform)(float *x, uint64_t block);
};

/* The portable ones are the specification. */
extern const struct hadamard_kernels hadamard_portable;
#if defined(__x86_64__)
extern const struct hadamard_kernels hadamard_avx2;
#endif

/* What get_extension returns for TSR_HADAMARD_ID. Static. [any] */
const struct hadamard_kernels *hadamard_kernels_best(void);
const tsr_hadamard *hadamard_services(void);

#endif
