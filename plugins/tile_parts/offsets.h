/* SPDX-License-Identifier: Apache-2.0
 *
 * How far reconstruction points lie from their indices, in the headers of scalar and trellis: a count in a byte, and for
 * magnitudes 1.. an i8 each, outwards; those of larger magnitudes are 0. */
#ifndef OFFSETS_H
#define OFFSETS_H

#include "input.h"
#include "sink.h"

#include <string.h>

enum { OFFSETS_MAX = 15 };

struct offsets {
    uint32_t count;
    int8_t values[OFFSETS_MAX];
};

/* The nearest that can be stored. */
static inline int8_t offset_nearest(double offset) {
    offset = offset < -127 ? -127 : offset > 127 ? 127 : offset;
    return (int8_t)(offset < 0 ? offset - 0.5 : offset + 0.5);
}

static inline void offsets_write(const struct offsets *lists, uint32_t count, struct sink *sink) {
    for (uint32_t i = 0; i < count; i++) {
        sink_number(sink, lists[i].count, 1);
        for (uint32_t m = 0; m < lists[i].count; m++) sink_number(sink, (uint8_t)lists[i].values[m], 1);
    }
}

/* False for what no writer writes. */
static inline bool offsets_read(struct input *input, struct offsets *offsets) {
    offsets->count = input_byte(input);
    const uint8_t *values = input_take(input, offsets->count);
    if (!values || offsets->count > OFFSETS_MAX) return false;
    memcpy(offsets->values, values, offsets->count);
    return true;
}

/* Passes by lists that are read later. */
static inline void offsets_skip(struct input *input, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) (void)input_take(input, input_byte(input));
}

#endif
