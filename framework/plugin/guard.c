/* SPDX-License-Identifier: Apache-2.0
 *
 * One mapping: a forbidden page, the data pages, a forbidden page. The bytes end where the last page begins. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "guard.h"

#include <base/checked.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRONT 0x3C

static uint64_t page_bytes(void) {
    long bytes = sysconf(_SC_PAGESIZE);
    return bytes > 0 ? (uint64_t)bytes : 4096;
}

bool guard_open(struct guard *guard, uint64_t size, uint8_t garbage) {
    uint64_t page = page_bytes(), data = ceil_div(size, page) * page;
    *guard = (struct guard){.size = size};
    void *mapping = mmap(NULL, data + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) return false;
    guard->mapping = mapping;
    guard->mapped = data + 2 * page;
    guard->bytes = guard->mapping + page + data - size;
    memset(guard->mapping + page, FRONT, data - size);
    memset(guard->bytes, garbage, size);
    if (!mprotect(guard->mapping, page, PROT_NONE) && !mprotect(guard->mapping + page + data, page, PROT_NONE))
        return true;
    guard_close(guard);
    return false;
}

void guard_make_read_only(struct guard *guard) {
    uint64_t page = page_bytes();
    if (guard->mapped > 2 * page) mprotect(guard->mapping + page, guard->mapped - 2 * page, PROT_READ);
}

bool guard_is_whole(const struct guard *guard) {
    for (const uint8_t *at = guard->mapping + page_bytes(); at < guard->bytes; at++) {
        if (*at != FRONT) return false;
    }
    return true;
}

void guard_close(struct guard *guard) {
    if (guard->mapping) munmap(guard->mapping, guard->mapped);
    *guard = (struct guard){0};
}
