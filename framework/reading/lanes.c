/* SPDX-License-Identifier: Apache-2.0
 *
 * A lane is one index of an outer loop that takes tensor after tensor; there are as many as workers, or as many as
 * memory_bytes lets be. Workers without a lane help with the tiles inside. */
#include "lanes.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>
#include <stdatomic.h>
#include <stdlib.h>

struct item {
    uint64_t bytes;
    uint64_t index;
};

struct lanes {
    const struct item *items;
    uint64_t count;
    tsr_task task;
    void *ctx;
    atomic_ullong next;
    atomic_bool failed;
};

static int larger_first(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static tsr_status run_lane(void *ctx, uint64_t lane, uint64_t worker, tsr_error *err) {
    struct lanes *lanes = ctx;
    (void)lane;
    while (!atomic_load(&lanes->failed)) {
        uint64_t at = atomic_fetch_add(&lanes->next, 1);
        if (at >= lanes->count) break;
        tsr_status st = lanes->task(lanes->ctx, lanes->items[at].index, worker, err);
        if (st != TSR_OK) {
            atomic_store(&lanes->failed, true);
            return st;
        }
    }
    return TSR_OK;
}

tsr_status lanes_run(const struct env *env, const uint64_t *bytes, uint64_t count, tsr_task task, void *ctx,
                     tsr_error *err) {
    return lanes_run_wide(env, bytes, count, LANE_BYTES, task, ctx, err);
}

tsr_status lanes_run_wide(const struct env *env, const uint64_t *bytes, uint64_t count, uint64_t lane_bytes,
                          tsr_task task, void *ctx, tsr_error *err) {
    if (count == 0) return TSR_OK;
    struct item *items = mem_alloc_array(count, sizeof *items);
    if (!items)
        return tsr_fail(err, TSR_E_NOMEM, "out of memory for a list of %llu tensors", (unsigned long long)count);
    for (uint64_t i = 0; i < count; i++) items[i] = (struct item){bytes[i], i};
    qsort(items, (size_t)count, sizeof *items, larger_first);
    uint64_t width = min_u64(pool_workers(env->pool), count);
    if (env->memory_bytes) width = min_u64(width, max_u64(env->memory_bytes / lane_bytes, 1));
    struct lanes lanes = {.items = items, .count = count, .task = task, .ctx = ctx};
    tsr_status st = pool_for(env->pool, width, run_lane, &lanes, err);
    mem_free(items);
    return st;
}
