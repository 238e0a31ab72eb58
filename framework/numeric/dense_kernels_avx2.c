/* SPDX-License-Identifier: Apache-2.0
 *
 * AVX2 + FMA form: four running sums a row hide the latency of the fused multiply-add. */
#include "dense_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>
#include <tessera/tensor.h>

/* Eight weights as F32, by dtype; the compiler unswitches the loops below on the constant. */
static inline __m256 load8(int32_t dtype, const uint8_t *at) {
    if (dtype == TSR_DTYPE_F32) return _mm256_loadu_ps((const float *)(const void *)at);
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)at);
    if (dtype == TSR_DTYPE_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

static inline float load1(int32_t dtype, const uint8_t *at) {
    uint8_t padded[16] = {0};
    float lanes[8];
    memcpy(padded, at, dtype == TSR_DTYPE_F32 ? 4 : 2);
    if (dtype == TSR_DTYPE_F32) {
        memcpy(lanes, padded, 4);
    } else {
        _mm256_storeu_ps(lanes, load8(dtype, padded));
    }
    return lanes[0];
}

static inline float sum8(__m256 v) {
    float lanes[8];
    _mm256_storeu_ps(lanes, v);
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static inline float dot_row(int32_t dtype, const uint8_t *row, uint64_t columns, const float *x) {
    uint64_t bytes = dtype == TSR_DTYPE_F32 ? 4 : 2, c = 0;
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    for (; c + 32 <= columns; c += 32) {
        s0 = _mm256_fmadd_ps(load8(dtype, row + c * bytes), _mm256_loadu_ps(x + c), s0);
        s1 = _mm256_fmadd_ps(load8(dtype, row + (c + 8) * bytes), _mm256_loadu_ps(x + c + 8), s1);
        s2 = _mm256_fmadd_ps(load8(dtype, row + (c + 16) * bytes), _mm256_loadu_ps(x + c + 16), s2);
        s3 = _mm256_fmadd_ps(load8(dtype, row + (c + 24) * bytes), _mm256_loadu_ps(x + c + 24), s3);
    }
    float sum = sum8(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
    for (; c < columns; c++) sum += load1(dtype, row + c * bytes) * x[c];
    return sum;
}

static void dot_rows(int32_t dtype, const uint8_t *data, uint64_t rows, uint64_t columns, const float *x, float *y) {
    uint64_t row_bytes = columns * (dtype == TSR_DTYPE_F32 ? 4 : 2);
    if (dtype == TSR_DTYPE_F32) {
        for (uint64_t r = 0; r < rows; r++) y[r] = dot_row(TSR_DTYPE_F32, data + r * row_bytes, columns, x);
    } else if (dtype == TSR_DTYPE_F16) {
        for (uint64_t r = 0; r < rows; r++) y[r] = dot_row(TSR_DTYPE_F16, data + r * row_bytes, columns, x);
    } else {
        for (uint64_t r = 0; r < rows; r++) y[r] = dot_row(TSR_DTYPE_BF16, data + r * row_bytes, columns, x);
    }
}

const struct dense_kernels dense_kernels_avx2 = {dot_rows};
#else
typedef int dense_kernels_avx2_unused; /* ISO C wants something in the file */
#endif
