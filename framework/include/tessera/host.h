/* SPDX-License-Identifier: Apache-2.0
 *
 * What the host lends to a plugin: memory, log, cancel, threads, scratch, and by string id more (ext/).
 * Lent from create to destroy, never global. A plugin starts no threads, prints nothing, never exits. */
#ifndef TESSERA_HOST_H
#define TESSERA_HOST_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TSR_LOG_ERROR = 0, TSR_LOG_WARNING = 1, TSR_LOG_INFO = 2, TSR_LOG_DEBUG = 3 };

typedef tsr_status (*tsr_task)(void *ctx, uint64_t index, uint64_t worker, tsr_error *err);

typedef struct tsr_host tsr_host;
struct tsr_host {
    uint64_t struct_size;
    void *ctx; /* the host's own */
    /* 64-byte aligned, uninitialised; NULL when memory is short or size is 0. Pair with free. [any] */
    void *(*alloc)(const tsr_host *host, uint64_t size);
    /* Frees what alloc of the same host returned; NULL is allowed. [any] */
    void (*free)(const tsr_host *host, void *memory);
    /* One line without a newline, level TSR_LOG_*. [any] */
    void (*log)(const tsr_host *host, int32_t level, const char *text);
    /* 1 when the user asked to stop: return TSR_E_CANCELLED soon. [any] */
    int32_t (*cancelled)(const tsr_host *host);
    /* Runs task(ctx, 0..count-1) on the host's workers and waits; the error of the lowest failing index is
     * returned. Cut work by shape, never by the number of workers, and reduce in index order. May be called
     * from inside a task. [any] */
    tsr_status (*parallel_for)(const tsr_host *host, uint64_t count, tsr_task task, void *ctx, tsr_error *err);
    /* Memory that belongs to one worker (64-byte aligned, kept between calls, contents undefined), valid until
     * the same worker asks again or its call ends; NULL when memory is short. [worker] */
    void *(*scratch)(const tsr_host *host, uint64_t worker, uint64_t size);
    /* A table of ext/ by id such as "tessera.host.entropy/0", or NULL. Static for the life of the host. [any] */
    const void *(*get_extension)(const tsr_host *host, const char *id);
};

#ifdef __cplusplus
}
#endif
#endif
