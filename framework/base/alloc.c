/* SPDX-License-Identifier: Apache-2.0
 *
 * Wrappers around the C library's allocator. Every entry passes fault_hit, which is empty unless the build
 * defines TSR_FAULT. */
#define _DEFAULT_SOURCE /* madvise */
#include "alloc.h"

#if defined(__linux__)
#include <malloc.h>
#endif
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "checked.h"
#include "fault.h"

#define ALIGNMENT 64
#define LARGE_PAGE ((size_t)2 << 20)

void mem_setup(void) {
#if defined(M_MMAP_THRESHOLD) && defined(M_TRIM_THRESHOLD)
    /* glibc raises both by itself, to 32 and 64 MiB, and keeps what it could return. Decoded tensors of up to 4 MiB still
     * reuse pages. */
    (void)mallopt(M_MMAP_THRESHOLD, 4 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 16 << 20);
#endif
}

void *mem_alloc(size_t size) {
    if (fault_hit(FAULT_ALLOC)) return NULL;
    return malloc(size ? size : 1);
}

void *mem_alloc_array(uint64_t count, uint64_t size) {
    uint64_t bytes;
    if (!checked_mul(count, size, &bytes) || bytes > SIZE_MAX) return NULL;
    return mem_alloc((size_t)bytes);
}

void *mem_alloc_zero(uint64_t count, uint64_t size) {
    if (fault_hit(FAULT_ALLOC)) return NULL;
    return calloc(count ? count : 1, size ? size : 1);
}

void *mem_resize(void *memory, uint64_t count, uint64_t size) {
    uint64_t bytes;
    if (!checked_mul(count, size, &bytes) || bytes > SIZE_MAX) return NULL;
    if (fault_hit(FAULT_ALLOC)) return NULL;
    return realloc(memory, bytes ? (size_t)bytes : 1);
}

char *mem_dup_bytes(const void *bytes, size_t size) {
    if (size == SIZE_MAX) return NULL;
    char *copy = mem_alloc(size + 1);
    if (!copy) return NULL;
    if (size) memcpy(copy, bytes, size);
    copy[size] = '\0';
    return copy;
}

char *mem_dup_text(const char *text) {
    return mem_dup_bytes(text, strlen(text));
}

void mem_free(void *memory) {
    free(memory);
}

void *mem_alloc_aligned(uint64_t size) {
    if (size > SIZE_MAX - ALIGNMENT) return NULL;
    if (fault_hit(FAULT_ALLOC)) return NULL;
    size_t rounded = ((size_t)size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return aligned_alloc(ALIGNMENT, rounded ? rounded : ALIGNMENT);
}

void *mem_alloc_pages(uint64_t size) {
    if (size > SIZE_MAX - LARGE_PAGE) return NULL;
    if (fault_hit(FAULT_ALLOC)) return NULL;
    size_t rounded = ((size_t)size + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
    void *memory = aligned_alloc(LARGE_PAGE, rounded ? rounded : LARGE_PAGE);
#if defined(MADV_HUGEPAGE)
    if (memory) (void)madvise(memory, rounded, MADV_HUGEPAGE); /* advice: without it only slower */
#endif
    return memory;
}
