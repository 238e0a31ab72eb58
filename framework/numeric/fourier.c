/* SPDX-License-Identifier: Apache-2.0
 *
 * Radix-2 transform (Cooley, Tukey 1965) with a twiddle factor from libm for each butterfly group: sounds are short. */
#include "fourier.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846
#define FLOOR 1e-3 /* 80 dB below a full tone in a window of 1024: the level where a quiet room would be */

static void reverse_bits(double *re, double *im, uint64_t size) {
    for (uint64_t i = 1, j = 0; i < size; i++) {
        uint64_t bit = size / 2;
        for (; j & bit; bit /= 2) j ^= bit;
        j ^= bit;
        if (i >= j) continue;
        double swap = re[i];
        re[i] = re[j];
        re[j] = swap;
        swap = im[i];
        im[i] = im[j];
        im[j] = swap;
    }
}

void fourier_transform(double *re, double *im, uint64_t size, int inverse) {
    reverse_bits(re, im, size);
    for (uint64_t span = 2; span <= size; span *= 2) {
        for (uint64_t k = 0; k < span / 2; k++) {
            double angle = (inverse ? 2 : -2) * PI * (double)k / (double)span, c = cos(angle), s = sin(angle);
            for (uint64_t p = k; p < size; p += span) {
                uint64_t q = p + span / 2;
                double a = re[q] * c - im[q] * s, b = re[q] * s + im[q] * c;
                re[q] = re[p] - a;
                im[q] = im[p] - b;
                re[p] += a;
                im[p] += b;
            }
        }
    }
}

void fourier_power(const float *samples, uint64_t size, double *power, double *room) {
    double *re = room, *im = room + size;
    for (uint64_t i = 0; i < size; i++) re[i] = (double)samples[i] * (0.5 - 0.5 * cos(2 * PI * (double)i / (double)size));
    memset(im, 0, size * sizeof *im);
    fourier_transform(re, im, size, 0);
    for (uint64_t i = 0; i <= size / 2; i++) power[i] = re[i] * re[i] + im[i] * im[i];
}

static double mel_of(double hz) {
    return 2595 * log10(1 + hz / 700);
}

static double hz_of(double mel) {
    return 700 * (pow(10, mel / 2595) - 1);
}

void fourier_mel(const double *power, uint64_t bins, uint64_t sample_rate, float *bands, uint64_t count) {
    double top = mel_of((double)sample_rate / 2), bin_hz = (double)sample_rate / 2 / (double)(bins - 1);
    for (uint64_t b = 0; b < count; b++) {
        double low = hz_of(top * (double)b / (double)(count + 1)), middle = hz_of(top * (double)(b + 1) / (double)(count + 1));
        double high = hz_of(top * (double)(b + 2) / (double)(count + 1)), sum = 0;
        for (uint64_t i = (uint64_t)(low / bin_hz); i < bins && bin_hz * (double)i < high; i++) {
            double hz = bin_hz * (double)i, rise = (hz - low) / (middle - low), fall = (high - hz) / (high - middle);
            sum += fmax(fmin(rise, fall), 0) * power[i];
        }
        bands[b] = (float)log10(fmax(sum, FLOOR));
    }
}

tsr_status fourier_autocorrelation(const float *samples, uint64_t sample_count, double *sums, uint64_t count, tsr_error *err) {
    uint64_t size = 1;
    while (size < sample_count + count) size *= 2;
    double *re = mem_alloc_zero(2 * size, sizeof *re);
    if (!re) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a spectrum");
    double *im = re + size;
    for (uint64_t i = 0; i < sample_count; i++) re[i] = (double)samples[i];
    fourier_transform(re, im, size, 0);
    for (uint64_t i = 0; i < size; i++) {
        re[i] = re[i] * re[i] + im[i] * im[i];
        im[i] = 0;
    }
    fourier_transform(re, im, size, 1);
    for (uint64_t i = 0; i < count; i++) sums[i] = re[i] / (double)size;
    mem_free(re);
    return TSR_OK;
}
