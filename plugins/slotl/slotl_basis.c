/* SPDX-License-Identifier: Apache-2.0
 *
 * Subspace iteration over rows that are read in chunks: memory is a few chunks and a few thin matrices, whatever the number
 * of rows. Partial sums belong to chunks of fixed size and are added in their order. All sums are double. */
#include "slotl.h"

#include <math.h>

#define OVERSAMPLING 8
#define PASSES 3 /* over the rows: two power iterations and the Rayleigh-Ritz step */
#define CHUNK_ROWS 128
#define CHUNKS 8 /* in memory at once */
#define LANES_MAX (SLOTL_RANK_MAX + OVERSAMPLING)
#define JACOBI_SWEEPS 30

struct iteration {
    const tsr_host *host;
    const struct slotl_rows *rows;
    const double *weight;
    double scale;
    uint32_t lanes;  /* vectors that are iterated */
    double *vectors; /* [columns][lanes] */
    double *next;    /* [columns][lanes]: sum over rows of row^T (row V) */
    double *gram;    /* [lanes][lanes]: sum of (row V)^T (row V) */
    float *values;   /* [CHUNKS][CHUNK_ROWS][columns] */
    double *partial; /* [CHUNKS][columns * lanes + lanes * lanes] */
    uint64_t first;  /* row of the chunks in memory */
    uint64_t count;
};

static uint64_t partial_size(const struct iteration *it) {
    return (it->rows->columns + it->lanes) * it->lanes;
}

/* row V, with the weights in. */
static void project(const struct iteration *it, const float *row, double *onto) {
    for (uint32_t l = 0; l < it->lanes; l++) onto[l] = 0;
    for (uint64_t c = 0; c < it->rows->columns; c++) {
        double value = (double)row[c] * it->scale * (it->weight ? it->weight[c] : 1);
        const double *vector = it->vectors + c * it->lanes;
        for (uint32_t l = 0; l < it->lanes; l++) onto[l] += value * vector[l];
    }
}

static void spread(const struct iteration *it, const float *row, const double *onto, double *sums) {
    for (uint64_t c = 0; c < it->rows->columns; c++) {
        double value = (double)row[c] * it->scale * (it->weight ? it->weight[c] : 1);
        double *sum = sums + c * it->lanes;
        for (uint32_t l = 0; l < it->lanes; l++) sum[l] += value * onto[l];
    }
}

static tsr_status add_chunk(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct iteration *it = ctx;
    uint64_t begin = index * CHUNK_ROWS, end = begin + CHUNK_ROWS < it->count ? begin + CHUNK_ROWS : it->count;
    double *sums = it->partial + index * partial_size(it), *gram = sums + it->rows->columns * it->lanes;
    double onto[LANES_MAX];
    (void)worker, (void)err;
    memset(sums, 0, partial_size(it) * sizeof *sums);
    for (uint64_t r = begin; r < end; r++) {
        const float *row = it->values + r * it->rows->columns;
        project(it, row, onto);
        spread(it, row, onto, sums);
        for (uint32_t i = 0; i < it->lanes; i++) {
            for (uint32_t j = 0; j < it->lanes; j++) gram[i * it->lanes + j] += onto[i] * onto[j];
        }
    }
    return TSR_OK;
}

static void collect(struct iteration *it, uint64_t chunks) {
    uint64_t wide = it->rows->columns * it->lanes;
    for (uint64_t k = 0; k < chunks; k++) {
        const double *sums = it->partial + k * partial_size(it);
        for (uint64_t i = 0; i < wide; i++) it->next[i] += sums[i];
        for (uint64_t i = 0; i < (uint64_t)it->lanes * it->lanes; i++) it->gram[i] += sums[wide + i];
    }
}

static tsr_status pass(struct iteration *it, tsr_error *err) {
    tsr_status st = TSR_OK;
    memset(it->next, 0, it->rows->columns * it->lanes * sizeof *it->next);
    memset(it->gram, 0, (uint64_t)it->lanes * it->lanes * sizeof *it->gram);
    for (it->first = 0; it->first < it->rows->count && st == TSR_OK; it->first += it->count) {
        uint64_t left = it->rows->count - it->first;
        it->count = left < CHUNKS * CHUNK_ROWS ? left : CHUNKS * CHUNK_ROWS;
        uint64_t chunks = (it->count + CHUNK_ROWS - 1) / CHUNK_ROWS;
        if (it->host->cancelled(it->host)) return tsr_fail(err, TSR_E_CANCELLED, "slotl: interrupted");
        st = it->rows->read(it->rows->ctx, it->first, it->count, it->values, err);
        if (st == TSR_OK) st = it->host->parallel_for(it->host, chunks, add_chunk, it, err);
        if (st == TSR_OK) collect(it, chunks);
    }
    return st;
}

/* ---- small dense algebra ---- */

/* Modified Gram-Schmidt, twice. Vectors that depend on those before become 0. */
static void orthonormalise(double *vectors, uint64_t columns, uint32_t lanes) {
    for (uint32_t l = 0; l < lanes; l++) {
        double before = 0, norm = 0;
        for (uint64_t c = 0; c < columns; c++) before += vectors[c * lanes + l] * vectors[c * lanes + l];
        for (uint32_t k = 0; k < 2 * l; k++) {
            uint32_t against = k % l;
            double dot = 0;
            for (uint64_t c = 0; c < columns; c++) dot += vectors[c * lanes + l] * vectors[c * lanes + against];
            for (uint64_t c = 0; c < columns; c++) vectors[c * lanes + l] -= dot * vectors[c * lanes + against];
        }
        for (uint64_t c = 0; c < columns; c++) norm += vectors[c * lanes + l] * vectors[c * lanes + l];
        double factor = norm > 1e-24 * before && norm > 0 ? 1 / sqrt(norm) : 0;
        for (uint64_t c = 0; c < columns; c++) vectors[c * lanes + l] *= factor;
    }
}

/* One Jacobi rotation that zeroes a[p][q] of a symmetric matrix, and turns the columns of u. */
static void rotate(double *a, double *u, uint32_t n, uint32_t p, uint32_t q) {
    double apq = a[p * n + q];
    if (apq == 0) return;
    double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
    double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
    for (uint32_t k = 0; k < n; k++) {
        double kp = a[k * n + p], kq = a[k * n + q];
        a[k * n + p] = c * kp - s * kq;
        a[k * n + q] = s * kp + c * kq;
    }
    for (uint32_t k = 0; k < n; k++) {
        double pk = a[p * n + k], qk = a[q * n + k];
        a[p * n + k] = c * pk - s * qk;
        a[q * n + k] = s * pk + c * qk;
    }
    for (uint32_t k = 0; k < n; k++) {
        double kp = u[k * n + p], kq = u[k * n + q];
        u[k * n + p] = c * kp - s * kq;
        u[k * n + q] = s * kp + c * kq;
    }
}

/* Eigenvectors of a symmetric matrix in the columns of u, `order` by falling eigenvalue. a is overwritten. */
static void diagonalise(double *a, double *u, uint32_t n, uint32_t *order) {
    for (uint32_t i = 0; i < n * n; i++) u[i] = i % (n + 1) == 0;
    for (int sweep = 0; sweep < JACOBI_SWEEPS; sweep++) {
        for (uint32_t p = 0; p + 1 < n; p++) {
            for (uint32_t q = p + 1; q < n; q++) rotate(a, u, n, p, q);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;
        for (; at > 0 && a[order[at - 1] * n + order[at - 1]] < a[i * n + i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
}

/* basis[k] = V u[k], back in the units of the columns. */
static void write_basis(const struct iteration *it, const double *u, const uint32_t *order, uint32_t rank,
                        uint16_t *basis) {
    for (uint32_t k = 0; k < rank; k++) {
        for (uint64_t c = 0; c < it->rows->columns; c++) {
            double sum = 0;
            for (uint32_t l = 0; l < it->lanes; l++) {
                sum += it->vectors[c * it->lanes + l] * u[l * it->lanes + order[k]];
            }
            if (it->weight) sum = it->weight[c] > 0 ? sum / it->weight[c] : 0;
            if (fabs(sum) > 1e6) sum = sum > 0 ? 1e6 : -1e6;
            basis[(uint64_t)k * it->rows->columns + c] = slotl_to_bf16((float)sum);
        }
    }
}

/* ---- the whole ---- */

/* Uniform in -1..1, from SplitMix64. */
static double draw(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return (double)(int64_t)(z >> 11) * 0x1p-52 - 1;
}

static tsr_status iterate(struct iteration *it, uint32_t rank, uint64_t seed, double *u, uint16_t *basis,
                          tsr_error *err) {
    uint32_t order[LANES_MAX];
    uint64_t size = it->rows->columns * it->lanes;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < size; i++) it->vectors[i] = draw(&seed);
    for (int i = 0; i < PASSES && st == TSR_OK; i++) {
        orthonormalise(it->vectors, it->rows->columns, it->lanes);
        st = pass(it, err);
        if (i + 1 < PASSES) memcpy(it->vectors, it->next, size * sizeof *it->vectors);
    }
    if (st != TSR_OK) return st;
    diagonalise(it->gram, u, it->lanes, order);
    write_basis(it, u, order, rank, basis);
    return TSR_OK;
}

tsr_status slotl_train_basis(const tsr_host *host, const struct slotl_rows *rows, const double *weight, double scale,
                             uint32_t rank, uint64_t seed, uint16_t *basis, tsr_error *err) {
    struct iteration it = {.host = host, .rows = rows, .weight = weight, .scale = scale};
    uint64_t most = rows->count < rows->columns ? rows->count : rows->columns;
    it.lanes = rank + OVERSAMPLING < most ? rank + OVERSAMPLING : (uint32_t)most;
    uint64_t size = rows->columns * it.lanes, square = (uint64_t)it.lanes * it.lanes;
    double *u = host->alloc(host, square * sizeof *u);
    it.vectors = host->alloc(host, size * sizeof *it.vectors);
    it.next = host->alloc(host, size * sizeof *it.next);
    it.gram = host->alloc(host, square * sizeof *it.gram);
    it.values = host->alloc(host, CHUNKS * CHUNK_ROWS * rows->columns * sizeof *it.values);
    it.partial = host->alloc(host, CHUNKS * partial_size(&it) * sizeof *it.partial);
    bool enough = u && it.vectors && it.next && it.gram && it.values && it.partial;
    tsr_status st = enough ? iterate(&it, rank < it.lanes ? rank : it.lanes, seed, u, basis, err)
                           : tsr_fail(err, TSR_E_NOMEM, "slotl: out of memory");
    host->free(host, u);
    host->free(host, it.vectors);
    host->free(host, it.next);
    host->free(host, it.gram);
    host->free(host, it.values);
    host->free(host, it.partial);
    return st;
}
