/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts operations by kind and fails the N-th. The setting is read once, at the first operation. */
#include "fault.h"

#ifdef TSR_FAULT

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const char *const KIND_NAMES[FAULT_KINDS] = {"alloc", "read", "write", "fsync", "rename", "open"};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_ullong counts[FAULT_KINDS];
static int fault_kind = -1;
static unsigned long long fault_at;
static bool fault_stays;

static void read_setting(void) {
    const char *text = getenv("TESSERA_FAULT");
    const char *colon = text ? strchr(text, ':') : NULL;
    if (!colon) return;
    for (int kind = 0; kind < FAULT_KINDS; kind++) {
        size_t length = strlen(KIND_NAMES[kind]);
        if ((size_t)(colon - text) == length && !strncmp(text, KIND_NAMES[kind], length)) fault_kind = kind;
    }
    char *end;
    fault_at = strtoull(colon + 1, &end, 10);
    fault_stays = *end == '+';
}

bool fault_hit(enum fault_kind kind) {
    pthread_once(&once, read_setting);
    if ((int)kind != fault_kind) return false;
    unsigned long long number = atomic_fetch_add(&counts[kind], 1) + 1;
    return number == fault_at || (fault_stays && number > fault_at);
}

#else
typedef int fault_unused; /* ISO C wants something in the file */
#endif
