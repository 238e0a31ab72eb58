/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory whose end lies against a page that may not be touched: one byte too far ends the process. In front of it
 * stands a pattern that is looked at afterwards. For the conformance suite. */
#ifndef PLUGIN_GUARD_H
#define PLUGIN_GUARD_H

#include <stdbool.h>
#include <stdint.h>

struct guard {
    uint8_t *bytes; /* [size], aligned to the largest power of two that divides size (to a page for 0) */
    uint64_t size;
    uint8_t *mapping;
    uint64_t mapped;
};

/* False when memory is short. `garbage` is what the bytes hold. */
bool guard_open(struct guard *guard, uint64_t size, uint8_t garbage);
void guard_make_read_only(struct guard *guard);
/* True when nobody wrote in front of the bytes. */
bool guard_is_whole(const struct guard *guard);
void guard_close(struct guard *guard);

#endif
