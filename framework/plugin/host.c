/* SPDX-License-Identifier: Apache-2.0
 *
 * The services of tsr_host on top of an env: one call each into base/, and the table of extensions. */
#include "coder.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <numeric/lent.h>
#include <string.h>

static const struct env *env_of(const tsr_host *host) {
    return ((const struct host_services *)host->ctx)->env;
}

static void *host_alloc(const tsr_host *host, uint64_t size) {
    (void)host;
    return size ? mem_alloc_aligned(size) : NULL;
}

static void host_free(const tsr_host *host, void *memory) {
    (void)host;
    mem_free(memory);
}

static void host_log(const tsr_host *host, int32_t level, const char *text) {
    env_log(env_of(host), level, "%s", text);
}

static int32_t host_cancelled(const tsr_host *host) {
    return env_cancelled(env_of(host));
}

static tsr_status host_parallel_for(const tsr_host *host, uint64_t count, tsr_task task, void *ctx, tsr_error *err) {
    return pool_for(env_of(host)->pool, count, task, ctx, err);
}

static void *host_scratch(const tsr_host *host, uint64_t worker, uint64_t size) {
    struct pool *pool = env_of(host)->pool;
    return worker < pool_workers(pool) ? pool_scratch(pool, worker, size) : NULL;
}

static const void *host_get_extension(const tsr_host *host, const char *id) {
    (void)host;
    return numeric_lent(id);
}

void host_services_init(struct host_services *services, const struct env *env) {
    services->env = env;
    services->host = (tsr_host){
        .struct_size = sizeof services->host,
        .ctx = services,
        .alloc = host_alloc,
        .free = host_free,
        .log = host_log,
        .cancelled = host_cancelled,
        .parallel_for = host_parallel_for,
        .scratch = host_scratch,
        .get_extension = host_get_extension,
    };
}
