/* SPDX-License-Identifier: Apache-2.0
 *
 * Little-endian numbers in byte strings. Reading goes through a cursor that remembers the first overrun, so a
 * parser can read a whole structure and ask once whether all of it was there. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
    const uint8_t *bytes;
    uint64_t size;
    uint64_t at;
    bool overrun; /* once set, everything reads as zero */
};

static inline struct cursor cursor_over(const void *bytes, uint64_t size) {
    struct cursor cursor = {bytes, size, 0, false};
    return cursor;
}

/* Pointer to the next `size` bytes, or NULL (and overrun) when fewer are left. */
static inline const uint8_t *cursor_take(struct cursor *cursor, uint64_t size) {
    if (cursor->overrun || size > cursor->size - cursor->at) {
        cursor->overrun = true;
        return NULL;
    }
    const uint8_t *taken = cursor->bytes + cursor->at;
    cursor->at += size;
    return taken;
}

static inline uint64_t cursor_left(const struct cursor *cursor) {
    return cursor->overrun ? 0 : cursor->size - cursor->at;
}

static inline uint64_t load_le(const uint8_t *bytes, unsigned size) {
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static inline void store_le(uint8_t *bytes, uint64_t value, unsigned size) {
    for (unsigned i = 0; i < size; i++) bytes[i] = (uint8_t)(value >> (8 * i));
}

/* A number of `size` bytes (1, 2, 4, 8); 0 after an overrun. */
static inline uint64_t cursor_u(struct cursor *cursor, unsigned size) {
    const uint8_t *bytes = cursor_take(cursor, size);
    return bytes ? load_le(bytes, size) : 0;
}

#endif
