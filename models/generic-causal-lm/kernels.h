/* SPDX-License-Identifier: Apache-2.0
 *
 * The two inner loops of attention. The scalar code is the specification: eight running sums, then a fixed tree; the
 * vector code sums in the same order with fused multiply-add, so it may differ in the last bits. One machine always
 * takes the same path. */
#ifndef CAUSAL_LM_KERNELS_H
#define CAUSAL_LM_KERNELS_H

#include <stdint.h>

struct kernels {
    float (*dot)(const float *a, const float *b, uint64_t count);
    void (*add_scaled)(float *y, float scale, const float *x, uint64_t count); /* y += scale * x */
};

/* The fastest this processor runs. [any] */
const struct kernels *kernels_best(void);
extern const struct kernels kernels_avx2; /* only where __x86_64__ */

#endif
