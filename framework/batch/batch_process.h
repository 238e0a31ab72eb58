/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker: one command in a process group of its own, with its log, its limits, and a watch over it. It dies with its
 * parent, however that ends. Knows nothing of jobs. */
#ifndef BATCH_BATCH_PROCESS_H
#define BATCH_BATCH_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>
#include <tessera/status.h>

struct process_limits {
    uint64_t data_bytes;                 /* RLIMIT_DATA; 0: none */
    uint64_t wall_seconds, idle_seconds; /* 0: none */
};

enum process_verdict {
    PROCESS_RUNS,
    PROCESS_ENDED,   /* by itself: code, or signal */
    PROCESS_TOO_LONG, /* ended by us: wall time */
    PROCESS_IDLE,    /* ended by us: no progress */
};

/* Zero-initialise. */
struct process {
    pid_t pid; /* 0: none */
    int watch; /* becomes readable when it ends, or -1 */
    struct process_limits limits;
    double started, moved; /* seconds of the monotonic clock */
    uint64_t transferred;  /* bytes it had read and written when it last moved */
    enum process_verdict verdict;
    int code, signal;
    double seconds; /* it took, once it has ended */
};

/* Starts `program` (NULL: this one) with arguments (NULL-terminated, the program's name first), stdin empty, what it
 * says appended to the file `log`. TSR_E_IO when it cannot be started. */
tsr_status process_start(const char *program, const char *const *arguments, const char *log,
                         const struct process_limits *limits, struct process *process, tsr_error *err);
/* Looks at it; past a limit it is killed. False once it has ended: verdict, code, signal and seconds are then set. */
bool process_runs(struct process *process);
/* Asks it to stop, or with `hard` ends it and all it started. */
void process_stop(const struct process *process, bool hard);
/* Waits until one of them ends or so many milliseconds have passed. */
void process_wait_any(const struct process *processes, uint64_t count, int milliseconds);

double process_clock(void); /* seconds; does not jump when the date is set */

#endif
