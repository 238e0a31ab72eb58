/* SPDX-License-Identifier: Apache-2.0
 *
 * Open loops stand in a list, oldest first; a worker without work takes the next index of the first loop that
 * has one left. Indices are handed out under one lock: a task is at least tens of microseconds of work, so the
 * lock is never hot. A thread that waits for its loop does not take foreign work: it could be a long task, and
 * the loop would end late. Invariant: a loop leaves the list when its last index was handed out, and its owner
 * returns only when `running` is 0, so nobody touches a loop after its stack frame is gone.
 *
 * A thread that has nothing to do looks for work a few microseconds long before it sleeps: one token of a language model
 * is some two hundred short loops, and waking a sleeper takes longer than many of them. */
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "alloc.h"
#include "number.h"

#define SPINS 1000     /* looks at a flag before sleeping: some tens of microseconds */
#define LOCK_TRIES 100 /* the lock is held for nanoseconds */

struct loop {
    struct loop *younger;
    tsr_task task;
    void *ctx;
    uint64_t count;
    uint64_t next;    /* first index not handed out */
    atomic_uint_least64_t running; /* indices handed out and not finished; changed with the lock held */
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
    atomic_uint_least64_t opened; /* loops so far; changed with the lock held, watched without */
    uint64_t workers;
    uint64_t started; /* threads that exist, worker 0 (the caller) not counted */
    bool ending;
    struct worker worker[];
};

/* Which worker this thread is; threads that belong to no pool act as worker 0. */
static _Thread_local uint64_t current_worker;

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* A thread that finds the lock taken would be put to sleep for longer than the lock is held. */
static void take_lock(struct pool *pool) {
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (!pthread_mutex_trylock(&pool->lock)) return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
}

/* Waits until a loop opens, watching first. Called and returns with the lock held. */
static void wait_for_work(struct pool *pool) {
    uint64_t seen = atomic_load(&pool->opened);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < SPINS && atomic_load_explicit(&pool->opened, memory_order_relaxed) == seen; i++) relax();
    take_lock(pool);
    if (!pool->oldest && !pool->ending) pthread_cond_wait(&pool->work, &pool->lock);
}

/* Waits until no task of a loop runs, watching first. Called and returns with the lock held. */
static void wait_for_end(struct pool *pool, struct loop *loop) {
    if (!atomic_load(&loop->running)) return;
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < SPINS && atomic_load_explicit(&loop->running, memory_order_relaxed); i++) relax();
    take_lock(pool);
    while (atomic_load(&loop->running)) pthread_cond_wait(&pool->finished, &pool->lock);
}

static void unlink_loop(struct pool *pool, struct loop *loop) {
    struct loop **link = &pool->oldest;
    while (*link && *link != loop) link = &(*link)->younger;
    if (*link) *link = loop->younger;
}

static void link_loop(struct pool *pool, struct loop *loop) {
    struct loop **link = &pool->oldest;
    while (*link) link = &(*link)->younger;
    *link = loop;
    atomic_fetch_add(&pool->opened, 1);
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
    atomic_fetch_add(&loop->running, 1);
    pthread_mutex_unlock(&pool->lock);
    tsr_error error = {0};
    tsr_status status = loop->task(loop->ctx, index, current_worker, &error);
    take_lock(pool);
    if (status != TSR_OK) {
        note_failure(loop, index, status, &error);
        if (loop->next < loop->count) {
            loop->next = loop->count;
            unlink_loop(pool, loop);
        }
    }
    if (atomic_fetch_sub(&loop->running, 1) == 1 && loop->next == loop->count) pthread_cond_broadcast(&pool->finished);
}

static void *worker_main(void *argument) {
    struct worker *worker = argument;
    struct pool *pool = worker->pool;
    current_worker = worker->number;
    (void)number_begin(); /* for as long as the thread lives */
    pthread_mutex_lock(&pool->lock);
    while (!pool->ending) {
        if (pool->oldest) {
            run_one(pool, pool->oldest);
        } else {
            wait_for_work(pool);
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
    take_lock(pool);
    link_loop(pool, &loop);
    if (count > 1) pthread_cond_broadcast(&pool->work);
    while (loop.next < loop.count) run_one(pool, &loop);
    wait_for_end(pool, &loop);
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
