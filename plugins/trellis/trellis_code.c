/* SPDX-License-Identifier: Apache-2.0
 *
 * Parity-check polynomials of Ungerboeck's one-dimensional codes, and the state machine made from them in observer
 * form: with z0 the lowest bit of the state and z1 the parity, bit j of the next state is bit j+1 + h0[j+1] z0 +
 * h1[j+1] z1. */
#include "trellis_code.h"

#include <stddef.h>

struct polynomials {
    uint32_t states, h0, h1;
};

/* In octal, as published (Ungerboeck 1982, table I; 1987, part II, table I). */
static const struct polynomials POLYNOMIALS[] = {
    {4, 05, 02}, {8, 013, 04}, {16, 023, 04}, {32, 045, 010}, {64, 0103, 024}, {128, 0235, 0126}, {256, 0515, 0362},
};

static uint32_t step(const struct polynomials *code, uint32_t state, uint32_t parity) {
    uint32_t next = state >> 1;
    if (state & 1) next ^= code->h0 >> 1;
    if (parity) next ^= code->h1 >> 1;
    return next;
}

bool trellis_code_init(struct trellis_code *code, uint32_t states) {
    const struct polynomials *use = NULL;
    uint8_t known[TRELLIS_STATES_MAX] = {0};
    for (unsigned i = 0; i < sizeof POLYNOMIALS / sizeof POLYNOMIALS[0]; i++) {
        if (POLYNOMIALS[i].states == states) use = &POLYNOMIALS[i];
    }
    if (!use) return false;
    code->states = states;
    for (uint32_t s = 0; s < states; s++) {
        for (uint32_t parity = 0; parity < 2; parity++) {
            uint32_t to = step(use, s, parity);
            code->next[2 * s + parity] = (uint8_t)to;
            code->from[2 * to + known[to]] = (uint8_t)s;
            code->with[2 * to + known[to]] = (uint8_t)parity;
            known[to]++;
        }
    }
    return true;
}
