/* SPDX-License-Identifier: Apache-2.0
 *
 * Read from the processor and from what Linux shows of itself. */
#include "machine.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* Brand string of the processor (CPUID leaves 0x80000002 to 4), "unknown" elsewhere. */
void machine_cpu(char name[MACHINE_CPU]) {
    memcpy(name, "unknown", 8);
#if defined(__x86_64__)
    unsigned words[12];
    for (unsigned i = 0; i < 3; i++) {
        if (!__get_cpuid(0x80000002U + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]))
            return;
    }
    memcpy(name, words, sizeof words);
    name[sizeof words] = '\0';
    for (size_t length = strlen(name); length && name[length - 1] == ' '; length--) name[length - 1] = '\0';
#endif
}

/* Files of /proc have no size: what one read gives is all that is wanted. */
static bool read_text(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0) close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* The number of kB behind `name` in /proc/meminfo. */
static uint64_t memory_line(const char *text, const char *name) {
    const char *at = strstr(text, name);
    return at ? (uint64_t)strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

/* Version 2 of control groups; "max" is no limit. */
static uint64_t group_limit(void) {
    char text[4096], path[4200], *end;
    if (!read_text("/proc/self/cgroup", text, sizeof text) || strncmp(text, "0::", 3) != 0) return 0;
    end = strchr(text, '\n');
    if (end) *end = '\0';
    (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", text + 3);
    if (!read_text(path, text, sizeof text) || !isdigit((unsigned char)text[0])) return 0;
    return (uint64_t)strtoull(text, NULL, 10);
}

struct machine_memory machine_memory(void) {
    char text[4096];
    struct machine_memory memory = {0};
    if (read_text("/proc/meminfo", text, sizeof text)) {
        memory.total = memory_line(text, "MemTotal:");
        memory.available = memory_line(text, "MemAvailable:");
    }
    memory.limit = group_limit();
    return memory;
}
