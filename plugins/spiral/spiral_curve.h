/* SPDX-License-Identifier: Apache-2.0
 *
 * The curve: from a ticket to its point. Decoders evaluate it, nothing of it is stored. Doubles with + - * / and sqrt
 * in a fixed order, rounded to F32 once: the same bits on every machine. */
#ifndef SPIRAL_CURVE_H
#define SPIRAL_CURVE_H

#include <stdint.h>

struct spiral_point {
    float x, y;
};

/* What the curve is, without scale: uniform (radius sqrt(n + delta / 16), cells of area pi) or Gaussian-companded
 * (radius sqrt(-2 ln(1 - (n + 1/2) / count))). */
struct spiral_curve {
    uint32_t companded;
    uint32_t delta;
    uint32_t count; /* tickets */
};

/* points[count]. */
void spiral_curve_points(const struct spiral_curve *curve, struct spiral_point *points);

/* What decoders make of the tickets of one class: points[count] of the curve, moved by offsets[2 * offset_count] / 64
 * each at the front, drawn in by shrink / 512 behind. */
void spiral_curve_move(struct spiral_point *points, uint32_t count, const int8_t *offsets, uint32_t offset_count,
                       uint32_t shrink);

#endif
