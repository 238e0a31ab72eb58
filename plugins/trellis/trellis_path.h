/* SPDX-License-Identifier: Apache-2.0
 *
 * The best paths down some columns: the Viterbi algorithm over squared error plus lambda times bits, all in steps of
 * the rows (Marcellin and Fischer, "Trellis coded quantization of memoryless and Gauss-Markov sources", IEEE Trans.
 * Commun. 38, 1990; with entropy coding: Fischer and Wang 1992). */
#ifndef TRELLIS_PATH_H
#define TRELLIS_PATH_H

#include "trellis_code.h"

enum {
    TRELLIS_LANES = 8,      /* columns side by side */
    TRELLIS_SEGMENT = 4096, /* rows of a path that are decided at once */
    TRELLIS_COSTS = 2048    /* magnitudes whose cost is told apart */
};

/* Up to TRELLIS_SEGMENT rows of TRELLIS_LANES columns. */
struct trellis_strip {
    const struct trellis_code *code;
    /* What magnitudes cost at a scale, times lambda, by quantiser; larger ones cost what the last one does. */
    const float *costs;                       /* [scales][2][TRELLIS_COSTS] */
    int32_t scales;
    const int32_t *rows;                      /* [count] codes; the scale is row + column within 0..scales - 1 */
    int32_t columns[TRELLIS_LANES];
    const float *u;                           /* [count][TRELLIS_LANES] in steps, magnitudes below 2^23 */
    uint64_t count;
    uint8_t states[TRELLIS_LANES]; /* where paths begin; gets where they end */
    int32_t *indices;              /* [count][TRELLIS_LANES]: the result */
    int32_t *choices;              /* [count][4][TRELLIS_LANES]: room, and for `before` [count][code->states] */
    uint8_t *before;
};

/* Both give the same: ties go to the smaller magnitude and to the lower state, in F32 with a fixed order. */
typedef void trellis_find(struct trellis_strip *strip);
trellis_find trellis_find_portable;
#if defined(__x86_64__)
trellis_find trellis_find_avx2;
#endif

/* The best for this machine. [any] */
trellis_find *trellis_find_get(void);

/* From decisions to indices, for the two above: before[row][state] has a bit for each lane. */
void trellis_trace(struct trellis_strip *strip);

enum { TRELLIS_RENORMALISE = 128 }; /* rows between subtractions of the least metric, which keep sums exact enough */
#define TRELLIS_NEVER 1e30f         /* metric of a state that no path has reached */

#endif
