/* SPDX-License-Identifier: Apache-2.0
 *
 * Point n lies at the angle of n golden angles (Vogel, "A better way to construct the sunflower head", Mathematical
 * Biosciences 44, 1979): the fractions of a turn are exact in 64-bit integers. */
#include "spiral_curve.h"

#include "row_step.h"

#include <math.h>
#include <string.h>

/* 2^64 / phi^2, phi the golden ratio, rounded to nearest. */
#define GOLDEN_TURN UINT64_C(0x61C8864680B583EB)
#define LN_2 0.6931471805599453
#define HALF_PI 1.5707963267948966

/* Cosine and sine of 2 pi turn / 2^64, by their series within an eighth of a turn: errors below 1e-15. */
static void cosine_sine(uint64_t turn, double *cosine, double *sine) {
    uint64_t quarter = (turn + (UINT64_C(1) << 61)) >> 62;
    double angle = (double)(int64_t)(turn - (quarter << 62)) * 0x1p-62 * HALF_PI, square = angle * angle;
    double s = 1, c = 1;
    for (int k = 16; k >= 2; k -= 2) {
        s = 1 - s * square / (k * (k + 1));
        c = 1 - c * square / (k * (k - 1));
    }
    s *= angle;
    *cosine = quarter % 2 ? (quarter == 1 ? -s : s) : (quarter == 2 ? -c : c);
    *sine = quarter % 2 ? (quarter == 1 ? c : -c) : (quarter == 2 ? -s : s);
}

void spiral_curve_points(const struct spiral_curve *curve, struct spiral_point *points) {
    const double count_log = exact_log2((double)curve->count);
    uint64_t turn = 0;
    for (uint32_t n = 0; n < curve->count; n++, turn += GOLDEN_TURN) {
        double cosine, sine, square = (double)n + (double)curve->delta / 16;
        if (curve->companded) square = 2 * LN_2 * (count_log - exact_log2((double)(curve->count - n) - 0.5));
        double radius = sqrt(square);
        cosine_sine(turn, &cosine, &sine);
        points[n].x = (float)(radius * cosine);
        points[n].y = (float)(radius * sine);
    }
}

void spiral_curve_move(struct spiral_point *points, uint32_t count, const int8_t *offsets, uint32_t offset_count,
                       uint32_t shrink) {
    const float factor = (float)(512 - (int32_t)shrink) / 512;
    for (uint32_t n = 0; n < count; n++) {
        if (n < offset_count) {
            points[n].x += (float)offsets[2 * n] / 64;
            points[n].y += (float)offsets[2 * n + 1] / 64;
        } else {
            points[n].x *= factor;
            points[n].y *= factor;
        }
    }
}
