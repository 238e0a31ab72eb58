/* SPDX-License-Identifier: Apache-2.0
 *
 * Spectra of sounds: power of windowed frames, log mel bands, autocorrelation. In double, one thread, the same everywhere. */
#ifndef NUMERIC_FOURIER_H
#define NUMERIC_FOURIER_H

#include <stdint.h>
#include <tessera/status.h>

/* re + i im [size] transformed in place, size a power of two; `inverse` without the factor 1 / size. */
void fourier_transform(double *re, double *im, uint64_t size, int inverse);

/* power [size / 2 + 1] of samples[size] under a Hann window; `room` [2 * size]. */
void fourier_power(const float *samples, uint64_t size, double *power, double *room);

/* bands [count] = log10 of the power, at least 1e-3, in mel bands (O'Shaughnessy's scale) up to half the sample rate;
 * `power` has bins values. */
void fourier_mel(const double *power, uint64_t bins, uint64_t sample_rate, float *bands, uint64_t count);

/* sums [count] of x[t] x[t + lag] for lag 0..count-1, through one transform. TSR_E_NOMEM. */
tsr_status fourier_autocorrelation(const float *samples, uint64_t sample_count, double *sums, uint64_t count, tsr_error *err);

#endif
