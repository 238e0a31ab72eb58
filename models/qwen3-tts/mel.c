/* SPDX-License-Identifier: Apache-2.0
 *
 * Log mel bands as the official speaker encoder takes them: 1024-point windows every 256 samples, reflected ends, magnitude,
 * 128 bands on Slaney's scale (Auditory Toolbox, 1998), normalised by area. */
#include "encoder.h"

#include <math.h>
#include <string.h>

#define WINDOW 1024
#define HOP 256
#define BINS (WINDOW / 2 + 1)
#define PI 3.14159265358979323846

/* Tables of one analysis, in double. */
struct analysis {
    double window[WINDOW];
    double cosines[WINDOW / 2], sines[WINDOW / 2];
    double edges[MEL_BANDS + 2]; /* Hz */
    double re[WINDOW], im[WINDOW], magnitude[BINS];
    double bin_hz;
};

/* Linear below 1 kHz, logarithmic above. */
static double mel_of(double hz) {
    return hz < 1000 ? hz * 3 / 200 : 15 + log(hz / 1000) * 27 / log(6.4);
}

static double hz_of(double mel) {
    return mel < 15 ? mel * 200 / 3 : 1000 * exp((mel - 15) * log(6.4) / 27);
}

static void prepare(struct analysis *a, uint64_t sample_rate) {
    double top = mel_of((double)sample_rate / 2);
    for (int i = 0; i < WINDOW; i++) a->window[i] = 0.5 - 0.5 * cos(2 * PI * i / WINDOW);
    for (int i = 0; i < WINDOW / 2; i++) {
        a->cosines[i] = cos(2 * PI * i / WINDOW);
        a->sines[i] = -sin(2 * PI * i / WINDOW);
    }
    for (int i = 0; i < MEL_BANDS + 2; i++) a->edges[i] = hz_of(top * i / (MEL_BANDS + 1));
    a->bin_hz = (double)sample_rate / WINDOW;
}

/* In place, radix 2 (Cooley, Tukey 1965). */
static void transform(struct analysis *a) {
    for (unsigned i = 1, j = 0; i < WINDOW; i++) {
        unsigned bit = WINDOW / 2;
        for (; j & bit; bit /= 2) j ^= bit;
        j ^= bit;
        if (i >= j) continue;
        double swap = a->re[i];
        a->re[i] = a->re[j];
        a->re[j] = swap;
    }
    memset(a->im, 0, sizeof a->im);
    for (unsigned size = 2; size <= WINDOW; size *= 2) {
        for (unsigned at = 0; at < WINDOW; at += size) {
            for (unsigned k = 0; k < size / 2; k++) {
                unsigned p = at + k, q = p + size / 2;
                double c = a->cosines[k * (WINDOW / size)], s = a->sines[k * (WINDOW / size)];
                double re = a->re[q] * c - a->im[q] * s, im = a->re[q] * s + a->im[q] * c;
                a->re[q] = a->re[p] - re;
                a->im[q] = a->im[p] - im;
                a->re[p] += re;
                a->im[p] += im;
            }
        }
    }
}

/* Sample `at` of the sound with its ends reflected. */
static double sample_at(const float *samples, uint64_t count, int64_t at) {
    if (at < 0) at = -at;
    if (at >= (int64_t)count) at = 2 * ((int64_t)count - 1) - at;
    return (double)samples[at];
}

static void analyse(struct analysis *a, const float *samples, uint64_t count, uint64_t frame) {
    int64_t first = (int64_t)(frame * HOP) - (WINDOW - HOP) / 2;
    for (int i = 0; i < WINDOW; i++) a->re[i] = a->window[i] * sample_at(samples, count, first + i);
    transform(a);
    for (int i = 0; i < BINS; i++) a->magnitude[i] = sqrt(a->re[i] * a->re[i] + a->im[i] * a->im[i] + 1e-9);
}

/* A triangle from edge b over b + 1 to b + 2. */
static float band_of(const struct analysis *a, int band) {
    double low = a->edges[band], middle = a->edges[band + 1], high = a->edges[band + 2], sum = 0;
    for (int i = 0; i < BINS; i++) {
        double hz = a->bin_hz * i, rise = (hz - low) / (middle - low), fall = (high - hz) / (high - middle);
        double weight = rise < fall ? rise : fall;
        if (weight > 0) sum += weight * a->magnitude[i];
    }
    return (float)log(fmax(sum * 2 / (high - low), 1e-5));
}

tsr_status mel_bands(const struct engine *engine, const float *samples, uint64_t count, uint64_t sample_rate, float **bands,
                     uint64_t *frames, tsr_error *err) {
    uint64_t padding = (WINDOW - HOP) / 2;
    if (count <= padding) return tsr_fail(err, TSR_E_INPUT, "reference speech: %llu samples are too few", (unsigned long long)count);
    struct analysis *a = engine->host->alloc(engine->host, sizeof *a);
    if (!a) return tsr_fail(err, TSR_E_NOMEM, "out of memory for mel bands");
    *frames = count + 2 * padding < WINDOW ? 0 : (count + 2 * padding - WINDOW) / HOP + 1;
    tsr_status st = *frames ? take_floats(engine, *frames, MEL_BANDS, "mel bands", bands, err)
                            : tsr_fail(err, TSR_E_INPUT, "reference speech: %llu samples are too few", (unsigned long long)count);
    if (st == TSR_OK) prepare(a, sample_rate);
    for (uint64_t f = 0; st == TSR_OK && f < *frames; f++) {
        analyse(a, samples, count, f);
        for (int b = 0; b < MEL_BANDS; b++) (*bands)[f * MEL_BANDS + (uint64_t)b] = band_of(a, b);
    }
    engine->host->free(engine->host, a);
    return st;
}
