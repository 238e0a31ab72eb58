/* SPDX-License-Identifier: Apache-2.0
 *
 * Host extension "tessera.host.products/0": inner products with the same bits on every machine, for codecs that compare
 * vectors. Element i goes into lane i % 32, an F32 sum of F32 products in order; then lane j takes lane j + 16, then
 * j + 8, 4, 2, 1. No fused multiply-add. */
#ifndef TESSERA_EXT_PRODUCTS_H
#define TESSERA_EXT_PRODUCTS_H

#include "../host.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_PRODUCTS_ID "tessera.host.products/0"

typedef struct tsr_products {
    uint64_t struct_size;
    /* Sum of a[i] * b[i]. Exact to count / 32 + 5 roundings of F32 relative to the sum of |a[i] b[i]|. [any] */
    float (*dot)(const float *a, const float *b, uint64_t count);
    /* Sum of codes[i] * x[i], the same way. [any] */
    float (*dot_codes)(const int8_t *codes, const float *x, uint64_t count);
} tsr_products;

#ifdef __cplusplus
}
#endif
#endif
