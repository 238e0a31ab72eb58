/* SPDX-License-Identifier: Apache-2.0
 *
 * Fault injection for the tests: in a build with TSR_FAULT the N-th operation of one kind fails, where
 * TESSERA_FAULT is "alloc:N", "read:N", "write:N", "fsync:N", "rename:N", "exchange:N" or "open:N" (add "+" for N and all
 * after it; several with commas). A failing exchange answers as a file system that has none. In other builds fault_hit is a constant and costs nothing. */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

enum fault_kind { FAULT_ALLOC, FAULT_READ, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME, FAULT_EXCHANGE, FAULT_OPEN, FAULT_KINDS };

#ifdef TSR_FAULT
/* True when this operation is to fail. Counts every call. [any] */
bool fault_hit(enum fault_kind kind);
#else
static inline bool fault_hit(enum fault_kind kind) {
    (void)kind;
    return false;
}
#endif

#endif
