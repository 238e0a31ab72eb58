/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoding is one tile at a time, on any worker, in any order. A codec that speaks F32 decodes into a buffer of its
 * worker (kept, since mapping fresh pages costs a tenth of the decoding), which is then rounded to the source dtype. */
#include "coder.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/pool.h>
#include <format/dtype.h>
#include <math.h>
#include <numeric/column_scale.h>
#include <string.h>
#include <tessera/ext/residual.h>

#include "instance.h"

#define CANARY_FLOATS 16
#define CANARY UINT32_C(0xC5C5C5C5)

struct coder {
    struct coder_job job;
    struct instance instance;
    struct tile_grid grid;
    uint64_t workers;
    float *factors; /* of columns, or NULL */
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

static tsr_status make_factors(struct coder *coder, tsr_error *err) {
    const uint64_t columns = coder->grid.columns;
    if (coder->job.codec->input != TSR_INPUT_F32 || coder->grid.tile_columns != columns) {
        return tsr_fail(err, TSR_E_CORRUPT, "scales of columns for codec %s", coder->job.codec->name);
    }
    coder->factors = mem_alloc_array(columns, sizeof *coder->factors);
    if (!coder->factors) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a decoder");
    column_scale_factors(coder->job.column_scale, columns, false, coder->factors);
    return TSR_OK;
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
        if (st == TSR_OK && job->column_scale) st = make_factors(made, err);
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
    mem_free(coder->factors);
    mem_free(coder);
}

const float *coder_column_factors(const struct coder *coder) {
    return coder->factors;
}

void *coder_self(const struct coder *coder) {
    return coder->instance.self;
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

/* Decodes into the worker's buffer, *values. */
static tsr_status decode_values(struct coder *coder, const tsr_tile *tile, const void *bytes, uint64_t size,
                                float **values, tsr_error *err) {
    const tsr_codec *codec = coder->job.codec;
    uint64_t weights = tile->rows * tile->columns;
    if (tile->worker >= coder->workers) return tsr_fail(err, TSR_E_ARGUMENT, "worker outside the pool");
    *values = values_of(coder, tile->worker);
    if (!*values) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a tile");
    memset(*values + weights, CANARY & 0xFF, CANARY_FLOATS * sizeof **values);
    tsr_status st = codec->decode(coder->instance.self, tile, bytes, size, *values, err);
    st = instance_verdict(codec, "decode", st, err);
    if (canary_lives(*values + weights)) {
        if (st == TSR_OK && coder->factors) column_scale_apply(coder->factors, tile->rows, tile->columns, *values);
        return st;
    }
    return tsr_fail(err, TSR_E_PLUGIN, "codec %s misbehaves: decode wrote behind a tile of %llu bytes", codec->name,
                    (unsigned long long)tile->bytes);
}

static tsr_status decode_f32(struct coder *coder, const tsr_tile *tile, const void *bytes, uint64_t size, void *dst,
                             tsr_error *err) {
    float *values = NULL;
    tsr_status st = decode_values(coder, tile, bytes, size, &values, err);
    if (st == TSR_OK) dtype_from_f32(coder->job.tensor->dtype, values, tile->rows * tile->columns, dst);
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

/* ---- stacks ---- */

bool coder_takes_prediction(const tsr_codec *codec) {
    return codec->get_extension && codec->get_extension(TSR_RESIDUAL_ID);
}

#define RUN_WEIGHTS 256

void coder_difference(int32_t dtype, const void *source, const void *prediction, uint64_t count, float *difference) {
    const uint8_t *from = source, *to = prediction;
    uint64_t width = dtype_bits(dtype) / 8;
    float predicted[RUN_WEIGHTS];
    for (uint64_t at = 0; at < count; at += RUN_WEIGHTS) {
        uint64_t run = min_u64(RUN_WEIGHTS, count - at);
        dtype_to_f32(dtype, from + at * width, run, difference + at);
        dtype_to_f32(dtype, to + at * width, run, predicted);
        for (uint64_t i = 0; i < run; i++) {
            float d = difference[at + i] - predicted[i];
            difference[at + i] = isfinite(d) ? d : 0;
        }
    }
}

/* tile += values, rounded to the tile's dtype; what is not finite, or would not be, stays. */
static void add_values(int32_t dtype, const float *values, uint64_t count, uint8_t *tile) {
    uint64_t width = dtype_bits(dtype) / 8;
    float sum[RUN_WEIGHTS];
    uint8_t rounded[RUN_WEIGHTS * sizeof(float)];
    for (uint64_t at = 0; at < count; at += RUN_WEIGHTS) {
        uint64_t run = min_u64(RUN_WEIGHTS, count - at);
        dtype_to_f32(dtype, tile + at * width, run, sum);
        for (uint64_t i = 0; i < run; i++) sum[i] += values[at + i];
        dtype_from_f32(dtype, sum, run, rounded);
        for (uint64_t i = 0; i < run; i++) {
            if (isfinite(sum[i])) memcpy(tile + (at + i) * width, rounded + i * width, (size_t)width);
        }
    }
}

static tsr_status correct_by_difference(struct coder *coder, const tsr_tile *tile, const void *bytes, uint64_t size,
                                        bool raw, void *corrected, tsr_error *err) {
    uint64_t count = tile->rows * tile->columns;
    float *values = NULL;
    if (!raw) {
        tsr_status st = decode_values(coder, tile, bytes, size, &values, err);
        if (st == TSR_OK) add_values(coder->job.base_dtype, values, count, corrected);
        return st;
    }
    values = mem_alloc_aligned(count * sizeof *values);
    tsr_status st = values ? copy_raw(tile, sizeof *values, bytes, size, values, err)
                           : tsr_fail(err, TSR_E_NOMEM, "out of memory for a tile");
    if (st == TSR_OK) add_values(coder->job.base_dtype, values, count, corrected);
    mem_free(values);
    return st;
}

static tsr_status correct_by_prediction(struct coder *coder, const tsr_tile *tile, const void *bytes, uint64_t size,
                                        bool raw, void *corrected, tsr_error *err) {
    const tsr_codec *codec = coder->job.codec;
    const tsr_residual *residual = codec->get_extension(TSR_RESIDUAL_ID);
    if (raw) return copy_raw(tile, coder->job.dtype_bits / 8, bytes, size, corrected, err);
    uint8_t *decoded = mem_alloc_aligned(tile->bytes);
    if (!decoded) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a tile");
    tsr_status st = residual->decode(coder->instance.self, tile, bytes, size, corrected, decoded, err);
    st = instance_verdict(codec, "decode", st, err);
    if (st == TSR_OK) memcpy(corrected, decoded, (size_t)tile->bytes);
    mem_free(decoded);
    return st;
}

tsr_status coder_correct_tile(struct coder *coder, uint64_t index, const void *bytes, uint64_t size, bool raw,
                              void *tile, uint64_t worker, tsr_error *err) {
    tsr_error own = {0};
    if (index >= coder->grid.count) return tsr_fail(err, TSR_E_ARGUMENT, "no tile %llu", (unsigned long long)index);
    tsr_tile at = tile_at(&coder->grid, index, coder->job.dtype_bits);
    at.worker = worker;
    tsr_status st = coder_takes_prediction(coder->job.codec)
                        ? correct_by_prediction(coder, &at, bytes, size, raw, tile, &own)
                        : correct_by_difference(coder, &at, bytes, size, raw, tile, &own);
    if (st == TSR_OK) return st;
    error_context(&own, st, "tile %llu", (unsigned long long)index);
    if (err) *err = own;
    return st;
}
