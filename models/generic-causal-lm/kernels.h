/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner loops of everything that is no product with weights: attention, norms, activations. The scalar code is the
 * specification: sums run in 16 lanes (element i in lane i mod 16) that then fold in halves, products are one chain over
 * depth. Vector code keeps these orders and fuses multiply-adds, so it may differ from scalar code in the last bits; AVX2
 * and AVX-512 give the same bits. One machine always takes the same path. */
#ifndef CAUSAL_LM_KERNELS_H
#define CAUSAL_LM_KERNELS_H

#include <stdint.h>

#define KERNEL_LANES 16

/* c [rows][columns] = a [rows][depth] b [depth][columns]; strides in floats, columns a multiple of KERNEL_LANES. */
struct kernel_product {
    const float *a, *b;
    float *c;
    uint64_t a_stride, b_stride, c_stride;
    uint64_t rows, columns, depth;
};

struct kernels {
    void (*multiply)(const struct kernel_product *product);
    /* row[i] = exp(row[i] - largest) for first <= i < end and 0 elsewhere in [0, width); returns the sum. width is a multiple
     * of KERNEL_LANES; what does not depend on zeros beside [first, end) does not depend on width. */
    float (*exponentials)(float *row, uint64_t first, uint64_t end, uint64_t width);
    void (*add_scaled)(float *y, float scale, const float *x, uint64_t count); /* y += scale * x */
    double (*squares)(const float *x, uint64_t count);             /* sum of x[i]^2 */
    /* y = x * factor * (weight + offset) */
    void (*scale)(float *y, const float *x, float factor, const float *weight, float offset, uint64_t count);
    void (*multiply_by)(float *y, const float *x, uint64_t count); /* y *= x */
    /* x = x / (1 + exp(-(linear x + cubic x^3))): SiLU and the fast forms of GELU. */
    void (*gate)(float *x, float linear, float cubic, uint64_t count);
};

/* The fastest this processor runs. [any] */
const struct kernels *kernels_best(void);
extern const struct kernels kernels_scalar;
extern const struct kernels kernels_avx2;   /* only where __x86_64__ */
extern const struct kernels kernels_avx512; /* only where __x86_64__ */

/* exp by 2^n times a polynomial of Cephes' expf (Moshier), within 2 ulp; arguments outside are moved to the ends, NaN stays. Written
 * without fused operations, so that every form gives the same bits. */
#define EXP_LOWEST -86.0f
#define EXP_HIGHEST 88.0f
#define EXP_LOG2E 1.44269504088896341f
#define EXP_ROUND 12582912.0f /* 1.5 * 2^23: its low bits become the rounded integer */
#define EXP_LN2_HIGH 0.693359375f
#define EXP_LN2_LOW -2.12194440e-4f
#define EXP_TERMS {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}

#endif
