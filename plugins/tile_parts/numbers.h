/* SPDX-License-Identifier: Apache-2.0
 *
 * What readers (input.h) and writers (sink.h) of numbers share. A varint is LEB128 of at most VARINT_MAX bytes and 32
 * bits. The Rice code (Rice 1979) of v by parameter k is v >> k ones, a zero, the k low bits of v; RICE_PREFIX_MAX ones
 * announce v in 16 bits instead. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <stdint.h>

enum { VARINT_MAX = 5, RICE_PREFIX_MAX = 12, RICE_MAX = 15 };

static inline uint64_t rice_bits(uint32_t value, uint32_t parameter) {
    uint32_t prefix = value >> parameter;
    return prefix < RICE_PREFIX_MAX ? prefix + 1 + parameter : RICE_PREFIX_MAX + 16;
}

#endif
