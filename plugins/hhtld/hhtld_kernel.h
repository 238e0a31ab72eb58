/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner products, the one hot loop of training, encoding and search. The portable ones in hhtld_kernel.c are the
 * specification: 32 lanes of F32, element i in lane i % 32, added up in halves. The vector ones give the same bits. */
#ifndef HHTLD_KERNEL_H
#define HHTLD_KERNEL_H

#include <stdint.h>

#define HHTLD_KERNEL_LANES 32

struct hhtld_kernels {
    float (*dot)(const float *a, const float *b, uint64_t count);
    float (*dot_codes)(const int8_t *codes, const float *x, uint64_t count);
};

/* The best for this machine. [any] */
const struct hhtld_kernels *hhtld_kernels_get(void);

/* lanes[i] += lanes[i + 16], then 8, 4, 2, 1; the first is the sum. */
float hhtld_kernel_sum(float lanes[HHTLD_KERNEL_LANES]);

extern const struct hhtld_kernels hhtld_kernels_portable;
#if defined(__x86_64__)
extern const struct hhtld_kernels hhtld_kernels_avx2;
#endif

#endif
