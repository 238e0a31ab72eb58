/* SPDX-License-Identifier: Apache-2.0
 *
 * The one owner of malloc. Everything the program allocates comes from here, libraries included where they
 * let us (jansson, PCRE2), so that the fault tests can make the N-th allocation fail. */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* Lets large buffers go back to the system as soon as they are freed. Once, at the start of a program; without it only the
 * peak is higher. */
void mem_setup(void);

/* All return NULL when memory is short; size 0 gives a unique pointer. [any] */
void *mem_alloc(size_t size);
void *mem_alloc_zero(uint64_t count, uint64_t size);  /* checks count * size */
void *mem_alloc_array(uint64_t count, uint64_t size); /* checks count * size */
void *mem_resize(void *memory, uint64_t count, uint64_t size);
char *mem_dup_text(const char *text);
char *mem_dup_bytes(const void *bytes, size_t size); /* with a NUL behind */
void mem_free(void *memory);                         /* NULL is allowed; frees aligned memory too */

/* 64-byte aligned, uninitialised. [any] */
void *mem_alloc_aligned(uint64_t size);
/* The same on large pages where the system has them, for what is read through again and again. [any] */
void *mem_alloc_pages(uint64_t size);

#endif
