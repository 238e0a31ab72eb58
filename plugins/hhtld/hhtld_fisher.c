/* SPDX-License-Identifier: Apache-2.0
 *
 * code = round((z - z_min) / z_range * 254) - 127 and back. */
#include "hhtld_fisher.h"

#include <math.h>
#include <stdlib.h>

#define STEPS 254
#define TAIL 0.001 /* share of the pairs that each end of the range leaves outside */

/* ln v = e ln 2 + 2 atanh((m - 1) / (m + 1)) with m in [1/2, 1) scaled to about 1. */
static double logarithm(double v) {
    int exponent;
    double m = frexp(v, &exponent);
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        exponent--;
    }
    double t = (m - 1) / (m + 1), square = t * t, sum = 0;
    for (int i = 25; i >= 1; i -= 2) sum = sum * square + 1.0 / i;
    return 0x1.62e42fefa39efp-1 * exponent + 2 * t * sum;
}

/* e^v for |v| <= 80: v = k ln 2 + rest, Taylor on the rest. */
static double exponential(double v) {
    int k = (int)(v * 0x1.71547652b82fep+0 + (v < 0 ? -0.5 : 0.5));
    double rest = v - k * 0x1.62e42fefa39efp-1, sum = 1;
    for (int i = 18; i >= 1; i--) sum = sum * rest / i + 1;
    return ldexp(sum, k);
}

double hhtld_fisher_z(double cosine) {
    if (cosine > HHTLD_COSINE_MAX) cosine = HHTLD_COSINE_MAX;
    if (!(cosine >= -HHTLD_COSINE_MAX)) cosine = -HHTLD_COSINE_MAX;
    return 0.5 * logarithm((1 + cosine) / (1 - cosine));
}

double hhtld_fisher_cosine(double z) {
    if (z > 40) z = 40;
    if (z < -40) z = -40;
    double e = exponential(2 * z);
    return (e - 1) / (e + 1);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void find_range(double *z, uint64_t count, struct hhtld_table *table) {
    uint64_t tail = (uint64_t)((double)count * TAIL);
    table->z_min = 0;
    table->z_range = 1;
    if (count == 0) return;
    qsort(z, (size_t)count, sizeof *z, compare);
    table->z_min = (float)z[tail];
    float range = (float)(z[count - 1 - tail] - z[tail]);
    table->z_range = range > 1e-6f ? range : 1e-6f;
}

static int8_t code_of(double z, struct hhtld_table *table, uint32_t *clamped) {
    double position = (z - (double)table->z_min) / (double)table->z_range * STEPS;
    if (position < -0.5 || position > STEPS + 0.5) ++*clamped;
    if (position < 0) position = 0;
    if (position > STEPS) position = STEPS;
    return (int8_t)((int)(position + 0.5) - STEPS / 2);
}

void hhtld_fisher_make(const double *cosines, uint32_t size, double *scratch, int8_t *codes,
                       struct hhtld_table *table) {
    uint64_t count = 0;
    for (uint64_t a = 0; a < size; a++) {
        for (uint64_t b = a + 1; b < size; b++) scratch[count++] = hhtld_fisher_z(cosines[a * size + b]);
    }
    *table = (struct hhtld_table){.codes = codes, .size = size};
    find_range(scratch, count, table);
    for (uint64_t a = 0; a < size; a++) {
        codes[a * size + a] = STEPS / 2;
        for (uint64_t b = a + 1; b < size; b++) {
            int8_t code = code_of(hhtld_fisher_z(cosines[a * size + b]), table, &table->clamped);
            codes[a * size + b] = code;
            codes[b * size + a] = code;
        }
    }
}

double hhtld_fisher_get(const struct hhtld_table *table, uint32_t a, uint32_t b) {
    if (a == b) return 1;
    double share = (double)(table->codes[(uint64_t)a * table->size + b] + STEPS / 2) / STEPS;
    return hhtld_fisher_cosine((double)table->z_min + share * (double)table->z_range);
}
