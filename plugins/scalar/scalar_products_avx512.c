/* SPDX-License-Identifier: Apache-2.0
 *
 * AVX-512 form: the table of a row, already in the values that the decoder gives, stays in registers and codes look it up. */
#include "scalar_kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <tessera/tensor.h>

#define AHEAD 6144 /* bytes at least: what the hardware fetches on its own stops at page ends */

static inline __m512 round_values(__m512 value, int32_t dtype) {
    const __m512 largest = _mm512_set1_ps(dtype == TSR_DTYPE_F16 ? 65504.0f : 3.38953139e38f);
    if (dtype == TSR_DTYPE_F32) return value;
    value = _mm512_min_ps(_mm512_max_ps(value, _mm512_sub_ps(_mm512_setzero_ps(), largest)), largest);
    if (dtype == TSR_DTYPE_F16) return _mm512_cvtph_ps(_mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
    __m512i bits = _mm512_castps_si512(value), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    bits = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
    return _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(-65536)));
}

static void fill(const float *points, uint64_t count, float step, int32_t dtype, float *table) {
    for (uint64_t i = 0; i < count; i += 16) {
        __m512 value = _mm512_mul_ps(_mm512_loadu_ps(points + i), _mm512_set1_ps(step));
        _mm512_storeu_ps(table + i, round_values(value, dtype));
    }
}

/* table[low bits of each word]; `vectors` of 16 entries is a constant at each call. */
static inline __m512 look_up(const __m512 *table, __m512i codes, int vectors) {
    __m512 value = _mm512_permutex2var_ps(table[0], codes, table[1]);
    if (vectors > 2) {
        __m512 upper = _mm512_permutex2var_ps(table[2], codes, table[3]);
        value = _mm512_mask_mov_ps(value, _mm512_test_epi32_mask(codes, _mm512_set1_epi32(32)), upper);
    }
    if (vectors > 4) {
        __m512 third = _mm512_permutex2var_ps(table[4], codes, table[5]);
        __m512 fourth = _mm512_permutex2var_ps(table[6], codes, table[7]);
        third = _mm512_mask_mov_ps(third, _mm512_test_epi32_mask(codes, _mm512_set1_epi32(32)), fourth);
        value = _mm512_mask_mov_ps(value, _mm512_test_epi32_mask(codes, _mm512_set1_epi32(64)), third);
    }
    return value;
}

static inline __mmask16 first_lanes(uint64_t columns, uint64_t from) {
    if (from >= columns) return 0;
    return (__mmask16)(columns - from < 16 ? (1u << (columns - from)) - 1 : 0xFFFF);
}

/* What one row brings: its table, its codes, its sums. */
struct lane_row {
    __m512 table[8], sum[2];
    const uint8_t *codes;
};

static inline void begin_row(struct lane_row *row, const struct scalar_rows *rows, uint64_t r, int vectors) {
    const float *points = rows->points + rows->lists[r * rows->stride] * rows->table;
    __m512 step = _mm512_set1_ps(rows->steps[r * rows->stride]);
    for (int i = 0; i < vectors; i++) {
        row->table[i] = round_values(_mm512_mul_ps(_mm512_loadu_ps(points + 16 * i), step), rows->dtype);
    }
    row->sum[0] = row->sum[1] = _mm512_setzero_ps();
    row->codes = rows->codes + r * rows->row_bytes;
}

/* `count` rows share the loads of x; count and vectors are constants at each call. Each row fetches its counterpart some
 * groups of rows ahead, so that lines come in the order in which they will be read. */
__attribute__((always_inline)) static inline void add_some(const struct scalar_rows *rows, uint64_t first, float *y, int count,
                                                           int vectors) {
    struct lane_row row[4];
    const uint64_t group = rows->row_bytes * (uint64_t)count, ahead = group ? (AHEAD + group - 1) / group * group : 0;
    const float *x = rows->x;
    uint64_t c = 0;
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) begin_row(&row[i], rows, first + (uint64_t)i, vectors);
    for (; c + SCALAR_BLOCK <= rows->columns; c += SCALAR_BLOCK) {
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) {
            __m512i words = _mm512_loadu_si512(row[i].codes + c);
            _mm_prefetch((const char *)row[i].codes + c + ahead, _MM_HINT_T1);
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) {
                __m512 value = look_up(row[i].table, k ? _mm512_srli_epi32(words, 8 * (unsigned)k) : words, vectors);
                row[i].sum[k % 2] = _mm512_fmadd_ps(value, _mm512_loadu_ps(x + c + 16 * k), row[i].sum[k % 2]);
            }
        }
    }
    for (int k = 0; k < 4 && c < rows->columns; k++) {
        uint64_t at = c + 16 * (uint64_t)k;
        __mmask16 there = first_lanes(rows->columns, at);
        __m512 part = _mm512_maskz_loadu_ps(there, x + (there ? at : 0));
        for (int i = 0; i < count; i++) {
            __m512i shifted = _mm512_srli_epi32(_mm512_loadu_si512(row[i].codes + c), 8 * (unsigned)k);
            row[i].sum[k % 2] = _mm512_fmadd_ps(look_up(row[i].table, shifted, vectors), part, row[i].sum[k % 2]);
        }
    }
    for (int i = 0; i < count; i++) y[first + (uint64_t)i] += _mm512_reduce_add_ps(_mm512_add_ps(row[i].sum[0], row[i].sum[1]));
}

static void add_rows(const struct scalar_rows *rows, float *y) {
    uint64_t r = 0;
    if (rows->table == 32) {
        for (; r + 4 <= rows->rows; r += 4) add_some(rows, r, y, 4, 2);
        for (; r < rows->rows; r++) add_some(rows, r, y, 1, 2);
    } else if (rows->table == 64) {
        for (; r + 2 <= rows->rows; r += 2) add_some(rows, r, y, 2, 4);
        for (; r < rows->rows; r++) add_some(rows, r, y, 1, 4);
    } else {
        for (; r < rows->rows; r++) add_some(rows, r, y, 1, 8);
    }
}

const struct scalar_products scalar_products_avx512 = {fill, add_rows};
#else
typedef int scalar_products_avx512_unused; /* ISO C wants something in the file */
#endif
