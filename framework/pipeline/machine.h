/* SPDX-License-Identifier: Apache-2.0
 *
 * Facts about the machine, for people. */
#ifndef PIPELINE_MACHINE_H
#define PIPELINE_MACHINE_H

#include <stdint.h>

#define MACHINE_CPU 64

void machine_cpu(char name[MACHINE_CPU]); /* "unknown" where it does not say */

/* Bytes; 0 where the system does not say. */
struct machine_memory {
    uint64_t total, available;
    uint64_t limit; /* of the control group that this process is in, where it has one */
};
struct machine_memory machine_memory(void);

#endif
