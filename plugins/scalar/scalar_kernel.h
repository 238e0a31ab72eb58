/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner loops of the scalar codec. The portable ones in scalar_kernel.c are the specification; the vector ones give
 * the same bits and are chosen at run time. */
#ifndef SCALAR_KERNEL_H
#define SCALAR_KERNEL_H

#include <stdint.h>

struct scalar_quantiser {
    float inverse;  /* 1 / step */
    float rounding; /* 1/2 less the dead zone */
    uint32_t limit, middle;
};

struct scalar_kernels {
    /* Sum of squares of x[count] in eight lanes of double, added pairwise; *largest gets the largest magnitude. */
    double (*energy)(const float *x, uint64_t count, float *largest);
    /* symbols[i] = middle + sign(x) * trunc(|x| * inverse + rounding), or the escape 2 * middle + 1 where that
     * magnitude is above limit. |x| * inverse is below 2^30. Returns the number of escapes. */
    uint64_t (*quantise)(const float *x, uint64_t count, const struct scalar_quantiser *quantiser, uint16_t *symbols);
    /* x[i] = values[symbols[i]] * step for symbols up to `escape`. Returns how many are equal to `escape`. */
    uint64_t (*reconstruct)(const uint16_t *symbols, uint64_t count, const float *values, float step, uint32_t escape,
                            float *x);
};

/* The best for this machine. [any] */
const struct scalar_kernels *scalar_kernels_get(void);

extern const struct scalar_kernels scalar_kernels_portable;
#if defined(__x86_64__)
extern const struct scalar_kernels scalar_kernels_avx2;
#endif

#endif
