/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything follows from the Gram matrix G of the rows: cosines of pairs, the participation ratio of its spectrum
 * tr(G)^2 / ||G||^2, and the energy of the strongest directions by subspace iteration. */
#include "plan_probe.h"

#include <math.h>

#include <base/alloc.h>
#include <format/dtype.h>
#include <stdlib.h>

#define DIRECTIONS 8
#define ITERATIONS 12

struct probing {
    const struct sample *sample;
    uint64_t rows, columns;
    float *values; /* [rows][columns] */
    double *gram;  /* [rows][rows] */
    struct plan_probe *probe;
};

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Rows as numbers, what is not finite as 0; fourth moment over all of them. */
static void read_rows(struct probing *p) {
    double second = 0, fourth = 0, count = (double)(p->rows * p->columns);
    for (uint64_t r = 0; r < p->rows; r++) {
        float *row = p->values + r * p->columns;
        sample_row(p->sample, p->sample->bytes, r * p->sample->rows / p->rows, row);
        for (uint64_t c = 0; c < p->columns; c++) {
            if (!isfinite(row[c])) row[c] = 0;
            double square = (double)row[c] * (double)row[c];
            second += square;
            fourth += square * square;
        }
    }
    second /= count;
    p->probe->kurtosis = second > 0 ? fourth / count / (second * second) : 0;
}

static void fill_gram(struct probing *p) {
    for (uint64_t i = 0; i < p->rows; i++) {
        for (uint64_t j = 0; j <= i; j++) {
            const float *a = p->values + i * p->columns, *b = p->values + j * p->columns;
            double sum = 0;
            for (uint64_t c = 0; c < p->columns; c++) sum += (double)a[c] * (double)b[c];
            p->gram[i * p->rows + j] = p->gram[j * p->rows + i] = sum;
        }
    }
}

static void measure_pairs(struct probing *p) {
    double sum = 0, trace = 0, square = 0;
    uint64_t pairs = 0;
    for (uint64_t i = 0; i < p->rows; i++) {
        trace += p->gram[i * p->rows + i];
        for (uint64_t j = 0; j < p->rows; j++) {
            double value = p->gram[i * p->rows + j];
            double lengths = sqrt(p->gram[i * p->rows + i] * p->gram[j * p->rows + j]);
            square += value * value;
            if (j >= i || lengths <= 0) continue;
            sum += fabs(value) / lengths;
            pairs++;
        }
    }
    p->probe->mean_cosine = pairs ? sum / (double)pairs : 0;
    p->probe->random_cosine = 0.8 / sqrt((double)p->columns); /* sqrt(2 / pi): of independent directions */
    p->probe->participation = square > 0 ? trace * trace / square : 0;
}

static void orthonormalise(double *vectors, uint64_t rows) {
    for (int k = 0; k < DIRECTIONS; k++) {
        double *v = vectors + (uint64_t)k * rows, norm = 0;
        for (int j = 0; j < k; j++) {
            const double *u = vectors + (uint64_t)j * rows;
            double dot = 0;
            for (uint64_t r = 0; r < rows; r++) dot += u[r] * v[r];
            for (uint64_t r = 0; r < rows; r++) v[r] -= dot * u[r];
        }
        for (uint64_t r = 0; r < rows; r++) norm += v[r] * v[r];
        for (uint64_t r = 0; r < rows; r++) v[r] = norm > 0 ? v[r] / sqrt(norm) : 0;
    }
}

/* Share of tr(G) in its strongest directions. */
static double strongest(const struct probing *p, double *vectors, double *next) {
    double trace = 0, held = 0;
    for (uint64_t i = 0; i < DIRECTIONS * p->rows; i++) vectors[i] = (double)((i * 2654435761u) % 1000003u) / 500001.5 - 1;
    for (int it = 0; it < ITERATIONS; it++) {
        orthonormalise(vectors, p->rows);
        for (int k = 0; k < DIRECTIONS; k++) {
            const double *v = vectors + (uint64_t)k * p->rows;
            for (uint64_t i = 0; i < p->rows; i++) {
                double sum = 0;
                for (uint64_t j = 0; j < p->rows; j++) sum += p->gram[i * p->rows + j] * v[j];
                next[(uint64_t)k * p->rows + i] = sum;
            }
        }
        if (it + 1 == ITERATIONS) break;
        for (uint64_t i = 0; i < DIRECTIONS * p->rows; i++) vectors[i] = next[i];
    }
    for (uint64_t i = 0; i < DIRECTIONS * p->rows; i++) held += vectors[i] * next[i];
    for (uint64_t r = 0; r < p->rows; r++) trace += p->gram[r * p->rows + r];
    return trace > 0 ? held / trace : 0;
}

/* How much longer the longest row is than the middle one. */
static tsr_status measure_lengths(struct probing *p, tsr_error *err) {
    double *lengths = mem_alloc_array(p->rows, sizeof *lengths);
    if (!lengths) return plan_no_memory(err);
    for (uint64_t r = 0; r < p->rows; r++) lengths[r] = sqrt(p->gram[r * p->rows + r]);
    qsort(lengths, (size_t)p->rows, sizeof *lengths, compare_doubles);
    double middle = lengths[p->rows / 2];
    p->probe->length_spread = middle > 0 ? lengths[p->rows - 1] / middle : 0;
    mem_free(lengths);
    return TSR_OK;
}

tsr_status probe_sample(const struct sample *sample, struct plan_probe *probe, tsr_error *err) {
    struct probing p = {.sample = sample, .probe = probe, .columns = sample->columns};
    p.rows = sample->rows < PROBE_ROWS ? sample->rows : PROBE_ROWS;
    *probe = (struct plan_probe){0};
    if (p.rows < 2 || p.columns < 2 || !dtype_is_float(sample->tensor.dtype)) return TSR_OK;
    p.values = mem_alloc_array(p.rows * p.columns, sizeof *p.values);
    p.gram = mem_alloc_array(p.rows * p.rows, sizeof *p.gram);
    double *vectors = mem_alloc_array(2 * DIRECTIONS * p.rows, sizeof *vectors);
    tsr_status st = p.values && p.gram && vectors ? TSR_OK : plan_no_memory(err);
    if (!st) {
        read_rows(&p);
        fill_gram(&p);
        measure_pairs(&p);
        probe->low_rank = strongest(&p, vectors, vectors + DIRECTIONS * p.rows);
        st = measure_lengths(&p, err);
        probe->rows = p.rows;
    }
    mem_free(p.values);
    mem_free(p.gram);
    mem_free(vectors);
    return st;
}
