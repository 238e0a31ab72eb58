/* SPDX-License-Identifier: Apache-2.0
 *
 * Vector forms of the conversions in dtype.c, which picks them at run time. Each converts the largest multiple of eight
 * elements up to `count` and returns how many that were; the scalar code does the rest and is the specification: both
 * give the same bits. Where the machine is another one, the functions do nothing and return 0. */
#ifndef FORMAT_DTYPE_VECTOR_H
#define FORMAT_DTYPE_VECTOR_H

#include <stdint.h>

/* Call only where the processor has AVX2 and F16C. [any] */
uint64_t dtype_avx2_bf16_to_f32(const void *src, uint64_t count, float *dst);
uint64_t dtype_avx2_f16_to_f32(const void *src, uint64_t count, float *dst);
uint64_t dtype_avx2_f32_to_bf16(const float *src, uint64_t count, void *dst);
uint64_t dtype_avx2_f32_to_f16(const float *src, uint64_t count, void *dst);

/* The specification, as dtype_to_f32 and dtype_from_f32 without vectors. [any] */
void dtype_to_f32_scalar(int32_t dtype, const void *src, uint64_t count, float *dst);
void dtype_from_f32_scalar(int32_t dtype, const float *src, uint64_t count, void *dst);

#endif
