/* SPDX-License-Identifier: Apache-2.0
 *
 * A codec driven without files: a host that runs everything in order on one worker, F32 matrices in memory, tiles as
 * the host proper cuts them. Memory is counted, and any allocation can be made to fail. */
#ifndef TESTS_CODEC_HARNESS_H
#define TESTS_CODEC_HARNESS_H

#include <base/alloc.h>
#include <numeric/entropy.h>
#include <numeric/lent.h>
#include <plugin/tile.h>
#include <tessera/ext/dictionary.h>
#include <tessera/plugin.h>
#include <stdlib.h>
#include <string.h>

struct harness_host {
    tsr_host host;
    void *scratch;
    uint64_t scratch_size;
    int64_t blocks;      /* allocations not yet freed */
    int64_t allocations; /* ever */
    int64_t fail_at;     /* the allocation that fails, counted from 1; 0: none */
    bool plain; /* memory is not filled: for measuring speed */
};

static void *harness_alloc(const tsr_host *host, uint64_t size) {
    struct harness_host *self = host->ctx;
    if (size == 0 || ++self->allocations == self->fail_at) return NULL;
    void *memory = mem_alloc_aligned(size);
    if (memory) {
        self->blocks++;
        if (!self->plain) memset(memory, 0xA5, (size_t)size);
    }
    return memory;
}

static void harness_free(const tsr_host *host, void *memory) {
    struct harness_host *self = host->ctx;
    if (memory) self->blocks--;
    mem_free(memory);
}

static void harness_log(const tsr_host *host, int32_t level, const char *text) {
    (void)host;
    (void)level;
    (void)text;
}

static int32_t harness_cancelled(const tsr_host *host) {
    (void)host;
    return 0;
}

static tsr_status harness_for(const tsr_host *host, uint64_t count, tsr_task task, void *ctx, tsr_error *err) {
    tsr_status status = TSR_OK;
    (void)host;
    for (uint64_t i = 0; i < count && status == TSR_OK; i++) status = task(ctx, i, 0, err);
    return status;
}

static void *harness_scratch(const tsr_host *host, uint64_t worker, uint64_t size) {
    struct harness_host *self = host->ctx;
    (void)worker;
    if (++self->allocations == self->fail_at) return NULL;
    if (size > self->scratch_size) {
        mem_free(self->scratch);
        self->scratch = mem_alloc_aligned(size);
        self->scratch_size = self->scratch ? size : 0;
    }
    return self->scratch;
}

static const void *harness_extension(const tsr_host *host, const char *id) {
    (void)host;
    return numeric_lent(id);
}

static inline void harness_init(struct harness_host *self) {
    *self = (struct harness_host){.host = {sizeof(tsr_host), self, harness_alloc, harness_free, harness_log,
                                           harness_cancelled, harness_for, harness_scratch, harness_extension}};
}

static inline void harness_clear(struct harness_host *self) {
    mem_free(self->scratch);
    self->scratch = NULL;
    self->scratch_size = 0;
}

/* An encoded matrix: the header, and tiles one behind the other. */
struct harness_payload {
    uint8_t *header;
    uint64_t header_bytes;
    uint8_t *bytes;
    uint64_t *tile_bytes; /* [grid.count] */
    struct tile_grid grid;
    uint64_t total; /* header and tiles */
};

struct harness_job {
    struct harness_host *host;
    const tsr_codec *codec;
    const tsr_param_value *params;
    const tsr_encode_hints *hints;
    tsr_tensor tensor; /* rows, columns, dtype */
    const float *x;    /* [rows][columns] */
    uint64_t stride;   /* 0: 1 */
    const void *dictionary; /* of the tensor's group, or NULL */
    uint64_t dictionary_bytes;
    uint64_t level; /* of a progressive decoder */
    uint32_t version; /* of the bitstream to decode; 0: the codec's own */
};

static inline tsr_tensor harness_tensor(uint64_t rows, uint64_t columns, int32_t dtype) {
    return (tsr_tensor){.struct_size = sizeof(tsr_tensor),
                        .name = "t",
                        .rows = rows,
                        .columns = columns,
                        .bytes = rows * columns * 4,
                        .dtype = dtype,
                        .regime = TSR_REGIME_ARGMAX};
}

static tsr_status harness_write(void *ctx, const void *bytes, uint64_t size, tsr_error *err) {
    struct harness_payload *payload = ctx;
    (void)err;
    payload->header = mem_resize(payload->header, payload->header_bytes + size, 1);
    memcpy(payload->header + payload->header_bytes, bytes, (size_t)size);
    payload->header_bytes += size;
    return TSR_OK;
}

static tsr_status harness_read(void *ctx, uint64_t first_row, uint64_t rows, uint64_t first_column, uint64_t columns,
                               void *dst, tsr_error *err) {
    const struct harness_job *job = ctx;
    (void)err;
    for (uint64_t r = 0; r < rows; r++) {
        memcpy((float *)dst + r * columns, job->x + (first_row + r) * job->tensor.columns + first_column,
               (size_t)columns * sizeof(float));
    }
    return TSR_OK;
}

static inline void harness_payload_clear(struct harness_payload *payload) {
    mem_free(payload->header);
    mem_free(payload->bytes);
    mem_free(payload->tile_bytes);
    memset(payload, 0, sizeof *payload);
}

static inline tsr_status harness_encode_tiles(const struct harness_job *job, void *self,
                                              struct harness_payload *payload, tsr_error *err) {
    uint64_t at = 0, capacity = 0;
    tsr_status status = TSR_OK;
    payload->tile_bytes = mem_alloc_zero(payload->grid.count + 1, sizeof *payload->tile_bytes);
    for (uint64_t i = 0; i < payload->grid.count && status == TSR_OK; i++) {
        tsr_tile tile = tile_at(&payload->grid, i, 32);
        uint64_t bound = job->codec->encode_bound(self, &tile);
        if (at + bound > capacity) {
            capacity = (at + bound) * 2;
            payload->bytes = mem_resize(payload->bytes, capacity, 1);
        }
        const float *x = job->x + tile.first_row * job->tensor.columns + tile.first_column;
        status = job->codec->encode(self, &tile, x, payload->bytes + at, bound, &payload->tile_bytes[i], err);
        at += payload->tile_bytes[i];
    }
    payload->total = at + payload->header_bytes;
    return status;
}

/* Fills *payload, which the caller clears, after failure too. */
static inline tsr_status harness_encode(const struct harness_job *job, struct harness_payload *payload,
                                        tsr_error *err) {
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = &job->host->host,
                                   .tensor = &job->tensor,
                                   .params = job->params,
                                   .hints = job->hints,
                                   .bitstream_version = job->codec->bitstream_version,
                                   .dictionary = job->dictionary,
                                   .dictionary_bytes = job->dictionary_bytes,
                                   .stride = job->stride ? job->stride : 1,
                                   .role = "unknown"};
    const tsr_writer writer = {sizeof writer, payload, harness_write};
    const tsr_row_source source = {sizeof source, (void *)(uintptr_t)job, harness_read};
    void *self = NULL;
    memset(payload, 0, sizeof *payload);
    payload->grid = tile_grid_make(job->tensor.rows, job->tensor.columns, job->codec->tile_weights);
    tsr_status status = job->codec->create(&setup, &self, err);
    if (status != TSR_OK) return status;
    if (job->codec->prepare) status = job->codec->prepare(self, &source, &writer, err);
    if (status == TSR_OK) status = harness_encode_tiles(job, self, payload, err);
    job->codec->destroy(self);
    return status;
}

/* Trains a dictionary on one matrix; it is left in payload->header, which the caller clears. */
static inline tsr_status harness_train(const struct harness_job *job, struct harness_payload *payload, tsr_error *err) {
    const tsr_dictionary *extension = job->codec->get_extension(TSR_DICTIONARY_ID);
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = &job->host->host,
                                   .tensor = &job->tensor,
                                   .params = job->params,
                                   .hints = job->hints,
                                   .bitstream_version = job->codec->bitstream_version};
    const tsr_writer writer = {sizeof writer, payload, harness_write};
    const tsr_row_source source = {sizeof source, (void *)(uintptr_t)job, harness_read};
    const tsr_dictionary_member member = {sizeof member, &setup, &source};
    uint64_t bytes = 0;
    memset(payload, 0, sizeof *payload);
    tsr_status status = extension->can_train(&member, 1, &bytes, err);
    return status == TSR_OK ? extension->train(&member, 1, &writer, err) : status;
}

/* y [rows][columns] from a payload. */
static inline tsr_status harness_decode(const struct harness_job *job, const struct harness_payload *payload, float *y,
                                        tsr_error *err) {
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = &job->host->host,
                                   .tensor = &job->tensor,
                                   .params = job->params,
                                   .header = payload->header,
                                   .header_bytes = payload->header_bytes,
                                   .dictionary = job->dictionary,
                                   .dictionary_bytes = job->dictionary_bytes,
                                   .level = job->level,
                                   .bitstream_version = job->version ? job->version : job->codec->bitstream_version,
                                   .decoding = 1};
    void *self = NULL;
    uint64_t at = 0;
    tsr_status status = job->codec->create(&setup, &self, err);
    for (uint64_t i = 0; i < payload->grid.count && status == TSR_OK; i++) {
        tsr_tile tile = tile_at(&payload->grid, i, 32);
        float *to = y + tile.first_row * job->tensor.columns + tile.first_column;
        status = job->codec->decode(self, &tile, payload->bytes + at, payload->tile_bytes[i], to, err);
        at += payload->tile_bytes[i];
    }
    if (self) job->codec->destroy(self);
    return status;
}

#endif
