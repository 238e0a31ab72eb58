/* SPDX-License-Identifier: Apache-2.0
 *
 * The ring search in plain C: what the vector one must equal. */
#include "spiral_search.h"

#include <math.h>
#include <stdbool.h>

/* So far away that no query prefers it, and its square is finite. */
#define NOWHERE 1e18f

uint64_t spiral_rings_bytes(uint32_t count) {
    uint64_t lanes = (uint64_t)count / SPIRAL_LANES + 1;
    return 3 * lanes * SPIRAL_LANES * sizeof(float) + (uint64_t)count * sizeof(struct spiral_point);
}

static void fill_starts(struct spiral_rings *rings) {
    uint32_t n = 0;
    rings->rings_per_radius = (float)(SPIRAL_RINGS - 1) / rings->radius[rings->count - 1];
    for (uint32_t i = 0; i < SPIRAL_RINGS; i++) {
        float radius = ((float)i + 0.5f) / rings->rings_per_radius;
        while (n + 1 < rings->count && rings->radius[n] < radius) n++;
        uint32_t low = n < 4 ? 0 : n - 4, high = n + 4 < rings->count ? n + 4 : rings->count - 1;
        float area = rings->radius[high] * rings->radius[high] - rings->radius[low] * rings->radius[low];
        rings->first[i] = (uint16_t)n;
        rings->cell[i] = sqrtf(area / (float)(high - low));
    }
}

void spiral_rings_init(struct spiral_rings *rings, const struct spiral_curve *curve, void *memory) {
    const uint32_t lanes = (curve->count + SPIRAL_LANES - 1) / SPIRAL_LANES, padded = lanes * SPIRAL_LANES;
    float *x = memory, *y = x + padded, *radius = y + padded;
    struct spiral_point *points = (struct spiral_point *)(void *)(radius + padded);
    spiral_curve_points(curve, points);
    for (uint32_t n = 0; n < padded; n++) {
        x[n] = n < curve->count ? points[n].x : NOWHERE;
        y[n] = n < curve->count ? points[n].y : NOWHERE;
        radius[n] = sqrtf(x[n] * x[n] + y[n] * y[n]);
    }
    rings->x = x;
    rings->y = y;
    rings->radius = radius;
    rings->count = curve->count;
    rings->lanes = lanes;
    rings->uniform = !curve->companded;
    if (curve->companded) fill_starts(rings);
}

struct nearest {
    float best; /* squared distance */
    uint32_t ticket;
};

static void try_lane(const struct spiral_rings *rings, uint32_t lane, float x, float y, struct nearest *nearest) {
    for (uint32_t n = lane * SPIRAL_LANES; n < (lane + 1) * SPIRAL_LANES; n++) {
        float dx = rings->x[n] - x, dy = rings->y[n] - y;
        float square = dx * dx + dy * dy;
        if (square < nearest->best || (square == nearest->best && n < nearest->ticket)) {
            nearest->best = square;
            nearest->ticket = n;
        }
    }
}

static uint32_t search_one(const struct spiral_rings *rings, float x, float y) {
    const float rho = sqrtf(x * x + y * y);
    uint32_t start = spiral_rings_start(rings, rho), low = start, high = start + 1;
    struct nearest nearest = {INFINITY, 0};
    try_lane(rings, start, x, y, &nearest);
    for (bool more = true; more;) {
        float reach = spiral_rings_reach(rho, sqrtf(nearest.best));
        more = false;
        if (high < rings->lanes && rings->radius[high * SPIRAL_LANES] <= rho + reach) {
            try_lane(rings, high++, x, y, &nearest);
            more = true;
        }
        if (low > 0 && rings->radius[low * SPIRAL_LANES - 1] >= rho - reach) {
            try_lane(rings, --low, x, y, &nearest);
            more = true;
        }
    }
    return nearest.ticket;
}

void spiral_search_portable(const struct spiral_rings *rings, const float *x, const float *y, uint64_t count,
                            uint16_t *tickets) {
    for (uint64_t i = 0; i < count; i++) tickets[i] = (uint16_t)search_one(rings, x[i], y[i]);
}

spiral_search *spiral_search_get(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return spiral_search_avx2;
#endif
    return spiral_search_portable;
}
