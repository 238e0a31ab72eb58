/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading little-endian numbers, and bits, that may be damaged. */
#ifndef INPUT_H
#define INPUT_H

#include "numbers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is left of the input; `short_of` once more was asked for than there is. */
struct input {
    const uint8_t *bytes;
    uint64_t size;
    bool short_of;
};

static inline const uint8_t *input_take(struct input *input, uint64_t size) {
    if (input->short_of || size > input->size) {
        input->short_of = true;
        return NULL;
    }
    const uint8_t *taken = input->bytes;
    input->bytes += size;
    input->size -= size;
    return taken;
}

static inline uint64_t input_number(struct input *input, unsigned size) {
    const uint8_t *bytes = input_take(input, size);
    uint64_t value = 0;
    for (unsigned i = 0; bytes && i < size; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static inline uint32_t input_byte(struct input *input) {
    return (uint32_t)input_number(input, 1);
}

static inline uint32_t input_varint(struct input *input) {
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_MAX; i++) {
        uint32_t byte = input_byte(input);
        value |= (uint64_t)(byte & 127) << (7 * i);
        if (byte < 128) {
            if (value > UINT32_MAX) input->short_of = true;
            return (uint32_t)value;
        }
    }
    input->short_of = true;
    return 0;
}

/* Side bits; zeros behind the end, and `overrun` then. */
struct bits {
    const uint8_t *bytes;
    uint64_t at, count;
    bool overrun;
};

static inline uint32_t bits_get(struct bits *bits, uint32_t count) {
    uint32_t value = 0;
    if (count > bits->count - bits->at) {
        bits->overrun = true;
        return 0;
    }
    for (uint32_t i = 0; i < count; i++, bits->at++) {
        value |= (uint32_t)(bits->bytes[bits->at / 8] >> (bits->at % 8) & 1) << i;
    }
    return value;
}

/* To the next byte; false where that is not there or what is passed by is not zero. */
static inline bool bits_align(struct bits *bits) {
    return bits_get(bits, (uint32_t)(-bits->at % 8)) == 0 && !bits->overrun;
}

/* Nothing is left but zeros to the end of a byte. */
static inline bool bits_end(struct bits *bits) {
    return bits_align(bits) && bits->at == bits->count;
}

static inline uint32_t bits_get_rice(struct bits *bits, uint32_t parameter) {
    uint32_t prefix = 0;
    while (prefix < RICE_PREFIX_MAX && bits_get(bits, 1)) prefix++;
    if (prefix == RICE_PREFIX_MAX) return bits_get(bits, 16);
    return prefix << parameter | bits_get(bits, parameter);
}

#endif
