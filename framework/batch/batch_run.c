/* SPDX-License-Identifier: Apache-2.0
 *
 * What both engines do to the list of jobs. */
#include "batch_run.h"

#include <base/alloc.h>
#include <base/str.h>
#include <stdlib.h>

struct ranked {
    int64_t priority;
    uint64_t job;
};

static int higher_first(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->priority != y->priority) return x->priority > y->priority ? -1 : 1;
    return x->job < y->job ? -1 : x->job > y->job;
}

uint64_t *batch_order(const struct batch *batch) {
    struct ranked *ranked = mem_alloc_array(batch->count, sizeof *ranked);
    uint64_t *order = mem_alloc_array(batch->count, sizeof *order);
    for (uint64_t i = 0; ranked && i < batch->count; i++) ranked[i] = (struct ranked){batch->jobs[i].priority, i};
    if (ranked) qsort(ranked, batch->count, sizeof *ranked, higher_first);
    for (uint64_t i = 0; ranked && order && i < batch->count; i++) order[i] = ranked[i].job;
    if (!ranked) {
        mem_free(order);
        order = NULL;
    }
    mem_free(ranked);
    return order;
}

bool batch_wants_stop(const struct batch_run *run) {
    return env_cancelled(run->env) || batch_state_cancelled(run->state);
}

/* The job whose failure stands in the way, or `job` itself. */
static uint64_t culprit(const struct batch_run *run, uint64_t job) {
    const struct batch_job *it = &run->batch->jobs[job];
    for (uint64_t i = 0; i < it->need_count; i++) {
        enum batch_phase phase = run->state->results[it->needs[i]].phase;
        if (phase == BATCH_FAILED || phase == BATCH_BLOCKED) return it->needs[i];
    }
    return job;
}

/* In rounds, since blocked jobs block others. */
tsr_status batch_block(const struct batch_run *run, tsr_error *err) {
    const struct batch *batch = run->batch;
    bool moved = true;
    tsr_status st = TSR_OK;
    while (moved && st == TSR_OK) {
        moved = false;
        for (uint64_t i = 0; i < batch->count && st == TSR_OK; i++) {
            struct batch_result *result = &run->state->results[i];
            uint64_t other = result->phase == BATCH_WAITING && batch->jobs[i].need_count ? culprit(run, i) : i;
            if (other == i) continue;
            struct str text = {0};
            result->phase = BATCH_BLOCKED;
            (void)snprintf(result->reason, sizeof result->reason, "needs");
            str_add_format(&text, "needs %s, which %s", batch->jobs[other].name,
                           run->state->results[other].phase == BATCH_FAILED ? "failed" : "is blocked");
            batch_result_say(result, text.text);
            str_clear(&text);
            st = batch_finish(run, i, err);
            moved = true;
        }
    }
    return st;
}

static void tell(const struct batch_run *run, uint64_t job) {
    const struct batch *batch = run->batch;
    const struct batch_result *result = &run->state->results[job];
    struct progress progress = {.stage = "batch", .subject = batch->jobs[job].name, .total_items = batch->count};
    if (result->phase == BATCH_DONE) {
        env_log(run->env, TSR_LOG_INFO, "job %s: done in %.1f s", batch->jobs[job].name, result->seconds);
    } else {
        env_log(run->env, TSR_LOG_WARNING, "job %s: %s (%s): %s", batch->jobs[job].name, batch_phase_name(result->phase),
                result->reason, result->message ? result->message : "");
    }
    if (!run->env->progress) return;
    for (uint64_t i = 0; i < batch->count; i++) {
        const struct batch_result *other = &run->state->results[i];
        bool ended = other->phase != BATCH_WAITING && other->phase != BATCH_RUNNING;
        progress.done_items += ended;
        progress.done_bytes += other->phase == BATCH_DONE ? other->source_bytes : 0;
    }
    progress.total_bytes = progress.done_bytes;
    run->env->progress(run->env->ctx, &progress);
}

tsr_status batch_finish(const struct batch_run *run, uint64_t job, tsr_error *err) {
    tsr_status st = batch_state_add_end(run->state, job, err);
    if (st == TSR_OK) tell(run, job);
    return st;
}
