/* SPDX-License-Identifier: Apache-2.0
 *
 * See scales.h. No libm but floor. */
#include "scales.h"

#include "row_step.h"
#include "shape.h"

#include <math.h>

enum { END_LEAST = 1 << 10 };

bool scales_rows_pay(const double *rows, int32_t count, uint32_t unit, double columns, int32_t *centre) {
    double sum = 0, square = 0, all = 0, bits = 0;
    for (int32_t i = 0; i < count; i++) {
        all += rows[i];
        sum += rows[i] * i;
        square += rows[i] * i * i;
    }
    const double mean = all > 0 ? sum / all : count / 2, octaves = (1u << unit) / 4.0;
    *centre = (int32_t)floor(mean + 0.5);
    for (int32_t i = 0; i < count; i++) bits += rows[i] * (double)rice_bits(zigzag(i - *centre), 0);
    return all > 1 && ROW_STEP_LOSS * octaves * octaves * (square - mean * sum) * columns > bits;
}

uint32_t scales_window(const double *weights, int32_t count, int32_t *first) {
    int32_t low = 0, high = count - 1;
    double below = weights[low], above = weights[high], all = 0;
    for (int32_t i = 0; i < count; i++) all += weights[i];
    const double least = all / 4 < END_LEAST ? all / 4 : END_LEAST;
    while (low < high && below <= least) below += weights[++low];
    while (high > low && above <= least) above += weights[--high];
    if (high - low >= SHAPE_SCALES_MAX) low = high - SHAPE_SCALES_MAX + 1;
    *first = low;
    return (uint32_t)(high - low + 1);
}
