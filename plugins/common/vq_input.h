/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading numbers from bytes that may be damaged. */
#ifndef VQ_INPUT_H
#define VQ_INPUT_H

#include "vq_bitstream.h"

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

static inline uint32_t input_byte(struct input *input) {
    const uint8_t *byte = input_take(input, 1);
    return byte ? *byte : 0;
}

static inline uint64_t input_varint(struct input *input) {
    uint64_t value = 0;
    for (unsigned i = 0; i < VQ_VARINT_MAX; i++) {
        uint32_t byte = input_byte(input);
        value |= (uint64_t)(byte & 127) << (7 * i);
        if (byte < 128) return value;
    }
    input->short_of = true;
    return 0;
}

#endif
