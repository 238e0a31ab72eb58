/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool: every index once, nested loops end, the lowest failure wins. */
#include "unit.h"

#include <base/pool.h>
#include <stdatomic.h>

struct nest {
    struct pool *pool;
    atomic_uint hits[32][64];
};

struct inner {
    struct nest *nest;
    uint64_t outer;
};

static tsr_status count_inner(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    (void)worker;
    (void)err;
    struct inner *inner = ctx;
    atomic_fetch_add(&inner->nest->hits[inner->outer][index], 1);
    return TSR_OK;
}

static tsr_status open_inner(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    (void)worker;
    struct nest *nest = ctx;
    struct inner inner = {nest, index};
    return pool_for(nest->pool, 64, count_inner, &inner, err);
}

static void nested_loops_run_every_index_once(void) {
    for (unsigned workers = 1; workers <= 7; workers += 3) {
        static struct nest nest;
        nest = (struct nest){.pool = pool_create(workers)};
        CU_ASSERT_PTR_NOT_NULL_FATAL(nest.pool);
        CU_ASSERT_EQUAL(pool_for(nest.pool, 32, open_inner, &nest, NULL), TSR_OK);
        for (int i = 0; i < 32; i++) {
            for (int j = 0; j < 64; j++) CU_ASSERT_EQUAL(atomic_load(&nest.hits[i][j]), 1);
        }
        pool_destroy(nest.pool);
    }
}

static tsr_status fail_from_ten(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    (void)ctx;
    (void)worker;
    return index < 10 ? TSR_OK : tsr_fail(err, TSR_E_INPUT, "index %llu", (unsigned long long)index);
}

static void the_lowest_failing_index_is_reported(void) {
    struct pool *pool = pool_create(4);
    tsr_error err = {0};
    CU_ASSERT_EQUAL(pool_for(pool, 1000, fail_from_ten, NULL, &err), TSR_E_INPUT);
    CU_ASSERT_STRING_EQUAL(err.message, "index 10");
    pool_destroy(pool);
}

static void an_empty_loop_is_done(void) {
    struct pool *pool = pool_create(2);
    CU_ASSERT_EQUAL(pool_for(pool, 0, fail_from_ten, NULL, NULL), TSR_OK);
    pool_destroy(pool);
}

static const struct unit_test TESTS[] = {
    {"nested_loops_run_every_index_once", nested_loops_run_every_index_once},
    {"the_lowest_failing_index_is_reported", the_lowest_failing_index_is_reported},
    {"an_empty_loop_is_done", an_empty_loop_is_done},
};
UNIT_MAIN(TESTS)
