/* SPDX-License-Identifier: Apache-2.0
 *
 * What a tsr_library is: an env, plugins, folders, and one lock, because a pool takes loops from one outside thread at a
 * time. Invariant: whatever runs inside of library_begin/end belongs to one caller. The stop flag has a bit for each who
 * may ask: tsr_library_cancel's stays until taken back, the listener's is for the call that it heard of. */
#include "library.h"

#include "library_folders.h"

#include <base/alloc.h>
#include <base/arena.h>
#include <base/checked.h>
#include <base/number.h>
#include <base/pool.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_MAX 1024
#define FOLDERS_MAX 64

enum { STOP_BY_CANCEL = 1, STOP_BY_LISTENER = 2 };

struct tsr_library {
    pthread_mutex_t lock;
    struct env env;
    atomic_int stop; /* STOP_BY_* */
    tsr_library_options options;
    struct arena arena;
    struct registry *registry; /* NULL until it is needed */
    struct job_paths paths;
    const char *program;
};

const char *tsr_version(void) {
    return TSR_VERSION;
}

tsr_status library_take(void *ours, uint64_t size, const void *theirs, const char *name, tsr_error *err) {
    uint64_t given = 0;
    if (theirs) memcpy(&given, theirs, sizeof given);
    if (given < sizeof given) return tsr_fail(err, TSR_E_ARGUMENT, "%s: struct_size is %llu", name, (unsigned long long)given);
    memset(ours, 0, size);
    memcpy(ours, theirs, min_u64(given, size));
    return TSR_OK;
}

/* ---- callbacks ---- */

static void pass_log(void *ctx, int32_t level, const char *text) {
    const tsr_library *library = ctx;
    library->options.log(library->options.ctx, level, text);
}

static void pass_progress(void *ctx, const struct progress *progress) {
    tsr_library *library = ctx;
    const tsr_progress shown = {.struct_size = sizeof shown,
                                .stage = progress->stage,
                                .subject = progress->subject,
                                .done_bytes = progress->done_bytes,
                                .total_bytes = progress->total_bytes,
                                .done_items = progress->done_items,
                                .total_items = progress->total_items};
    if (library->options.progress(library->options.ctx, &shown)) atomic_fetch_or(&library->stop, STOP_BY_LISTENER);
}

void tsr_library_cancel(tsr_library *library, int32_t stop) {
    if (stop) {
        atomic_fetch_or(&library->stop, STOP_BY_CANCEL);
    } else {
        atomic_fetch_and(&library->stop, ~STOP_BY_CANCEL);
    }
}

/* ---- life ---- */

/* Strings of the options become ours. */
static tsr_status keep_options(tsr_library *library, const tsr_library_options *given, tsr_error *err) {
    tsr_library_options *options = &library->options;
    tsr_status st = given ? library_take(options, sizeof *options, given, "tsr_library_options", err) : TSR_OK;
    if (st != TSR_OK) return st;
    const char **texts[] = {&options->plugin_path, &options->roles_path};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!*texts[i]) continue;
        *texts[i] = arena_dup(&library->arena, *texts[i], strlen(*texts[i]));
        if (!*texts[i]) return tsr_fail(err, TSR_E_NOMEM, "start: out of memory");
    }
    library->env = (struct env){.log = options->log ? pass_log : NULL,
                                .progress = options->progress ? pass_progress : NULL,
                                .ctx = library,
                                .cancel = &library->stop,
                                .memory_bytes = options->memory_bytes};
    return TSR_OK;
}

static tsr_status start_workers(tsr_library *library, tsr_error *err) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t workers = library->options.workers;
    if (!workers) workers = min_u64(online > 0 ? (uint64_t)online : 1, WORKERS_MAX);
    if (workers > WORKERS_MAX) {
        return tsr_fail(err, TSR_E_ARGUMENT, "workers: found %llu, expected at most %d", (unsigned long long)workers, WORKERS_MAX);
    }
    library->env.pool = pool_create(workers);
    if (library->env.pool) return TSR_OK;
    return tsr_fail(err, TSR_E_NOMEM, "workers: the system refused %llu threads", (unsigned long long)workers);
}

tsr_status tsr_library_create(const tsr_library_options *options, tsr_library **library, tsr_error *err) {
    tsr_library *made = mem_alloc_zero(1, sizeof *made);
    if (!made) return tsr_fail(err, TSR_E_NOMEM, "start: out of memory");
    pthread_mutex_init(&made->lock, NULL);
    tsr_status st = keep_options(made, options, err);
    if (st == TSR_OK) st = library_folders(&made->arena, made->options.roles_path, &made->paths, &made->program, err);
    if (st == TSR_OK) st = start_workers(made, err);
    if (st == TSR_OK) {
        *library = made;
    } else {
        tsr_library_destroy(made);
    }
    return st;
}

void tsr_library_destroy(tsr_library *library) {
    if (!library) return;
    registry_destroy(library->registry);
    if (library->env.pool) pool_destroy(library->env.pool);
    pthread_mutex_destroy(&library->lock);
    arena_clear(&library->arena);
    mem_free(library);
}

void tsr_text_free(char *text) {
    mem_free(text);
}

/* ---- calls ---- */

struct library_call library_begin(tsr_library *library) {
    struct library_call call = {library, number_begin()};
    pthread_mutex_lock(&library->lock);
    return call;
}

tsr_status library_end(struct library_call *call, tsr_status status) {
    atomic_fetch_and(&call->library->stop, ~STOP_BY_LISTENER);
    pthread_mutex_unlock(&call->library->lock);
    number_end(call->locale);
    return status;
}

/* ---- for those inside ---- */

const struct env *library_env(const tsr_library *library) {
    return &library->env;
}

const struct job_paths *library_paths(const tsr_library *library) {
    return &library->paths;
}

const char *library_plugin_path(const tsr_library *library) {
    return library->options.plugin_path;
}

const char *library_program(const tsr_library *library) {
    return library->program;
}

tsr_status library_registry(tsr_library *library, const struct registry **registry, tsr_error *err) {
    const char *folders[FOLDERS_MAX];
    tsr_status st = TSR_OK;
    if (!library->registry) {
        uint64_t count = registry_default_folders(&library->arena, library->options.plugin_path, folders, FOLDERS_MAX);
        st = registry_create(folders, count, &library->env, &library->registry, err);
    }
    *registry = library->registry;
    return st;
}
