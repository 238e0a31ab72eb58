/* SPDX-License-Identifier: Apache-2.0
 *
 * Progress of one stage, added up from any thread and reported by one at a time. */
#ifndef READING_METER_H
#define READING_METER_H

#include <base/env.h>
#include <pthread.h>

struct meter {
    const struct env *env;
    pthread_mutex_t lock;
    struct progress progress;
};

/* `stage` is borrowed. Pair with meter_end. */
void meter_begin(struct meter *meter, const struct env *env, const char *stage, uint64_t total_bytes,
                 uint64_t total_items);
/* Adds what was done; `subject` names what was finished, or is NULL in the middle of it. [any] */
void meter_add(struct meter *meter, const char *subject, uint64_t bytes);
void meter_end(struct meter *meter);

/* TSR_E_CANCELLED when the user asked to stop. [any] */
tsr_status meter_check_cancel(const struct env *env, tsr_error *err);

#endif
