/* SPDX-License-Identifier: Apache-2.0
 *
 * The trellis: a systematic convolutional code with feedback (Ungerboeck, "Channel coding with multilevel/phase
 * signals", IEEE Trans. Inf. Theory 28, 1982). The lowest bit of a state chooses the quantiser, the parity of the index
 * the way on. Encoder and decoder have it from its parity-check polynomials alone. */
#ifndef TRELLIS_CODE_H
#define TRELLIS_CODE_H

#include <stdbool.h>
#include <stdint.h>

enum { TRELLIS_STATES_MAX = 256 };

struct trellis_code {
    uint32_t states;
    uint8_t next[2 * TRELLIS_STATES_MAX]; /* [state][parity] */
    uint8_t from[2 * TRELLIS_STATES_MAX]; /* [state]: the two states before it, the lower first */
    uint8_t with[2 * TRELLIS_STATES_MAX]; /* and the parities that lead here */
};

/* False unless states is 4, 8, 16, 32, 64, 128 or 256. */
bool trellis_code_init(struct trellis_code *code, uint32_t states);

#endif
