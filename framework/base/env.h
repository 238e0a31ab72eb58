/* SPDX-License-Identifier: Apache-2.0
 *
 * What one run lends to everything below it: workers, where log lines go, whether the user asked to stop, and
 * who wants to hear of progress. There is no global state: an env is passed down. */
#ifndef BASE_ENV_H
#define BASE_ENV_H

#include <stdatomic.h>
#include <stdint.h>
#include <tessera/host.h>

struct pool;

/* Progress of one stage; called from any thread, never two at once. */
struct progress {
    const char *stage;   /* "encode", "verify" ... */
    const char *subject; /* tensor or file just finished, or NULL */
    uint64_t done_bytes;
    uint64_t total_bytes;
    uint64_t done_items;
    uint64_t total_items;
};

struct env {
    struct pool *pool; /* never NULL */
    void (*log)(void *ctx, int32_t level, const char *text); /* NULL: silence */
    void (*progress)(void *ctx, const struct progress *progress); /* NULL: nobody listens */
    void *ctx;                 /* for log and progress */
    const atomic_int *cancel;  /* nonzero: stop soon; NULL: cannot be stopped */
    uint64_t memory_bytes;     /* cap on what a run may allocate, 0 for the default of each command */
};

/* One log line at TSR_LOG_* level. [any] */
void env_log(const struct env *env, int32_t level, const char *format, ...) TSR_PRINTF(3, 4);

static inline int env_cancelled(const struct env *env) {
    return env->cancel && atomic_load_explicit(env->cancel, memory_order_relaxed) != 0;
}

#endif
