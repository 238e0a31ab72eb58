/* SPDX-License-Identifier: Apache-2.0
 *
 * The products of tessera/ext/products.h. The portable ones in products.c are the specification; the vector ones give
 * the same bits. */
#ifndef NUMERIC_PRODUCTS_H
#define NUMERIC_PRODUCTS_H

#include <tessera/ext/products.h>

#define PRODUCTS_LANES 32

/* The best for this machine. [any] */
const tsr_products *products_services(void);

/* lanes[i] += lanes[i + 16], then 8, 4, 2, 1; the first is the sum. */
float products_sum(float lanes[PRODUCTS_LANES]);

extern const tsr_products products_portable;
#if defined(__x86_64__)
extern const tsr_products products_avx2;
#endif

#endif
