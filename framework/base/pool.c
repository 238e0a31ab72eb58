/* SPDX-License-Identifier: Apache-2.0
 *
 * Open loops stand in a list, oldest first; a worker without work takes the next index of the first loop that
 * has one left. Indices are handed out under one lock: a task is at least tens of microseconds of work, so the
 * lock is never hot. A thread that waits for its loop does not take foreign work: it could be a long task, and
 * the loop would end late. Invariant: a loop leaves the list when its last index was handed out, and its owner
 * returns only when `running` is 0, so nobody touches a loop after its stack frame is gone. */
#include "pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "alloc.h"

struct loop {
    struct loop *younger;
    tsr_task task;
    void *ctx;
    uint64_t count;
    uint64_t next;    /* first index not handed out */
    uint64_t running; /* indices handed out and not finished */
    uint64_t failed_index;
    tsr_status status;
    tsr_error error;
};

struct worker {
    struct pool *pool;
    uint64_t number;
    pthread_t thread;
    void *scratch;
    uint64_t scratch_bytes;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work;     /* a loop was opened, or the pool ends */
    pthread_cond_t finished; /* some loop's running count fell to 0 */
    struct loop *oldest;
    uint64_t workers;
    uint64_t started; /* threads that exist, worker 0 (the caller) not counted */
    bool ending;
    struct worker worker[];
};

/* Which worker this thread is; threads that belong to no pool act as worker 0. */
static _Thread_local uint64_t current_worker;

static void unlink_loop(struct pool *pool, struct loop *loop) {
    struct loop **link = &pool->oldest;
    while (*link && *link != loop) link = &(*link)->younger;
    if (*link) *link = loop->younger;
}

static void link_loop(struct pool *pool, struct loop *loop) {
    struct loop **link = &pool->oldest;
    while (*link) link = &(*link)->younger;
    *link = loop;
}

/* Keeps the failure of the lowest index, so that the message does not depend on timing more than it must. */
static void note_failure(struct loop *loop, uint64_t index, tsr_status status, const tsr_error *error) {
    if (loop->status == TSR_OK || index < loop->failed_index) {
        loop->status = status;
        loop->failed_index = index;
        loop->error = *error;
    }
}

/* Takes one index of the loop and runs it. Called and returns with the lock held. */
static void run_one(struct pool *pool, struct loop *loop) {
    uint64_t index = loop->next++;
    if (loop->next == loop->count) unlink_loop(pool, loop);
    loop->running++;
    pthread_mutex_unlock(&pool->lock);
    tsr_error error = {0};
    tsr_status status = loop->task(loop->ctx, index, current_worker, &error);
    pthread_mutex_lock(&pool->lock);
    if (status != TSR_OK) {
        note_failure(loop, index, status, &error);
        if (loop->next < loop->count) {
            loop->next = loop->count;
            unlink_loop(pool, loop);
        }
    }
    if (--loop->running == 0 && loop->next == loop->count) pthread_cond_broadcast(&pool->finished);
}

static void *worker_main(void *argument) {
    struct worker *worker = argument;
    struct pool *pool = worker->pool;
    current_worker = worker->number;
    pthread_mutex_lock(&pool->lock);
    while (!pool->ending) {
        if (pool->oldest) {
            run_one(pool, pool->oldest);
        } else {
            pthread_cond_wait(&pool->work, &pool->lock);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

struct pool *pool_create(uint64_t workers) {
    if (workers == 0 || workers > 4096) return NULL;
    struct pool *pool = mem_alloc_zero(1, sizeof *pool + workers * sizeof pool->worker[0]);
    if (!pool) return NULL;
    pool->workers = workers;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->finished, NULL);
    for (uint64_t i = 1; i < workers; i++) {
        struct worker *worker = &pool->worker[i];
        worker->pool = pool;
        worker->number = i;
        if (pthread_create(&worker->thread, NULL, worker_main, worker)) {
            pool_destroy(pool);
            return NULL;
        }
        pool->started++;
    }
    return pool;
}

void pool_destroy(struct pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (uint64_t i = 1; i <= pool->started; i++) pthread_join(pool->worker[i].thread, NULL);
    for (uint64_t i = 0; i < pool->workers; i++) mem_free(pool->worker[i].scratch);
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    mem_free(pool);
}

uint64_t pool_workers(const struct pool *pool) {
    return pool->workers;
}

tsr_status pool_for(struct pool *pool, uint64_t count, tsr_task task, void *ctx, tsr_error *err) {
    if (count == 0) return TSR_OK;
    struct loop loop = {.task = task, .ctx = ctx, .count = count};
    pthread_mutex_lock(&pool->lock);
    link_loop(pool, &loop);
    if (count > 1) pthread_cond_broadcast(&pool->work);
    while (loop.next < loop.count) run_one(pool, &loop);
    while (loop.running) pthread_cond_wait(&pool->finished, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    if (loop.status != TSR_OK && err) *err = loop.error;
    return loop.status;
}

void *pool_scratch(struct pool *pool, uint64_t worker, uint64_t size) {
    struct worker *own = &pool->worker[worker];
    if (own->scratch_bytes < size) {
        mem_free(own->scratch);
        own->scratch_bytes = 0;
        own->scratch = mem_alloc_aligned(size);
        if (own->scratch) own->scratch_bytes = size;
    }
    return own->scratch;
}
