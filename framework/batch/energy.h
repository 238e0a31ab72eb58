/* SPDX-License-Identifier: Apache-2.0
 *
 * What the processors and the memory of this machine use, from the RAPL counters that Linux shows below /sys/class/powercap.
 * They count for the whole machine: what other programs use meanwhile is in them. */
#ifndef BATCH_ENERGY_H
#define BATCH_ENERGY_H

#include <stdint.h>

#define ENERGY_TEXT 160

struct energy_zone {
    int fd;
    uint64_t range, last; /* microjoules; the counter goes on at 0 behind `range` */
};

/* Zero-initialise. */
struct energy {
    struct energy_zone *zones;
    uint64_t count;
    double joules;            /* since it was opened */
    double looked;            /* seconds of the monotonic clock */
    char missing[ENERGY_TEXT]; /* why there is no figure; "" when there is */
};

/* `folder`: NULL for the system's, or that of TESSERA_POWERCAP. That nothing can be read is no failure. */
void energy_open(const char *folder, struct energy *energy);
/* Joules since energy_open, or -1. A counter must not pass its range twice between two calls (minutes). */
double energy_read(struct energy *energy);
/* energy_read for its sake, at most once a second. */
void energy_follow(struct energy *energy);
void energy_close(struct energy *energy);

#endif
