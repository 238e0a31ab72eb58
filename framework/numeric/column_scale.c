/* SPDX-License-Identifier: Apache-2.0
 *
 * Powers of two by their exponent alone, quarters of an octave from a table: no libm. */
#include "column_scale.h"

#include <string.h>

static float factor_of(int code) {
    static const float QUARTERS[COLUMN_SCALE_OCTAVE] = {0x1p0f, 0x1.306fep0f, 0x1.6a09e6p0f, 0x1.ae89fap0f};
    const int quarter = code & (COLUMN_SCALE_OCTAVE - 1), octave = (code - quarter) / COLUMN_SCALE_OCTAVE;
    const uint32_t bits = (uint32_t)(127 + octave) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return QUARTERS[quarter] * power;
}

void column_scale_factors(const int8_t *codes, uint64_t count, bool turned, float *factors) {
    for (uint64_t i = 0; i < count; i++) factors[i] = factor_of(turned ? -codes[i] : codes[i]);
}

void column_scale_apply(const float *factors, uint64_t rows, uint64_t columns, float *x) {
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t c = 0; c < columns; c++) x[r * columns + c] *= factors[c];
    }
}
