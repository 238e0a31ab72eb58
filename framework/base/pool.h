/* SPDX-License-Identifier: Apache-2.0
 *
 * The one owner of threads. A pool runs loops: parallel_for may be called from inside a task, and idle workers
 * help with whatever loop is open, oldest first. So work over tensors spreads first, and the tiles of the last
 * large tensor are shared too. Results must not depend on who ran what. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <tessera/host.h>

struct pool;

/* A pool with `workers` >= 1 threads of execution, the caller of pool_for included. NULL when threads or memory
 * are short. [any] */
struct pool *pool_create(uint64_t workers);
void pool_destroy(struct pool *pool); /* no loop may be open */
uint64_t pool_workers(const struct pool *pool);

/* Runs task(ctx, i, worker) for i in 0..count-1 and waits. `worker` is below pool_workers and stays with a thread
 * for the whole task. After a failure no further index starts; the error of the lowest failing index wins.
 * Callable from inside a task. From outside, one thread at a time. [instance] */
tsr_status pool_for(struct pool *pool, uint64_t count, tsr_task task, void *ctx, tsr_error *err);

/* Per-worker memory of at least `size` bytes, 64-byte aligned, kept until the pool ends; NULL when short. One
 * nesting level: an inner loop on the same worker gets the same memory. [worker] */
void *pool_scratch(struct pool *pool, uint64_t worker, uint64_t size);

#endif
