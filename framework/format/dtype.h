/* SPDX-License-Identifier: Apache-2.0
 *
 * The dtypes of safetensors: names, widths, and conversion of the float ones to and from F32. Knows no file. */
#ifndef FORMAT_DTYPE_H
#define FORMAT_DTYPE_H

#include <stdbool.h>
#include <tessera/tensor.h>

/* "BF16"; "?" for TSR_DTYPE_OPAQUE. [any] */
const char *dtype_name(int32_t dtype);
/* TSR_DTYPE_OPAQUE for a name this version does not know. [any] */
int32_t dtype_from_name(const char *name);
/* Bits an element: 4 for F4, 0 for OPAQUE. [any] */
uint32_t dtype_bits(int32_t dtype);

/* True when dtype_to_f32 takes it: F32, F16, BF16. [any] */
bool dtype_is_float(int32_t dtype);
/* Exact widening. src and dst do not overlap; src need not be aligned. [any] */
void dtype_to_f32(int32_t dtype, const void *src, uint64_t count, float *dst);
/* Rounds to nearest, ties to even; beyond the largest finite value of the dtype gives that value (a codec's overshoot
 * must not become Inf); NaN stays NaN. [any] */
void dtype_from_f32(int32_t dtype, const float *src, uint64_t count, void *dst);
/* True when every F32 of values[count] is finite. [any] */
bool dtype_all_finite(const float *values, uint64_t count);

#endif
