/* SPDX-License-Identifier: Apache-2.0
 *
 * Host extension "tessera.host.hadamard/0": a randomised Hadamard transform of rows, lent to codecs whose quantiser wants
 * Gaussian values whatever the weights look like (Ailon and Chazelle 2006; in quantisation: Chee et al. 2023,
 * arXiv:2307.13304). A row is cut into blocks of the largest power of two that divides its length, so nothing is padded
 * and nothing is lost; each block x becomes H s x / sqrt(block), s being random signs. It is orthogonal: errors and inner
 * products keep their size. F32 additions in a fixed order and one multiplication: the same bits on every machine, from
 * vector and scalar code. docs/format.md, section 9, has the arithmetic. */
#ifndef TESSERA_EXT_HADAMARD_H
#define TESSERA_EXT_HADAMARD_H

#include "../host.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_HADAMARD_ID "tessera.host.hadamard/0"

typedef struct tsr_hadamard {
    uint64_t struct_size;
    /* Signs of a tensor: a hash of its name. Store it: a decoder must not depend on names. [any] */
    uint64_t (*seed)(const char *name);
    /* Length of a block: the largest power of two that divides columns, at most 2^22; 1 for columns 0. [any] */
    uint64_t (*block)(uint64_t columns);
    /* Each of x[rows][columns] in place. Finite where |x| is below 2^127 / sqrt(block). [any] */
    void (*forward)(float *x, uint64_t rows, uint64_t columns, uint64_t seed);
    /* The inverse of forward up to rounding, about 2^-23 of the block's norm. [any] */
    void (*inverse)(float *x, uint64_t rows, uint64_t columns, uint64_t seed);
} tsr_hadamard;

#ifdef __cplusplus
}
#endif
#endif
