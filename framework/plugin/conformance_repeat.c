/* SPDX-License-Identifier: Apache-2.0
 *
 * The same bytes from the same input, whatever else happens: threads, other instances, memory that runs out. Fresh
 * memory holds other garbage each time, so that what is not initialised shows. */
#include <base/alloc.h>
#include <base/pool.h>
#include <string.h>

#include "conformance_list.h"

#define REFUSALS_MAX 4000 /* requests whose failure is tried one by one up to 200, then in growing steps */

static tsr_status make(struct rig *rig, uint64_t rows, uint64_t columns, struct subject *subject, tsr_error *err) {
    tsr_status st = subject_make(subject, subject_dtype(rig->codec), rows, columns, FILL_HALF, rig->seed, err);
    return st == TSR_OK ? rig_accepts(rig, subject, err) : st;
}

/* Encodes and compares with `expected`; decodes and compares with `values` (both from the first run). */
static tsr_status same_again(struct rig *rig, const struct subject *subject, const struct stored *expected,
                             const uint8_t *values, const char *when, tsr_error *err) {
    struct stored stored = {0};
    uint8_t *decoded = mem_alloc_aligned(subject->tensor.bytes);
    tsr_status st = decoded ? rig_encode(rig, subject, &stored, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory");
    if (st == TSR_OK && !stored_equal(&stored, expected)) {
        st = tsr_fail(err, TSR_E_GATE, "%s the encoded bytes are others", when);
    }
    if (st == TSR_OK) st = rig_decode(rig, subject, &stored, decoded, err);
    if (st == TSR_OK && memcmp(decoded, values, subject->tensor.bytes)) {
        st = tsr_fail(err, TSR_E_GATE, "%s the decoded values are others", when);
    }
    stored_clear(&stored);
    mem_free(decoded);
    return st;
}

typedef tsr_status (*repeat)(struct rig *rig, const struct subject *subject, const struct stored *expected,
                             const uint8_t *values, tsr_error *err);

/* A first run, then `again` with its results. */
static tsr_status with_first_run(struct rig *rig, uint64_t rows, uint64_t columns, repeat again, tsr_error *err) {
    struct subject subject = {0};
    struct stored stored = {0};
    uint8_t *values = NULL;
    tsr_status st = make(rig, rows, columns, &subject, err);
    if (st != TSR_OK) goto done;
    values = mem_alloc_aligned(subject.tensor.bytes);
    st = values ? rig_encode(rig, &subject, &stored, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory");
    if (st == TSR_OK) st = rig_decode(rig, &subject, &stored, values, err);
    if (st == TSR_OK) st = again(rig, &subject, &stored, values, err);
done:
    stored_clear(&stored);
    subject_clear(&subject);
    mem_free(values);
    return st;
}

static tsr_status repeat_runs(struct rig *rig, const struct subject *subject, const struct stored *expected,
                              const uint8_t *values, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (int i = 0; i < 3 && st == TSR_OK; i++) st = same_again(rig, subject, expected, values, "in a second run", err);
    return st;
}

static tsr_status repeat_workers(struct rig *rig, const struct subject *subject, const struct stored *expected,
                                 const uint8_t *values, tsr_error *err) {
    static const uint64_t WORKERS[] = {1, 2, 7};
    tsr_status st = TSR_OK;
    for (int i = 0; i < 3 && st == TSR_OK; i++) {
        char when[32];
        snprintf(when, sizeof when, "with %d workers", (int)WORKERS[i]);
        rig->worker_shift = (uint64_t)i;
        st = rig_set_workers(rig, WORKERS[i], err);
        if (st == TSR_OK) st = same_again(rig, subject, expected, values, when, err);
    }
    return st;
}

struct beside {
    struct rig *rig;
    const struct subject *subject;
    const struct stored *expected;
    const uint8_t *values;
};

static tsr_status run_beside(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct beside *beside = ctx;
    (void)index, (void)worker;
    return same_again(beside->rig, beside->subject, beside->expected, beside->values, "beside another instance", err);
}

static tsr_status repeat_beside(struct rig *rig, const struct subject *subject, const struct stored *expected,
                                const uint8_t *values, tsr_error *err) {
    struct beside beside = {rig, subject, expected, values};
    return pool_for(rig->pool, 4, run_beside, &beside, err);
}

static tsr_status same_in_every_run(struct rig *rig, tsr_error *err) {
    return with_first_run(rig, 61, 517, repeat_runs, err);
}

static tsr_status same_for_any_workers(struct rig *rig, tsr_error *err) {
    uint64_t tile = rig->codec->tile_weights ? rig->codec->tile_weights : TILE_WEIGHTS_DEFAULT;
    return with_first_run(rig, (tile > UINT64_C(1) << 19 ? 1 : 4) * tile / 512 + 1, 512, repeat_workers, err);
}

static tsr_status instances_do_not_meet(struct rig *rig, tsr_error *err) {
    tsr_status st = rig_set_workers(rig, 4, err);
    return st == TSR_OK ? with_first_run(rig, 61, 517, repeat_beside, err) : st;
}

/* ---- memory ---- */

static tsr_status check_all_freed(struct rig *rig, const char *what, uint64_t request, tsr_error *err) {
    long long live = atomic_exchange(&rig->live, 0);
    if (live == 0) return TSR_OK;
    return tsr_fail(err, TSR_E_GATE, "request %llu for memory refused in %s: %lld allocations were not freed",
                    (unsigned long long)request, what, live);
}

/* One run with request number `request` refused. *refused: there was such a request. */
static tsr_status refuse_once(struct rig *rig, const struct subject *subject, const struct stored *expected,
                              const uint8_t *values, uint64_t request, bool *refused, tsr_error *err) {
    tsr_error seen = {0};
    atomic_store(&rig->requests, 0);
    rig->refuse = request;
    tsr_status st = same_again(rig, subject, expected, values, "after a refused allocation", &seen);
    rig->refuse = 0;
    *refused = atomic_load(&rig->requests) >= request;
    if (st != TSR_OK && st != TSR_E_NOMEM) {
        return tsr_fail(err, TSR_E_GATE, "request %llu for memory refused: status %d (%.140s), expected TSR_E_NOMEM",
                        (unsigned long long)request, (int)st, seen.message);
    }
    return check_all_freed(rig, "encoding or decoding", request, err);
}

static tsr_status refuse_each(struct rig *rig, const struct subject *subject, const struct stored *expected,
                              const uint8_t *values, tsr_error *err) {
    bool refused = true;
    tsr_status st = TSR_OK;
    for (uint64_t request = 1; refused && request < REFUSALS_MAX && st == TSR_OK;) {
        st = refuse_once(rig, subject, expected, values, request, &refused, err);
        request += request < 200 ? 1 : request / 16;
    }
    return st;
}

static tsr_status short_memory(struct rig *rig, tsr_error *err) {
    tsr_status st = rig_set_workers(rig, 1, err);
    return st == TSR_OK ? with_first_run(rig, 11, 259, refuse_each, err) : st;
}

const struct conformance_property CONFORMANCE_REPEAT[] = {
    {"same_in_every_run", "encoded and decoded bytes are the same in every run", same_in_every_run},
    {"same_for_any_workers", "bytes are the same with 1, 2 and 7 workers", same_for_any_workers},
    {"instances_do_not_meet", "several instances at once give the same bytes as one", instances_do_not_meet},
    {"short_memory", "each refused allocation ends in TSR_E_NOMEM and frees everything", short_memory},
    {NULL, NULL, NULL},
};
