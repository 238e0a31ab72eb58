/* SPDX-License-Identifier: Apache-2.0
 *
 * Two rows of logits reduced to how far apart their distributions are. KLD is sum p (log p - log q) in nats, with p the
 * reference (Kullback & Leibler 1951), summed as p (exp(-d) - 1 + d) with d = log p - log q: the same, as q sums to 1, but
 * every term is non-negative, so that divergences of 1e-12 are measured and equal logits give exactly 0. The same bits on
 * every machine up to libm's log. */
#ifndef NUMERIC_DIVERGENCE_H
#define NUMERIC_DIVERGENCE_H

#include <stdbool.h>
#include <stdint.h>

struct divergence {
    double kld;            /* INFINITY where it is no number */
    double p_norm, q_norm; /* log of the sum of exponentials */
    float margin;          /* between the two largest of p; INFINITY where p has one */
    uint32_t p_best, q_best; /* the first of the largest */
};

/* `count` > 0 logits of the reference and of the other. [any] */
void divergence_of(const float *p, const float *q, uint64_t count, struct divergence *result);

/* Both name the same token, and all logits that say so are numbers. [any] */
bool divergence_agrees(const struct divergence *divergence);

/* The loops by themselves, for tests: compiled for any processor, for AVX2, for AVX-512. */
/* Kernels that divergence_of uses: 0 portable, 1 AVX2, 2 AVX-512. [any] */
int divergence_level(void);
typedef void (*divergence_loop)(const float *p, const float *q, uint64_t count, struct divergence *result);
void divergence_scalar(const float *p, const float *q, uint64_t count, struct divergence *result);
void divergence_avx2(const float *p, const float *q, uint64_t count, struct divergence *result);   /* only on x86-64 */
void divergence_avx512(const float *p, const float *q, uint64_t count, struct divergence *result); /* only on x86-64 */

#endif
