/* SPDX-License-Identifier: Apache-2.0
 *
 * Cholesky, right-looking in blocks (Golub and Van Loan, Matrix Computations, 4.2.6). The upper half keeps the moments,
 * so that another damping can be tried. */
#include "factor.h"

#include <base/checked.h>
#include <cblas.h>
#include <math.h>
#include <string.h>

#define BLOCK 128
#define TRIES 8
#define RAISE 10
/* A pivot is at least the damping but for rounding, if the moments are any. */
#define ROOM 0.25

/* Rows go along the cycles of the order; a cycle is turned from its least position on. */
void factor_reorder(float *matrix, uint64_t n, const uint64_t *column, float *row) {
    for (uint64_t r = 0; r < n; r++) {
        memcpy(row, matrix + r * n, n * sizeof *row);
        for (uint64_t c = 0; c < n; c++) matrix[r * n + c] = row[column[c]];
    }
    for (uint64_t first = 0; first < n; first++) {
        uint64_t least = column[first];
        while (least > first) least = column[least];
        if (least < first) continue;
        uint64_t to = first;
        memcpy(row, matrix + first * n, n * sizeof *row);
        for (uint64_t from = column[to]; from != first; to = from, from = column[to]) {
            memcpy(matrix + to * n, matrix + from * n, n * sizeof *row);
        }
        memcpy(matrix + to * n, row, n * sizeof *row);
    }
}

/* Pivots and sums in F64: the block decides how exact the whole is. */
static bool factor_diagonal(float *a, uint64_t stride, uint64_t size, double least) {
    for (uint64_t j = 0; j < size; j++) {
        for (uint64_t i = j; i < size; i++) {
            double sum = (double)a[i * stride + j];
            for (uint64_t k = 0; k < j; k++) sum -= (double)a[i * stride + k] * (double)a[j * stride + k];
            if (i == j && !(sum > least && sum < HUGE_VAL)) return false;
            a[i * stride + j] = (float)(i == j ? sqrt(sum) : sum / (double)a[j * stride + j]);
        }
    }
    return true;
}

static bool factor(float *a, uint64_t n, double least) {
    for (uint64_t at = 0; at < n; at += BLOCK) {
        const uint64_t size = min_u64(BLOCK, n - at), below = n - at - size;
        float *corner = a + at * n + at, *panel = corner + size * n;
        if (!factor_diagonal(corner, n, size, least)) return false;
        if (!below) return true;
        cblas_strsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)below, (int)size, 1, corner,
                    (int)n, panel, (int)n);
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)below, (int)size, -1, panel, (int)n, 1, panel + size,
                    (int)n);
    }
    return true;
}

/* The lower half and the diagonal from what stands above. */
static void restore(float *a, uint64_t n, const float *diagonal, double damping) {
    for (uint64_t r = 0; r < n; r++) {
        for (uint64_t c = 0; c < r; c++) a[r * n + c] = a[c * n + r];
        a[r * n + r] = (float)((double)diagonal[r] + damping);
    }
}

bool factor_make(float *moment, uint64_t n, double *damping, float *diagonal) {
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) sum += (double)moment[i * n + i];
    if (!(sum > 0 && sum < HUGE_VAL)) return false;
    const double scale = (double)n / sum;
    for (uint64_t i = 0; i < n * n; i++) moment[i] = (float)((double)moment[i] * scale);
    for (uint64_t i = 0; i < n; i++) diagonal[i] = moment[i * n + i];
    for (int i = 0; i < TRIES; i++) {
        restore(moment, n, diagonal, *damping);
        if (factor(moment, n, ROOM * *damping)) return true;
        *damping *= RAISE;
    }
    return false;
}

/* y * triangle = row, from the last column on. */
static void solve_row(const float *triangle, uint64_t stride, uint64_t size, float *row) {
    for (uint64_t j = size; j-- > 0;) {
        double sum = (double)row[j];
        for (uint64_t i = j + 1; i < size; i++) sum -= (double)row[i] * (double)triangle[i * stride + j];
        row[j] = (float)(sum / (double)triangle[j * stride + j]);
    }
}

void factor_normalise(float *lower, uint64_t n, uint64_t first, uint64_t last) {
    const float *triangle = lower + first * n + first;
    for (uint64_t r = last; r < n; r++) solve_row(triangle, n, last - first, lower + r * n + first);
}

const char *factor_blas(void) {
    return openblas_get_corename();
}
