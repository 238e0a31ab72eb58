/* SPDX-License-Identifier: Apache-2.0
 *
 * A program in a process of its own that does not outlive the thread that started it: however that ends, kill -9 too, the
 * system kills the process. */
#ifndef PLUGIN_SPAWN_H
#define PLUGIN_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>
#include <tessera/status.h>

struct spawn {
    const char *program;
    const char *const *arguments; /* NULL-terminated, the program's name first */
    int output, errors;           /* what become its stdout and stderr; below 0: dropped. Its stdin is empty */
    bool own_group;               /* a process group of its own, in which SIGINT counts */
    uint64_t data_bytes;          /* RLIMIT_DATA; 0: none */
};

/* The program runs when this returns. TSR_E_IO when it cannot be started. */
tsr_status spawn_start(const struct spawn *spawn, pid_t *pid, tsr_error *err);

#endif
