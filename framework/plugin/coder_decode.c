/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoding is one tile at a time, on any worker, in any order. A codec that speaks F32 decodes into a buffer of its
 * worker (kept, since mapping fresh pages costs a tenth of the decoding), which is then rounded to the source dtype. */
#include "coder.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/pool.h>
#include <format/dtype.h>
#include <string.h>

#include "instance.h"

#define CANARY_FLOATS 16
#define CANARY UINT32_C(0xC5C5C5C5)

struct coder {
    struct coder_job job;
    struct instance instance;
    struct tile_grid grid;
    uint64_t workers;
    float **values; /* [workers], made when first needed; NULL unless the codec speaks F32 */
};

static tsr_status check_stored(const struct coder_job *job, const struct tile_grid *grid, uint64_t version,
                               tsr_error *err) {
    const tsr_codec *codec = job->codec;
    if (grid->rows != job->tensor->rows || grid->columns != job->tensor->columns || !tile_grid_valid(grid)) {
        return tsr_fail(err, TSR_E_CORRUPT, "tiles of %llu x %llu do not cut a matrix of %llu x %llu",
                        (unsigned long long)grid->tile_rows, (unsigned long long)grid->tile_columns,
                        (unsigned long long)job->tensor->rows, (unsigned long long)job->tensor->columns);
    }
    if (version >= codec->bitstream_oldest && version <= codec->bitstream_version) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "codec %s reads bitstream versions %llu..%llu, found %llu", codec->name,
                    (unsigned long long)codec->bitstream_oldest, (unsigned long long)codec->bitstream_version,
                    (unsigned long long)version);
}

tsr_status coder_open(const struct coder_job *job, const struct tile_grid *grid, const void *header, uint64_t bytes,
                      uint64_t bitstream_version, struct coder **coder, tsr_error *err) {
    struct instance_stored stored = {header, bytes, bitstream_version};
    tsr_status st = check_stored(job, grid, bitstream_version, err);
    if (st != TSR_OK) return st;
    struct coder *made = mem_alloc_zero(1, sizeof *made);
    if (!made) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a decoder");
    made->job = *job;
    made->grid = *grid;
    if (grid->count) {
        if (job->codec->input == TSR_INPUT_F32) {
            made->workers = pool_workers(job->env->pool);
            made->values = mem_alloc_zero(made->workers, sizeof *made->values);
            if (!made->values) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for a decoder");
        }
        if (st == TSR_OK) st = instance_create(&made->instance, &made->job, &stored, err);
    }
    if (st != TSR_OK) {
        coder_close(made);
        return st;
    }
    *coder = made;
    return TSR_OK;
}

void coder_close(struct coder *coder) {
    if (!coder) return;
    instance_destroy(&coder->instance);
    for (uint64_t i = 0; coder->values && i < coder->workers; i++) mem_free(coder->values[i]);
    mem_free(coder->values);
    mem_free(coder);
}

/* The worker's buffer for the largest tile and a canary. */
static float *values_of(struct coder *coder, uint64_t worker) {
    uint64_t weights = coder->grid.tile_rows * coder->grid.tile_columns;
    if (!coder->values[worker]) coder->values[worker] = mem_alloc_aligned((weights + CANARY_FLOATS) * sizeof(float));
    return coder->values[worker];
}

static bool canary_lives(const float *canary) {
    static const uint32_t alive[CANARY_FLOATS] = {CANARY, CANARY, CANARY, CANARY, CANARY, CANARY, CANARY, CANARY,
                                                  CANARY, CANARY, CANARY, CANARY, CANARY, CANARY, CANARY, CANARY};
    return !memcmp(canary, alive, sizeof alive);
}

static tsr_status decode_f32(struct coder *coder, const tsr_tile *tile, const void *bytes, uint64_t size, void *dst,
                             tsr_error *err) {
    const tsr_codec *codec = coder->job.codec;
    uint64_t weights = tile->rows * tile->columns;
    if (tile->worker >= coder->workers) return tsr_fail(err, TSR_E_ARGUMENT, "worker outside the pool");
    float *values = values_of(coder, tile->worker);
    if (!values) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a tile");
    memset(values + weights, CANARY & 0xFF, CANARY_FLOATS * sizeof *values);
    tsr_status st = codec->decode(coder->instance.self, tile, bytes, size, values, err);
    st = instance_verdict(codec, "decode", st, err);
    if (!canary_lives(values + weights)) {
        return tsr_fail(err, TSR_E_PLUGIN, "codec %s misbehaves: decode wrote behind a tile of %llu bytes", codec->name,
                        (unsigned long long)tile->bytes);
    }
    if (st == TSR_OK) dtype_from_f32(coder->job.tensor->dtype, values, weights, dst);
    return st;
}

static tsr_status decode_source(struct coder *coder, const tsr_tile *tile, const void *bytes, uint64_t size, void *dst,
                                tsr_error *err) {
    const tsr_codec *codec = coder->job.codec;
    tsr_status st = codec->decode(coder->instance.self, tile, bytes, size, dst, err);
    return instance_verdict(codec, "decode", st, err);
}

static tsr_status copy_raw(const tsr_tile *tile, uint64_t width, const void *bytes, uint64_t size, void *dst,
                           tsr_error *err) {
    uint64_t expected = tile->rows * tile->columns * width;
    if (size != expected) {
        return tsr_fail(err, TSR_E_CORRUPT, "tile %llu: %llu raw bytes, expected %llu", (unsigned long long)tile->index,
                        (unsigned long long)size, (unsigned long long)expected);
    }
    memcpy(dst, bytes, size);
    return TSR_OK;
}

tsr_status coder_decode_tile(struct coder *coder, uint64_t index, const void *bytes, uint64_t size, bool raw, void *dst,
                             uint64_t worker, tsr_error *err) {
    const struct coder_job *job = &coder->job;
    tsr_error own = {0};
    if (index >= coder->grid.count) return tsr_fail(err, TSR_E_ARGUMENT, "no tile %llu", (unsigned long long)index);
    bool as_f32 = job->codec->input == TSR_INPUT_F32;
    tsr_tile tile = tile_at(&coder->grid, index, as_f32 && !raw ? 32 : job->dtype_bits);
    tile.worker = worker;
    if (raw) return copy_raw(&tile, job->dtype_bits / 8, bytes, size, dst, err);
    tsr_status st =
        as_f32 ? decode_f32(coder, &tile, bytes, size, dst, &own) : decode_source(coder, &tile, bytes, size, dst, &own);
    if (st == TSR_OK) return st;
    error_context(&own, st, "tile %llu", (unsigned long long)index);
    if (err) *err = own;
    return st;
}
