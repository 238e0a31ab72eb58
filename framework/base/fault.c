/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts operations by kind and fails the N-th. The setting is read once, at the first operation. */
#include "fault.h"

#ifdef TSR_FAULT

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const char *const KIND_NAMES[FAULT_KINDS] = {"alloc", "read", "write", "fsync", "rename", "exchange", "open"};

struct fault {
    atomic_ullong count;
    unsigned long long at; /* 0: never */
    bool stays;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct fault faults[FAULT_KINDS];

static void read_one(const char *text) {
    const char *colon = strchr(text, ':');
    if (!colon) return;
    for (int kind = 0; kind < FAULT_KINDS; kind++) {
        size_t length = strlen(KIND_NAMES[kind]);
        if ((size_t)(colon - text) != length || strncmp(text, KIND_NAMES[kind], length)) continue;
        char *end;
        faults[kind].at = strtoull(colon + 1, &end, 10);
        faults[kind].stays = *end == '+';
    }
}

static void read_setting(void) {
    for (const char *text = getenv("TESSERA_FAULT"); text; text = strchr(text, ',')) {
        if (*text == ',') text++;
        read_one(text);
    }
}

bool fault_hit(enum fault_kind kind) {
    pthread_once(&once, read_setting);
    struct fault *fault = &faults[kind];
    if (!fault->at) return false;
    unsigned long long number = atomic_fetch_add(&fault->count, 1) + 1;
    return number == fault->at || (fault->stays && number > fault->at);
}

#else
typedef int fault_unused; /* ISO C wants something in the file */
#endif
