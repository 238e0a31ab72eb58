/* SPDX-License-Identifier: Apache-2.0
 *
 * Maximum likelihood, scale by scale. For each power the slope is found by Newton's method (the likelihood is concave in
 * it); the probabilities of zero and escape are their shares. A scale keeps the numbers of the one before where its own
 * would not pay for themselves. */
#include "shape_fit.h"

#include <math.h>
#include <string.h>

#define SLOPE_LEAST 0x1p-4
#define SLOPE_MOST 0x1p11
#define LN2 0.6931471805599453
#define OWN_BITS 10.0 /* about what other numbers than those of the scale before cost */

enum { NEWTON_STEPS = 12, COUNTED_LEAST = 24, ROOTS = 64 };

struct fit {
    struct shape *shape;
    double logs[2][SHAPE_LIMIT_MAX + 1];   /* of points */
    double counts[2][SHAPE_LIMIT_MAX + 2]; /* of magnitudes in one scale; the last: beyond all */
    double depth[2][SHAPE_LIMIT_MAX + 1];  /* of the power that is tried, less that of the first point */
    double coded[2];                         /* magnitudes from 1 on */
    double roots[ROOTS + 1];                 /* 2^(i / ROOTS); of the last, as a part of one may be rounded up to it */
    uint32_t most;                           /* magnitude that matters */
    uint32_t frequencies[SHAPE_SYMBOLS_MAX];
};

/* 2^x, within 2^+-1000, to 1e-10: enough to choose by, and many times as fast as what decoders compute. */
static double power_of_two(const struct fit *fit, double x) {
    x = x < -1000 ? -1000 : x > 1000 ? 1000 : x;
    const double whole = floor(x), part = (x - whole) * ROOTS;
    const int32_t root = (int32_t)part;
    const double t = (part - root) * (LN2 / ROOTS);
    const uint64_t bits = (uint64_t)((int64_t)whole + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power * fit->roots[root] * (1 + t * (1 + t * (0.5 + t * (1.0 / 6 + t * (1.0 / 24)))));
}

static void load(struct fit *fit, const uint32_t *const *of_quantiser) {
    fit->most = 1;
    for (uint32_t q = 0; q < fit->shape->quantisers; q++) {
        const uint32_t *symbols = of_quantiser[q];
        fit->counts[q][0] = symbols[SHAPE_LIMIT_MAX];
        fit->coded[q] = 0;
        for (uint32_t m = 1; m <= SHAPE_LIMIT_MAX; m++) {
            fit->counts[q][m] = (double)symbols[SHAPE_LIMIT_MAX + m] + (double)symbols[SHAPE_LIMIT_MAX - m];
            fit->coded[q] += fit->counts[q][m];
            if (fit->counts[q][m] > 0 && m > fit->most) fit->most = m;
        }
        fit->counts[q][SHAPE_LIMIT_MAX + 1] = symbols[SHAPE_SYMBOLS_MAX - 1];
    }
    fit->most = fit->most > SHAPE_LIMIT_MAX / 2 - 4 ? SHAPE_LIMIT_MAX : 2 * fit->most + 8;
}

static void set_depths(struct fit *fit, uint32_t scale, double power) {
    const double log_scale = shape_log(fit->shape, scale);
    for (uint32_t q = 0; q < fit->shape->quantisers; q++) {
        double first = 0;
        for (uint32_t m = 1; m <= fit->most; m++) {
            double depth = power_of_two(fit, power * (fit->logs[q][m] - log_scale));
            if (m == 1) first = depth;
            fit->depth[q][m] = depth - first;
        }
    }
}

/* Bits of a quantiser's magnitudes at a slope, and their first two derivatives. */
static void likelihood(const struct fit *fit, uint32_t q, double slope, double out[3]) {
    double z = 0, mean = 0, square = 0, seen = 0;
    for (uint32_t m = 1; m <= fit->most; m++) {
        const double depth = fit->depth[q][m], exponent = slope * depth;
        const double w = exponent > 60 ? 0 : power_of_two(fit, -exponent);
        z += w;
        mean += w * depth;
        square += w * depth * depth;
        seen += fit->counts[q][m] * depth;
    }
    mean /= z;
    out[0] = slope * seen + fit->coded[q] * exact_log2(z);
    out[1] = seen - fit->coded[q] * mean;
    out[2] = LN2 * fit->coded[q] * (square / z - mean * mean);
}

/* The best slope for the power that depths are of; adds the bits of all magnitudes. */
static double find_slope(const struct fit *fit, uint32_t q, double *bits) {
    double slope = 1, out[3];
    for (uint32_t i = 0; i < NEWTON_STEPS; i++) {
        likelihood(fit, q, slope, out);
        double next = out[2] > 0 ? slope - out[1] / out[2] : slope;
        next = next < slope / 3 ? slope / 3 : next > slope * 3 ? slope * 3 : next;
        next = next < SLOPE_LEAST ? SLOPE_LEAST : next > SLOPE_MOST ? SLOPE_MOST : next;
        const bool done = fabs(next - slope) < 0.01 * slope;
        slope = next;
        if (done) break;
    }
    *bits += out[0];
    return slope;
}

static uint8_t rounded(double value, uint8_t most) {
    value += 0.5;
    return (uint8_t)(value < 0 ? 0 : value > most ? most : value);
}

static void try_power(struct fit *fit, uint32_t scale, uint32_t code, double *best) {
    double bits = 0, slopes[2];
    set_depths(fit, scale, (4 + code) / 8.0);
    for (uint32_t q = 0; q < fit->shape->quantisers; q++) slopes[q] = find_slope(fit, q, &bits);
    if (*best >= 0 && bits >= *best) return;
    *best = bits;
    fit->shape->codes[SHAPE_POWER][scale] = (uint8_t)code;
    for (uint32_t q = 0; q < fit->shape->quantisers; q++) {
        fit->shape->codes[SHAPE_SLOPE_0 + q][scale] = rounded(8 * exact_log2(slopes[q]) + 32, 127);
    }
}

static void fit_magnitudes(struct fit *fit, uint32_t scale) {
    double best = -1;
    for (uint32_t code = 3; code < 32; code += 4) try_power(fit, scale, code, &best);
    for (uint32_t step = 2; step > 0; step /= 2) {
        const uint32_t around = fit->shape->codes[SHAPE_POWER][scale];
        try_power(fit, scale, around - step, &best);
        if (around + step < 32) try_power(fit, scale, around + step, &best);
    }
}

static void fit_shares(struct fit *fit, uint32_t scale) {
    uint8_t(*codes)[SHAPE_SCALES_MAX] = fit->shape->codes;
    double outside = 0, all = 0;
    for (uint32_t q = 0; q < fit->shape->quantisers; q++) {
        uint32_t limit = shape_frequencies(fit->shape, scale, q, fit->frequencies);
        double inside = 0, beyond = fit->counts[q][SHAPE_LIMIT_MAX + 1];
        for (uint32_t m = 1; m <= SHAPE_LIMIT_MAX; m++) *(m <= limit ? &inside : &beyond) += fit->counts[q][m];
        const double odds = (fit->counts[q][0] + 0.3) / (inside + 0.3);
        codes[SHAPE_ZERO_0 + q][scale] = rounded(8 * exact_log2(odds) + 128, 255);
        outside += beyond;
        all += fit->counts[q][0] + inside + beyond;
    }
    codes[SHAPE_ESCAPE][scale] = rounded(-exact_log2((outside + 0.3) / (all + 1)) - 1, 15);
}

/* Bits of what was counted in a scale by its codes. */
static double coded_bits(struct fit *fit, uint32_t scale) {
    double bits = 0;
    for (uint32_t q = 0; q < fit->shape->quantisers; q++) {
        const uint32_t limit = shape_frequencies(fit->shape, scale, q, fit->frequencies);
        const uint32_t *f = fit->frequencies;
        double outside = fit->counts[q][SHAPE_LIMIT_MAX + 1];
        for (uint32_t m = 0; m <= SHAPE_LIMIT_MAX; m++) {
            const double count = fit->counts[q][m];
            if (m > limit)
                outside += count;
            else if (count > 0)
                bits += count * (fit->shape->probability_bits - exact_log2((double)f[limit + m]));
        }
        bits += outside * (fit->shape->probability_bits - exact_log2((double)f[2 * limit + 1]) + 8);
    }
    return bits;
}

static void copy_codes(struct shape *shape, uint32_t from, uint32_t to) {
    for (uint32_t list = 0; list < SHAPE_LISTS; list++) shape->codes[list][to] = shape->codes[list][from];
}

static void fit_scale(struct fit *fit, uint32_t scale) {
    struct shape *shape = fit->shape;
    double before = HUGE_VAL;
    uint8_t kept[SHAPE_LISTS];
    if (scale > 0) {
        copy_codes(shape, scale - 1, scale);
        if (fit->coded[0] + fit->coded[1] + fit->counts[0][0] + fit->counts[1][0] < COUNTED_LEAST) return;
        fit_shares(fit, scale);
        before = coded_bits(fit, scale);
    }
    for (uint32_t list = 0; list < SHAPE_LISTS; list++) kept[list] = shape->codes[list][scale];
    if (fit->coded[0] + fit->coded[1] >= COUNTED_LEAST) fit_magnitudes(fit, scale);
    fit_shares(fit, scale);
    if (coded_bits(fit, scale) + OWN_BITS < before) return;
    for (uint32_t list = 0; list < SHAPE_LISTS; list++) shape->codes[list][scale] = kept[list];
}

tsr_status shape_fit(const tsr_host *host, const uint32_t *const *symbols, struct shape *shape, tsr_error *err) {
    static const uint8_t GAUSSIAN[SHAPE_LISTS] = {12, 28, 28, 120, 90, 11};
    struct fit *fit = host->alloc(host, sizeof *fit);
    if (!fit) return tsr_fail(err, TSR_E_NOMEM, "no memory to fit distributions");
    memset(fit, 0, sizeof *fit);
    fit->shape = shape;
    for (uint32_t m = 1; m <= SHAPE_LIMIT_MAX; m++) {
        for (uint32_t q = 0; q < 2; q++) fit->logs[q][m] = exact_log2((double)index_point(q, m));
    }
    for (uint32_t i = 0; i <= ROOTS; i++) fit->roots[i] = exact_exp2((double)i / ROOTS);
    for (uint32_t list = 0; list < SHAPE_LISTS; list++) shape->codes[list][0] = GAUSSIAN[list];
    for (uint32_t s = 0; s < shape->scales; s++) {
        load(fit, symbols + shape->quantisers * s);
        fit_scale(fit, s);
    }
    host->free(host, fit);
    return TSR_OK;
}
