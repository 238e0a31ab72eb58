/* SPDX-License-Identifier: Apache-2.0
 *
 * Rotary positions (Su et al. 2021, arXiv:2104.09864) and the published ways of stretching them. Each rule follows the
 * definition that the config's rope_type names: linear (Chen et al. 2023, arXiv:2306.15595), dynamic NTK, llama3 (Llama
 * 3.1 release), yarn (arXiv:2309.00071), longrope (Ding et al. 2024, arXiv:2402.13753). */
#include "ops.h"

#include <math.h>

#define PI 3.14159265358979323846

double yarn_temperature(double scale, double m) {
    return scale <= 1 ? 1 : 0.1 * m * log(scale) + 1;
}

static void plain_frequencies(double theta, uint64_t dim, double *inverse) {
    for (uint64_t i = 0; i < dim / 2; i++) inverse[i] = pow(theta, -2.0 * (double)i / (double)dim);
}

/* NTK-aware base once the sequence is longer than the model was trained for. */
static double dynamic_theta(const struct spec *spec, uint64_t length) {
    double trained = (double)spec->context, dim = (double)spec->rotary_dim;
    if ((double)length <= trained || trained <= 0) return spec->rope_theta;
    double stretch = spec->scaling_factor * (double)length / trained - (spec->scaling_factor - 1);
    return spec->rope_theta * pow(stretch, dim / (dim - 2));
}

static void llama3_frequencies(const struct spec *spec, double *inverse) {
    double low = spec->scaling_original / spec->scaling_low_freq, high = spec->scaling_original / spec->scaling_high_freq;
    for (uint64_t i = 0; i < spec->rotary_dim / 2; i++) {
        double wavelength = 2 * PI / inverse[i];
        if (wavelength > low) {
            inverse[i] /= spec->scaling_factor;
        } else if (wavelength >= high) {
            double smooth = (spec->scaling_original / wavelength - spec->scaling_low_freq) /
                            (spec->scaling_high_freq - spec->scaling_low_freq);
            inverse[i] = (1 - smooth) * inverse[i] / spec->scaling_factor + smooth * inverse[i];
        }
    }
}

/* Dimension at which a full turn happens `turns` times within the trained context. */
static double yarn_dimension(const struct spec *spec, double turns) {
    return (double)spec->rotary_dim * log(spec->scaling_original / (turns * 2 * PI)) / (2 * log(spec->rope_theta));
}

static void yarn_frequencies(const struct spec *spec, double factor, double *inverse) {
    double low = yarn_dimension(spec, spec->scaling_beta_fast), high = yarn_dimension(spec, spec->scaling_beta_slow);
    if (spec->scaling_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)spec->rotary_dim - 1);
    if (low == high) high += 0.001;
    for (uint64_t i = 0; i < spec->rotary_dim / 2; i++) {
        double ramp = fmin(fmax(((double)i - low) / (high - low), 0), 1);
        inverse[i] = inverse[i] / factor * ramp + inverse[i] * (1 - ramp);
    }
}

static double yarn_attention(const struct spec *spec, double factor) {
    if (spec->scaling_attention > 0) return spec->scaling_attention;
    if (spec->scaling_mscale > 0 && spec->scaling_mscale_all > 0) {
        return yarn_temperature(factor, spec->scaling_mscale) / yarn_temperature(factor, spec->scaling_mscale_all);
    }
    return yarn_temperature(factor, 1);
}

static double longrope_attention(const struct spec *spec) {
    double factor = spec->scaling_stretch;
    if (spec->scaling_attention > 0) return spec->scaling_attention;
    return factor <= 1 ? 1 : sqrt(1 + log(factor) / log(spec->scaling_original));
}

static void scale_frequencies(const struct spec *spec, uint64_t length, double *inverse, double *attention_factor) {
    const double *factors = (double)length > spec->scaling_original ? spec->long_factor : spec->short_factor;
    switch (spec->scaling) {
    case SCALING_LINEAR:
        for (uint64_t i = 0; i < spec->rotary_dim / 2; i++) inverse[i] /= spec->scaling_factor;
        break;
    case SCALING_DYNAMIC: plain_frequencies(dynamic_theta(spec, length), spec->rotary_dim, inverse); break;
    case SCALING_LLAMA3: llama3_frequencies(spec, inverse); break;
    case SCALING_YARN:
        yarn_frequencies(spec, spec->scaling_factor, inverse);
        *attention_factor = yarn_attention(spec, spec->scaling_factor);
        break;
    case SCALING_LONGROPE:
        for (uint64_t i = 0; i < spec->rotary_dim / 2; i++) inverse[i] /= factors[i];
        *attention_factor = longrope_attention(spec);
        break;
    default: break;
    }
}

void rope_frequencies(const struct spec *spec, bool local, uint64_t length, double *inverse, double *attention_factor) {
    *attention_factor = 1;
    plain_frequencies(local ? spec->rope_local_theta : spec->rope_theta, spec->rotary_dim, inverse);
    if (!local) scale_frequencies(spec, length, inverse, attention_factor);
}

void rope_fill(const double *inverse, double attention_factor, uint64_t first, uint64_t count, struct rope_table *table) {
    for (uint64_t row = 0; row < count; row++) {
        for (uint64_t i = 0; i < table->pairs; i++) {
            double angle = (double)(first + row) * inverse[i];
            table->cosines[row * table->pairs + i] = (float)(cos(angle) * attention_factor);
            table->sines[row * table->pairs + i] = (float)(sin(angle) * attention_factor);
        }
    }
}

void rope_rotate(const struct rope_table *table, int32_t kind, uint64_t row, float *head) {
    const float *cosines = table->cosines + row * table->pairs, *sines = table->sines + row * table->pairs;
    for (uint64_t i = 0; i < table->pairs; i++) {
        float *a = kind == ROPE_HALF ? head + i : head + 2 * i;
        float *b = kind == ROPE_HALF ? head + table->pairs + i : head + 2 * i + 1;
        float x = *a, y = *b;
        *a = x * cosines[i] - y * sines[i];
        *b = y * cosines[i] + x * sines[i];
    }
}
