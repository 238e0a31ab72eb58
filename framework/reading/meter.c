/* SPDX-License-Identifier: Apache-2.0
 *
 * One lock around the counters and the listener: it is taken a few times a tile at most. */
#include "meter.h"

void meter_begin(struct meter *meter, const struct env *env, const char *stage, uint64_t total_bytes,
                 uint64_t total_items) {
    *meter = (struct meter){.env = env};
    meter->progress.stage = stage;
    meter->progress.total_bytes = total_bytes;
    meter->progress.total_items = total_items;
    pthread_mutex_init(&meter->lock, NULL);
}

void meter_add(struct meter *meter, const char *subject, uint64_t bytes) {
    pthread_mutex_lock(&meter->lock);
    meter->progress.subject = subject;
    meter->progress.done_bytes += bytes;
    meter->progress.done_items += subject != NULL;
    if (meter->env->progress) meter->env->progress(meter->env->ctx, &meter->progress);
    pthread_mutex_unlock(&meter->lock);
}

void meter_end(struct meter *meter) {
    pthread_mutex_destroy(&meter->lock);
}

tsr_status meter_check_cancel(const struct env *env, tsr_error *err) {
    return env_cancelled(env) ? tsr_fail(err, TSR_E_CANCELLED, "interrupted") : TSR_OK;
}
