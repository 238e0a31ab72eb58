/* SPDX-License-Identifier: Apache-2.0
 *
 * A file that lives in memory, for fuzz targets of readers that take a path. Define _GNU_SOURCE first. */
#ifndef TESTS_FUZZ_MEMORY_FILE_H
#define TESTS_FUZZ_MEMORY_FILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Zero-initialise; lives as long as the process. */
struct memory_file {
    char path[64];
    int fd;
};

static inline void memory_file_fill(struct memory_file *file, const uint8_t *bytes, size_t size) {
    if (!file->path[0]) {
        file->fd = memfd_create("fuzz", 0);
        snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
    }
    if (file->fd < 0 || ftruncate(file->fd, 0) || pwrite(file->fd, bytes, size, 0) != (ssize_t)size) abort();
}

#endif
