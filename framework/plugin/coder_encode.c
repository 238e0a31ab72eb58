/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoding goes in groups of tiles: read a group in order (one thread, so that the digest sees the source in order),
 * encode its tiles on the workers, hand them to the sink in order. Which tiles form a group depends on the shape alone;
 * memory is that of one group. Buffers belong to the call: pool scratch is lent to the codec. */
#include "coder.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/pool.h>
#include <base/str.h>
#include <format/dtype.h>
#include <numeric/column_scale.h>
#include <string.h>
#include <tessera/ext/residual.h>

#include "feedback.h"
#include "instance.h"
#include "matrix.h"

#define GROUP_WEIGHTS (UINT64_C(1) << 21)
#define TILE_BYTES_MAX UINT64_C(0x7FFFFFFF) /* lengths are stored in 31 bits */
#define CANARY_BYTES 64
#define CANARY 0xC5
#define PASS_BYTES (UINT64_C(1) << 20)

/* One tile of the group that is being worked on. */
struct slot {
    tsr_tile tile; /* in the codec's input form */
    uint64_t source_at, source_bytes;
    uint64_t input_at; /* in floats */
    uint64_t output_at, capacity, written;
    bool raw;
};

struct encoding {
    const struct coder_job *job;
    struct instance instance;
    struct matrix matrix;
    struct tile_grid grid;
    struct digest_state *digest; /* fed while tiles are read; NULL when not wanted or taken in a pass of its own */
    bool as_f32;
    bool only_finite;
    uint64_t group_tiles;
    struct slot *slots;
    uint8_t *source;
    float *input;
    struct feedback *feedback;    /* or NULL */
    float *factors;               /* by which columns are multiplied for the codec, or NULL */
    const tsr_residual *residual; /* of a stacked codec that takes the prediction, or NULL */
    struct matrix predicted;
    uint8_t *prediction;
    uint8_t *output;
    uint64_t output_bytes;
};

/* Tiles a group: about GROUP_WEIGHTS; whole rows where rows are cut into pieces and one fits. */
static uint64_t group_size(const struct tile_grid *grid) {
    uint64_t pieces = ceil_div(grid->columns, grid->tile_columns);
    uint64_t tiles = GROUP_WEIGHTS / (grid->tile_rows * grid->tile_columns);
    if (pieces > 1 && grid->columns <= GROUP_WEIGHTS) tiles = pieces * (GROUP_WEIGHTS / grid->columns);
    return min_u64(max_u64(tiles, 1), grid->count);
}

static tsr_status out_of_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for tiles");
}

/* ---- prepare ---- */

static tsr_status write_header(void *ctx, const void *bytes, uint64_t size, tsr_error *err) {
    struct str *header = ctx;
    if (size > TSR_CODEC_HEADER_MAX - header->length) {
        return tsr_fail(err, TSR_E_LIMIT, "codec header above %llu bytes", (unsigned long long)TSR_CODEC_HEADER_MAX);
    }
    str_add(header, bytes, (size_t)size);
    return header->failed ? tsr_fail(err, TSR_E_NOMEM, "out of memory for the codec header") : TSR_OK;
}

static tsr_status read_source_rows(void *ctx, uint64_t first_row, uint64_t rows, uint64_t first_column,
                                   uint64_t columns, void *dst, tsr_error *err) {
    return matrix_read(ctx, first_row, rows, first_column, columns, dst, err);
}

static tsr_status read_f32_rows(void *ctx, uint64_t first_row, uint64_t rows, uint64_t first_column, uint64_t columns,
                                void *dst, tsr_error *err) {
    struct encoding *run = ctx;
    tsr_status st = matrix_read_finite(&run->matrix, first_row, rows, first_column, columns, dst, err);
    if (st == TSR_OK && run->factors) column_scale_apply(run->factors + first_column, rows, columns, dst);
    return st;
}

static tsr_status prepare(struct encoding *run, struct str *header, tsr_error *err) {
    const tsr_codec *codec = run->job->codec;
    tsr_error own = {0};
    if (!(run->residual ? run->residual->prepare != NULL : codec->prepare != NULL)) return TSR_OK;
    tsr_row_source rows = {sizeof rows, run->as_f32 ? (void *)run : &run->matrix,
                           run->as_f32 ? read_f32_rows : read_source_rows};
    tsr_writer writer = {sizeof writer, header, write_header};
    tsr_row_source predicted = {sizeof predicted, &run->predicted, read_source_rows};
    tsr_status st = run->residual ? run->residual->prepare(run->instance.self, &rows, &predicted, &writer, &own)
                                  : codec->prepare(run->instance.self, &rows, &writer, &own);
    st = instance_verdict(codec, "prepare", st, &own);
    if (st != TSR_OK && err) *err = own;
    return st;
}

/* ---- one group ---- */

static tsr_status reserve_output(struct encoding *run, uint64_t bytes, tsr_error *err) {
    if (bytes <= run->output_bytes) return TSR_OK;
    mem_free(run->output);
    run->output_bytes = 0;
    run->output = mem_alloc_aligned(bytes);
    if (!run->output) return out_of_memory(err);
    run->output_bytes = bytes;
    return TSR_OK;
}

/* Where everything of the group's tiles goes. */
static tsr_status lay_out(struct encoding *run, uint64_t first, uint64_t count, tsr_error *err) {
    const tsr_codec *codec = run->job->codec;
    uint64_t width = run->job->dtype_bits / 8, weights = 0, output = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct slot *slot = &run->slots[i];
        *slot = (struct slot){.tile = tile_at(&run->grid, first + i, run->as_f32 ? 32 : run->job->dtype_bits)};
        slot->source_at = weights * width;
        slot->source_bytes = slot->tile.rows * slot->tile.columns * width;
        slot->input_at = weights;
        slot->output_at = output;
        slot->capacity = codec->encode_bound(run->instance.self, &slot->tile);
        if (slot->capacity > TILE_BYTES_MAX) {
            return tsr_fail(err, TSR_E_PLUGIN, "codec %s misbehaves: encode_bound is %llu for a tile of %llu bytes",
                            codec->name, (unsigned long long)slot->capacity, (unsigned long long)slot->source_bytes);
        }
        weights += slot->tile.rows * slot->tile.columns;
        output += (slot->capacity + CANARY_BYTES + 63) / 64 * 64;
    }
    return reserve_output(run, output, err);
}

static tsr_status read_group(struct encoding *run, uint64_t count, tsr_error *err) {
    for (uint64_t i = 0; i < count; i++) {
        const tsr_tile *tile = &run->slots[i].tile;
        uint8_t *dst = run->source + run->slots[i].source_at;
        tsr_status st =
            matrix_read(&run->matrix, tile->first_row, tile->rows, tile->first_column, tile->columns, dst, err);
        if (st != TSR_OK) return st;
        if (run->digest) digest_add(run->digest, dst, run->slots[i].source_bytes);
        if (!run->residual) continue;
        st = matrix_read(&run->predicted, tile->first_row, tile->rows, tile->first_column, tile->columns,
                         run->prediction + run->slots[i].source_at, err);
        if (st != TSR_OK) return st;
    }
    return TSR_OK;
}

static bool canary_lives(const uint8_t *canary) {
    for (int i = 0; i < CANARY_BYTES; i++) {
        if (canary[i] != CANARY) return false;
    }
    return true;
}

/* By the codec's own operation, its one for stacks, or with feedback. */
static tsr_status encode_tile(struct encoding *run, struct slot *slot, const void *src, uint8_t *dst, tsr_error *err) {
    void *self = run->instance.self;
    if (run->residual) {
        return run->residual->encode(self, &slot->tile, src, run->prediction + slot->source_at, dst, slot->capacity,
                                     &slot->written, err);
    }
    if (run->feedback) {
        return feedback_encode(run->feedback, &slot->tile, run->input + slot->input_at, dst, slot->capacity,
                               &slot->written, err);
    }
    return run->job->codec->encode(self, &slot->tile, src, dst, slot->capacity, &slot->written, err);
}

static tsr_status call_encode(struct encoding *run, struct slot *slot, const void *src, tsr_error *err) {
    const tsr_codec *codec = run->job->codec;
    uint8_t *dst = run->output + slot->output_at;
    memset(dst + slot->capacity, CANARY, CANARY_BYTES);
    tsr_status st = instance_verdict(codec, "encode", encode_tile(run, slot, src, dst, err), err);
    if (!canary_lives(dst + slot->capacity) || (st == TSR_OK && slot->written > slot->capacity)) {
        return tsr_fail(err, TSR_E_PLUGIN, "codec %s misbehaves: encode wrote more than its bound of %llu bytes",
                        codec->name, (unsigned long long)slot->capacity);
    }
    if (st == TSR_OK) return st;
    error_context(err, st, "tile %llu", (unsigned long long)slot->tile.index);
    return st;
}

static tsr_status encode_slot(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct encoding *run = ctx;
    struct slot *slot = &run->slots[index];
    const uint8_t *source = run->source + slot->source_at;
    uint64_t weights = slot->tile.rows * slot->tile.columns;
    if (env_cancelled(run->job->env)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    slot->tile.worker = worker;
    if (run->only_finite && !matrix_finite(run->job->tensor->dtype, source, weights)) {
        slot->raw = true;
        return TSR_OK;
    }
    const void *src = source;
    if (run->as_f32) {
        float *input = run->input + slot->input_at;
        dtype_to_f32(run->job->tensor->dtype, source, weights, input);
        if (run->factors) column_scale_apply(run->factors, slot->tile.rows, slot->tile.columns, input);
        src = input;
    }
    tsr_status st = call_encode(run, slot, src, err);
    slot->raw = slot->written >= slot->source_bytes;
    return st;
}

static tsr_status deliver(struct encoding *run, const struct coder_sink *sink, uint64_t count, tsr_error *err) {
    for (uint64_t i = 0; i < count; i++) {
        const struct slot *slot = &run->slots[i];
        tsr_status st = slot->raw ? sink->tile(sink->ctx, run->source + slot->source_at, slot->source_bytes, true, err)
                                  : sink->tile(sink->ctx, run->output + slot->output_at, slot->written, false, err);
        if (st != TSR_OK) return st;
    }
    return TSR_OK;
}

static tsr_status encode_group(struct encoding *run, const struct coder_sink *sink, uint64_t first, uint64_t count,
                               tsr_error *err) {
    tsr_status st = lay_out(run, first, count, err);
    if (st == TSR_OK) st = read_group(run, count, err);
    if (st == TSR_OK) st = pool_for(run->job->env->pool, count, encode_slot, run, err);
    if (st == TSR_OK) st = deliver(run, sink, count, err);
    return st;
}

/* ---- the whole tensor ---- */

static tsr_status allocate(struct encoding *run, tsr_error *err) {
    run->group_tiles = group_size(&run->grid);
    uint64_t weights = run->group_tiles * run->grid.tile_rows * run->grid.tile_columns;
    weights = min_u64(weights, run->grid.rows * run->grid.columns);
    run->slots = mem_alloc_zero(run->group_tiles, sizeof *run->slots);
    run->source = mem_alloc_aligned(weights * (run->job->dtype_bits / 8));
    if (run->as_f32) run->input = mem_alloc_aligned(weights * sizeof *run->input);
    if (run->residual) run->prediction = mem_alloc_aligned(weights * (run->job->dtype_bits / 8));
    bool enough = (run->input || !run->as_f32) && (run->prediction || !run->residual);
    return run->slots && run->source && enough ? TSR_OK : out_of_memory(err);
}

/* Scales of columns go with feedback: its errors are what they are chosen by. */
static tsr_status make_factors(struct encoding *run, tsr_error *err) {
    struct coder_feedback *feedback = run->job->feedback;
    if (!feedback) return TSR_OK;
    feedback->used = feedback_possible(run->job, run->instance.self, &run->grid);
    if (!feedback->used || !run->job->column_scale) return TSR_OK;
    run->factors = mem_alloc_array(run->grid.columns, sizeof *run->factors);
    if (!run->factors) return out_of_memory(err);
    column_scale_factors(run->job->column_scale, run->grid.columns, true, run->factors);
    return TSR_OK;
}

static tsr_status encode_tiles(struct encoding *run, const struct coder_sink *sink, tsr_error *err) {
    struct str header = {0};
    tsr_status st = instance_create(&run->instance, run->job, NULL, err);
    if (st == TSR_OK) st = make_factors(run, err);
    if (st == TSR_OK) st = prepare(run, &header, err);
    if (st == TSR_OK) st = allocate(run, err);
    if (st == TSR_OK && run->job->feedback && run->job->feedback->used) {
        st = feedback_open(run->job, run->instance.self, &run->grid, &run->feedback, err);
    }
    if (st == TSR_OK) st = sink->begin(sink->ctx, &run->grid, header.text, header.length, err);
    for (uint64_t i = 0; st == TSR_OK && i < run->grid.count; i += run->group_tiles) {
        st = encode_group(run, sink, i, min_u64(run->group_tiles, run->grid.count - i), err);
    }
    str_clear(&header);
    return st;
}

/* The digest of a source that is not read in its own order. */
static tsr_status digest_pass(const struct coder_job *job, const struct coder_source *source,
                              struct digest_state *digest, tsr_error *err) {
    tsr_status st = TSR_OK;
    uint8_t *chunk = mem_alloc_aligned(PASS_BYTES);
    if (!chunk) return out_of_memory(err);
    for (uint64_t at = 0; at < job->tensor->bytes && st == TSR_OK; at += PASS_BYTES) {
        uint64_t size = min_u64(PASS_BYTES, job->tensor->bytes - at);
        st = source->read(source->ctx, at, chunk, size, err);
        if (st == TSR_OK) digest_add(digest, chunk, size);
    }
    mem_free(chunk);
    return st;
}

static void release(struct encoding *run) {
    feedback_close(run->feedback);
    instance_destroy(&run->instance);
    matrix_close(&run->matrix);
    matrix_close(&run->predicted);
    mem_free(run->slots);
    mem_free(run->source);
    mem_free(run->prediction);
    mem_free(run->input);
    mem_free(run->factors);
    mem_free(run->output);
}

tsr_status coder_encode(const struct coder_job *job, const struct coder_source *source, const struct coder_sink *sink,
                        struct digest *source_digest, tsr_error *err) {
    const tsr_tensor *tensor = job->tensor;
    struct encoding run = {.job = job};
    struct digest_state *digest = NULL;
    run.grid = tile_grid_make(tensor->rows, tensor->columns,
                              job->tile_weights ? job->tile_weights : job->codec->tile_weights);
    run.as_f32 = job->codec->input == TSR_INPUT_F32;
    run.only_finite = run.as_f32 || !(job->codec->flags & TSR_CODEC_EXACT);
    tsr_status st = matrix_open(&run.matrix, job, source, err);
    if (st == TSR_OK && job->stacked && coder_takes_prediction(job->codec)) {
        run.residual = job->codec->get_extension(TSR_RESIDUAL_ID);
        st = matrix_open(&run.predicted, job, job->prediction, err);
    }
    if (st != TSR_OK) goto done;
    if (source_digest) {
        digest = digest_create();
        st = digest ? TSR_OK : out_of_memory(err);
        if (st != TSR_OK) goto done;
        if (run.matrix.transposed) {
            st = digest_pass(job, source, digest, err);
        } else {
            run.digest = digest;
        }
        if (st != TSR_OK) goto done;
    }
    st = run.grid.count ? encode_tiles(&run, sink, err) : sink->begin(sink->ctx, &run.grid, NULL, 0, err);
    if (st == TSR_OK && digest) *source_digest = digest_end(digest);
done:
    digest_destroy(digest);
    release(&run);
    return st;
}
