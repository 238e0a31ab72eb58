/* SPDX-License-Identifier: Apache-2.0
 *
 * Zones overlap: "core" and "uncore" are parts of a package, "psys" holds packages. Counted are packages and, beside them,
 * "dram". */
#define _GNU_SOURCE /* secure_getenv */
#include "energy.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <base/str.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SYSTEM_FOLDER "/sys/class/powercap"
#define ZONE_PREFIX "intel-rapl:" /* also those of AMD */
#define FOLLOW_SECONDS 1.0

static double now(void) {
    struct timespec time;
    return clock_gettime(CLOCK_MONOTONIC, &time) ? 0 : (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* What the file holds from its beginning, without the newline. */
static bool read_text(int fd, char *text, size_t capacity) {
    ssize_t got = fd < 0 ? -1 : pread(fd, text, capacity - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return got > 0;
}

static bool read_count(int fd, uint64_t *count) {
    char text[32], *end = text;
    if (!read_text(fd, text, sizeof text) || text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    *count = strtoull(text, &end, 10);
    return !errno && !*end;
}

static int open_member(const char *zone, const char *name) {
    char *path = fs_join(zone, name);
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    mem_free(path);
    return fd;
}

static bool is_counted(const char *zone) {
    char name[32];
    int fd = open_member(zone, "name");
    bool named = read_text(fd, name, sizeof name);
    if (fd >= 0) close(fd);
    return named && (text_starts_with(name, "package") || !strcmp(name, "dram"));
}

/* Only root may read the counter: that is the usual failure. */
static bool open_zone(const char *path, struct energy *energy) {
    struct energy_zone zone = {.fd = open_member(path, "energy_uj")};
    int failure = errno, range = open_member(path, "max_energy_range_uj");
    bool good = read_count(zone.fd, &zone.last) && read_count(range, &zone.range) && zone.last <= zone.range;
    if (range >= 0) close(range);
    if (good) {
        energy->zones[energy->count++] = zone;
        return true;
    }
    (void)snprintf(energy->missing, sizeof energy->missing, "%.80s/energy_uj: %.60s", path,
                   zone.fd < 0 ? strerror(failure) : "not a counter with a range");
    if (zone.fd >= 0) close(zone.fd);
    return false;
}

static void open_zones(const char *folder, const struct fs_list *list, struct energy *energy) {
    bool good = true;
    energy->zones = mem_alloc_array(list->count, sizeof *energy->zones);
    for (uint64_t i = 0; energy->zones && i < list->count && good; i++) {
        if (!text_starts_with(list->names[i], ZONE_PREFIX)) continue;
        char *path = fs_join(folder, list->names[i]);
        if (path && is_counted(path)) good = open_zone(path, energy);
        mem_free(path);
    }
    if (good && !energy->count) (void)snprintf(energy->missing, sizeof energy->missing, "no RAPL counters in %.100s", folder);
}

void energy_open(const char *folder, struct energy *energy) {
    struct fs_list list = {0};
    if (!folder) folder = secure_getenv("TESSERA_POWERCAP");
    if (!folder) folder = SYSTEM_FOLDER;
    *energy = (struct energy){.looked = now()};
    if (fs_list(folder, false, &list, NULL) == TSR_OK && list.count) {
        open_zones(folder, &list, energy);
    } else {
        (void)snprintf(energy->missing, sizeof energy->missing, "no RAPL counters in %.100s", folder);
    }
    fs_list_clear(&list);
    if (!text_is_utf8(energy->missing, strlen(energy->missing))) { /* a name cut in two, or no name at all */
        (void)snprintf(energy->missing, sizeof energy->missing, "no RAPL counters");
    }
}

double energy_read(struct energy *energy) {
    energy->looked = now();
    for (uint64_t i = 0; i < energy->count && !energy->missing[0]; i++) {
        struct energy_zone *zone = &energy->zones[i];
        uint64_t value;
        if (!read_count(zone->fd, &value) || value > zone->range) {
            (void)snprintf(energy->missing, sizeof energy->missing, "a RAPL counter ceased to be readable");
            break;
        }
        uint64_t used = value >= zone->last ? value - zone->last : zone->range - zone->last + value;
        energy->joules += (double)used * 1e-6;
        zone->last = value;
    }
    return energy->missing[0] ? -1 : energy->joules;
}

void energy_follow(struct energy *energy) {
    if (now() - energy->looked >= FOLLOW_SECONDS) (void)energy_read(energy);
}

void energy_close(struct energy *energy) {
    for (uint64_t i = 0; i < energy->count; i++) close(energy->zones[i].fd);
    mem_free(energy->zones);
    *energy = (struct energy){0};
}
