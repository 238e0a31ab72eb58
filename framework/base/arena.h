/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory with one lifetime: many small pieces, one free. Used for parsed structures (config, roles, lists of
 * tensors). Not thread-safe. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena_block;

/* Zero-initialise before first use: struct arena a = {0}. */
struct arena {
    struct arena_block *blocks;
    size_t used; /* in the newest block */
};

/* 16-byte aligned, zeroed; NULL when memory is short or count * size overflows. */
void *arena_alloc(struct arena *arena, uint64_t count, uint64_t size);
char *arena_dup(struct arena *arena, const char *text, size_t length); /* with a NUL behind */
char *arena_format(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
void arena_clear(struct arena *arena);

#endif
