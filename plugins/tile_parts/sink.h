/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing the numbers and bits that input.h reads. */
#ifndef SINK_H
#define SINK_H

#include "numbers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes at bytes[at..]; `full` once something did not fit. */
struct sink {
    uint8_t *bytes;
    uint64_t capacity, at;
    bool full;
};

static inline uint8_t *sink_take(struct sink *sink, uint64_t size) {
    if (sink->full || size > sink->capacity - sink->at) {
        sink->full = true;
        return NULL;
    }
    sink->at += size;
    return sink->bytes + sink->at - size;
}

static inline void sink_number(struct sink *sink, uint32_t value, unsigned size) {
    uint8_t *bytes = sink_take(sink, size);
    for (unsigned i = 0; bytes && i < size; i++) bytes[i] = (uint8_t)(value >> (8 * i));
}

static inline void sink_varint(struct sink *sink, uint64_t value) {
    for (; value >= 128; value >>= 7) sink_number(sink, (uint32_t)(value & 127) | 128, 1);
    sink_number(sink, (uint32_t)value, 1);
}

/* The same at bytes[*at..], where there is room. */
static inline void put_varint(uint8_t *bytes, uint64_t *at, uint64_t value) {
    for (; value >= 128; value >>= 7) bytes[(*at)++] = (uint8_t)((value & 127) | 128);
    bytes[(*at)++] = (uint8_t)value;
}

/* Side bits, least significant first, into zeroed bytes. */
struct sink_bits {
    uint8_t *bytes;
    uint64_t at;
};

static inline void bits_put(struct sink_bits *bits, uint32_t value, uint32_t count) {
    for (uint32_t i = 0; i < count; i++, bits->at++) {
        bits->bytes[bits->at / 8] = (uint8_t)(bits->bytes[bits->at / 8] | ((value >> i) & 1u) << (bits->at % 8));
    }
}

static inline void bits_put_rice(struct sink_bits *bits, uint32_t value, uint32_t parameter) {
    uint32_t prefix = value >> parameter;
    if (prefix >= RICE_PREFIX_MAX) {
        bits_put(bits, (1u << RICE_PREFIX_MAX) - 1, RICE_PREFIX_MAX);
        bits_put(bits, value, 16);
        return;
    }
    bits_put(bits, (1u << prefix) - 1, prefix + 1);
    bits_put(bits, value, parameter);
}

#endif
