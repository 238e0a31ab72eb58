/* SPDX-License-Identifier: Apache-2.0
 *
 * A list of blocks; the newest is filled from its front. Pieces larger than a block get one of their own. */
#include "arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "checked.h"

#define BLOCK_BYTES ((size_t)16384)
#define PIECE_ALIGNMENT ((size_t)16)

struct arena_block {
    struct arena_block *older;
    size_t capacity;
    _Alignas(16) unsigned char bytes[];
};

static struct arena_block *add_block(struct arena *arena, size_t capacity) {
    if (capacity > SIZE_MAX - sizeof(struct arena_block)) return NULL;
    struct arena_block *block = mem_alloc_zero(1, sizeof *block + capacity);
    if (!block) return NULL;
    block->older = arena->blocks;
    block->capacity = capacity;
    arena->blocks = block;
    arena->used = 0;
    return block;
}

void *arena_alloc(struct arena *arena, uint64_t count, uint64_t size) {
    uint64_t bytes;
    if (!checked_mul(count, size, &bytes) || bytes > SIZE_MAX / 2) return NULL;
    size_t rounded = ((size_t)bytes + PIECE_ALIGNMENT - 1) / PIECE_ALIGNMENT * PIECE_ALIGNMENT;
    struct arena_block *block = arena->blocks;
    if (!block || block->capacity - arena->used < rounded) {
        block = add_block(arena, rounded > BLOCK_BYTES ? rounded : BLOCK_BYTES);
        if (!block) return NULL;
    }
    void *piece = block->bytes + arena->used;
    arena->used += rounded;
    return piece;
}

char *arena_dup(struct arena *arena, const char *text, size_t length) {
    char *copy = arena_alloc(arena, length + 1, 1);
    if (copy && length) memcpy(copy, text, length);
    return copy;
}

char *arena_format(struct arena *arena, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) return NULL;
    char *text = arena_alloc(arena, (uint64_t)length + 1, 1);
    if (!text) return NULL;
    va_start(arguments, format);
    (void)vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}

void arena_clear(struct arena *arena) {
    while (arena->blocks) {
        struct arena_block *older = arena->blocks->older;
        mem_free(arena->blocks);
        arena->blocks = older;
    }
    arena->used = 0;
}
