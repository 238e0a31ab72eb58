/* SPDX-License-Identifier: Apache-2.0
 *
 * Nearest points of a curve by ring search: radii grow with the ticket, so the nearest point lies among the tickets
 * whose radius differs from the query's by less than the best distance so far. Exact: the result is that of trying all
 * points in F32, ties going to the lowest ticket, from the portable and from the vector search alike. */
#ifndef SPIRAL_SEARCH_H
#define SPIRAL_SEARCH_H

#include "spiral_curve.h"

enum { SPIRAL_LANES = 8, SPIRAL_RINGS = 512 };

/* All points of a curve, apart: the arrays are filled up to whole lanes with points that are never nearest. */
struct spiral_rings {
    const float *x, *y, *radius; /* [lanes * SPIRAL_LANES] */
    uint32_t count;
    uint32_t lanes;
    uint32_t uniform; /* radius^2 is the ticket, about */
    float rings_per_radius;
    /* Of a companded curve, by radius: a ticket near it, and about the radius of its cell (1 on a uniform curve). */
    uint16_t first[SPIRAL_RINGS];
    float cell[SPIRAL_RINGS];
};

/* Bytes that the arrays for `count` points take. */
uint64_t spiral_rings_bytes(uint32_t count);
/* memory: spiral_rings_bytes, aligned to 32, belonging to the caller. */
void spiral_rings_init(struct spiral_rings *rings, const struct spiral_curve *curve, void *memory);

/* tickets[i]: nearest point to (x[i], y[i]), finite values. */
typedef void spiral_search(const struct spiral_rings *rings, const float *x, const float *y, uint64_t count,
                           uint16_t *tickets);

spiral_search spiral_search_portable;
#if defined(__x86_64__)
spiral_search spiral_search_avx2;
#endif

/* The best for this machine. [any] */
spiral_search *spiral_search_get(void);

static inline uint32_t spiral_rings_index(const struct spiral_rings *rings, float rho) {
    float at = rho * rings->rings_per_radius;
    return at >= (float)(SPIRAL_RINGS - 1) ? SPIRAL_RINGS - 1 : (uint32_t)at;
}

/* The lane group where a search for radius rho begins. */
static inline uint32_t spiral_rings_start(const struct spiral_rings *rings, float rho) {
    float square = rho * rho;
    if (!rings->uniform) return rings->first[spiral_rings_index(rings, rho)] / SPIRAL_LANES;
    return square >= (float)rings->count ? rings->lanes - 1 : (uint32_t)square / SPIRAL_LANES;
}

/* Within which radii a point nearer than sqrt(best) can lie; the slack covers all roundings. */
static inline float spiral_rings_reach(float rho, float root) {
    return root * 1.00001f + rho * 1e-6f;
}

#endif
