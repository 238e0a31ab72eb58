/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner loops of the scalar codec. The portable ones in scalar_kernel.c are the specification; the vector ones give
 * the same bits and are chosen at run time. */
#ifndef SCALAR_KERNEL_H
#define SCALAR_KERNEL_H

#include <stdint.h>

struct scalar_quantiser {
    float inverse;  /* 1 / step */
    float rounding; /* 1/2 less the dead zone */
    uint32_t limit, middle;
};

struct scalar_kernels {
    /* Sum of squares of x[count] in eight lanes of double, added pairwise; *largest gets the largest magnitude. */
    double (*energy)(const float *x, uint64_t count, float *largest);
    /* Sum of x^2 * gain, in the same eight lanes. */
    double (*spread)(const float *x, const float *gain, uint64_t count);
    /* contexts[i] = row + columns[i], within 0..last. row is an int8_t. */
    void (*contexts)(const int8_t *columns, uint64_t count, int32_t row, int32_t last, uint8_t *contexts);
    /* symbols[i] = middle + sign(x) * trunc(|x| * inverse + rounding), or the escape 2 * middle + 1 where that
     * magnitude is above limit. |x| * inverse is below 2^30. Returns the number of escapes. */
    uint64_t (*quantise)(const float *x, uint64_t count, const struct scalar_quantiser *quantiser, uint16_t *symbols);
    /* x[i] = values[symbols[i]] * step for symbols up to `escape`. Returns how many are equal to `escape`. */
    uint64_t (*reconstruct)(const uint16_t *symbols, uint64_t count, const float *values, float step, uint32_t escape,
                            float *x);
};

/* Columns travel in blocks of 64: byte 4 l + k of a block belongs to its column 16 k + l, so that one load and three
 * shifts give four vectors of 16 neighbours. */
#define SCALAR_BLOCK 64
#define SCALAR_TABLE_MAX 128

static inline uint64_t scalar_code_place(uint64_t column) {
    uint64_t inside = column % SCALAR_BLOCK;
    return column - inside + inside % 16 * 4 + inside / 16;
}

/* One segment of some packed rows. */
struct scalar_rows {
    const uint8_t *codes;   /* whole blocks, those behind `columns` any */
    uint64_t row_bytes;     /* from one row's codes to the next */
    uint64_t rows, columns;
    const float *points;    /* [lists][table] */
    uint64_t table;         /* 32, 64 or 128 */
    const float *steps;     /* of the segment of each row, `stride` apart; lists likewise */
    const uint8_t *lists;
    uint64_t stride;
    int32_t dtype;          /* F32, F16 or BF16 */
    const float *x;         /* [columns] */
};

/* Products with packed tiles. They need not be bit-exact from machine to machine. */
struct scalar_products {
    /* table[i] = points[i] * step as `dtype` holds it. count is a multiple of 32. */
    void (*fill)(const float *points, uint64_t count, float step, int32_t dtype, float *table);
    /* y[row] += sum over columns of table[code] * x, with the row's table; a row does not depend on those beside it. */
    void (*add_rows)(const struct scalar_rows *rows, float *y);
};

const struct scalar_products *scalar_products_get(void);
extern const struct scalar_products scalar_products_portable;
#if defined(__x86_64__)
extern const struct scalar_products scalar_products_avx512;
#endif

/* The best for this machine. [any] */
const struct scalar_kernels *scalar_kernels_get(void);

extern const struct scalar_kernels scalar_kernels_portable;
#if defined(__x86_64__)
extern const struct scalar_kernels scalar_kernels_avx2;
#endif

#endif
