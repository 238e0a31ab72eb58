/* SPDX-License-Identifier: Apache-2.0
 *
 * The best path down one column: the Viterbi algorithm over squared error plus lambda times bits, all in steps of the
 * rows (Marcellin and Fischer, "Trellis coded quantization of memoryless and Gauss-Markov sources", IEEE Trans. Commun.
 * 38, 1990; with entropy coding: Fischer and Wang 1992). */
#ifndef TRELLIS_PATH_H
#define TRELLIS_PATH_H

#include "trellis_code.h"

/* What indices cost in one class of rows, times lambda, by quantiser; those beyond `limit` cost `escape` and more. */
struct trellis_costs {
    const float *cost[2][2]; /* [quantiser][negative][limit + 1] */
    float escape[2];
    float escape_slope; /* for each doubling of an escaped magnitude beyond 63 */
    uint32_t limit;
};

struct trellis_column {
    const struct trellis_code *code;
    const struct trellis_costs *const *costs; /* [count], of each row's class */
    const float *u;                           /* [count] in steps, magnitudes below 2^24 */
    uint64_t count;
    /* Working memory: [count] of each. */
    int32_t (*choices)[4];
    uint8_t *before;  /* [count][states] */
    int32_t *indices; /* result */
};

static inline uint64_t trellis_column_bytes(uint64_t count, uint32_t states) {
    return count * (sizeof(int32_t[4]) + sizeof(int32_t) + states);
}

/* Starts in state 0, ends in any. */
void trellis_path_find(const struct trellis_column *column);

#endif
