/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodes samples and measures what comes back. Tile bytes grow with the weights; the codec's header and the payload's
 * own head are counted once. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <base/alloc.h>
#include <base/error.h>
#include <base/pool.h>
#include <base/str.h>
#include <format/container_write.h>
#include <format/dtype.h>

#include "plan_sample.h"

/* A sample's encoding, kept in memory. */
struct stored_tile {
    uint64_t offset, size;
    bool raw;
};

struct stored {
    struct tile_grid grid;
    struct str header, bytes;
    struct stored_tile *tiles;
    uint64_t count, raw_count, tile_bytes;
    bool keep; /* the bytes too, to decode them */
};

static tsr_status store_begin(void *ctx, const struct tile_grid *grid, const void *header, uint64_t bytes,
                              tsr_error *err) {
    struct stored *stored = ctx;
    stored->grid = *grid;
    stored->tiles = mem_alloc_array(max_u64(grid->count, 1), sizeof *stored->tiles);
    if (bytes) str_add(&stored->header, header, bytes);
    return stored->tiles && !stored->header.failed ? TSR_OK : plan_no_memory(err);
}

static tsr_status store_tile(void *ctx, const void *bytes, uint64_t size, bool raw, tsr_error *err) {
    struct stored *stored = ctx;
    stored->tiles[stored->count++] = (struct stored_tile){stored->bytes.length, size, raw};
    stored->tile_bytes += size;
    stored->raw_count += raw;
    if (stored->keep) str_add(&stored->bytes, bytes, size);
    return stored->bytes.failed ? plan_no_memory(err) : TSR_OK;
}

static void store_clear(struct stored *stored) {
    str_clear(&stored->header);
    str_clear(&stored->bytes);
    mem_free(stored->tiles);
}

static tsr_status read_sample(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    const struct sample *sample = ctx;
    (void)err;
    memcpy(dst, sample->bytes + offset, size);
    return TSR_OK;
}

/* One codec on one entry. */
struct attempt {
    const struct planner *planner;
    const struct plan_entry *entry;
    const tsr_codec *codec;
    const struct param_set *params;
    uint64_t weights;
    uint64_t worker;
    struct host_services services;
    struct sample sample;
    struct stored stored;
};

static uint64_t scale(uint64_t bytes, uint64_t part, uint64_t whole) {
    __extension__ typedef unsigned __int128 wide;
    return part == 0 ? 0 : (uint64_t)(((wide)bytes * whole + part / 2) / part);
}

/* Payload bytes of the whole tensor. */
static uint64_t predict_bytes(const struct attempt *attempt) {
    const struct plan_entry *entry = attempt->entry;
    const struct safetensors_entry *source = entry->source->entry;
    const struct stored *stored = &attempt->stored;
    struct tile_grid grid = tile_grid_make(entry->rows, entry->columns, attempt->codec->tile_weights);
    struct payload_head head = {.dtype = source->dtype,
                                .dtype_name = source->dtype_name,
                                .rank = source->rank,
                                .rows = entry->rows,
                                .columns = entry->columns,
                                .bytes = source->bytes,
                                .transposed = entry->transposed,
                                .tile_rows = grid.tile_rows,
                                .tile_columns = grid.tile_columns,
                                .tile_count = grid.count,
                                .codec_id = attempt->codec->id,
                                .bitstream_version = attempt->codec->bitstream_version,
                                .params = attempt->params->canonical,
                                .codec_header_bytes = stored->header.length};
    memcpy(head.shape, source->shape, sizeof head.shape);
    uint64_t sampled = attempt->sample.rows * attempt->sample.columns;
    return payload_prefix_bytes(&head) + scale(stored->tile_bytes, sampled, entry->rows * entry->columns);
}

static tsr_status decode_all(const struct attempt *attempt, const struct coder_job *job, uint8_t *decoded,
                             tsr_error *err) {
    const struct stored *stored = &attempt->stored;
    struct coder *coder = NULL;
    tsr_status st = coder_open(job, &stored->grid, stored->header.text, stored->header.length,
                               attempt->codec->bitstream_version, &coder, err);
    for (uint64_t t = 0; t < stored->count && !st; t++) {
        const struct stored_tile *tile = &stored->tiles[t];
        const char *bytes = tile->size ? stored->bytes.text + tile->offset : "";
        st = coder_decode_tile(coder, t, bytes, tile->size, tile->raw, decoded, attempt->worker, err);
        decoded += tile_at(&stored->grid, t, job->dtype_bits).bytes;
    }
    coder_close(coder);
    return st;
}

static tsr_status measure(const struct attempt *attempt, const struct coder_job *job, struct trial *trial,
                          tsr_error *err) {
    const struct sample *sample = &attempt->sample;
    float *rows = mem_alloc_array(max_u64(sample->columns, 1), 2 * sizeof *rows);
    uint8_t *decoded = mem_alloc_aligned(max_u64(sample->tensor.bytes, 1));
    tsr_status st = rows && decoded ? TSR_OK : plan_no_memory(err);
    if (!st) st = decode_all(attempt, job, decoded, err);
    for (uint64_t r = 0; r < sample->rows && !st; r++) {
        sample_row(sample, sample->bytes, r, rows);
        sample_row(sample, decoded, r, rows + sample->columns);
        metric_add_row(&trial->metric, r, rows, rows + sample->columns, sample->columns);
    }
    mem_free(rows);
    mem_free(decoded);
    return st;
}

/* Bounds at the rate that was reached, and at the one that the rule allows. */
static tsr_status bound_trial(const struct attempt *attempt, double allowed_bytes, struct trial *trial,
                              tsr_error *err) {
    double weights = (double)max_u64(attempt->weights, 1);
    tsr_status st = sample_bound(&attempt->sample, (double)trial->bytes * 8 / weights, false, &trial->bound_error, err);
    if (st || isinf(allowed_bytes)) return st;
    return sample_bound(&attempt->sample, allowed_bytes * 8 / weights, true, &trial->floor_error, err);
}

static tsr_status encode_sample(struct attempt *attempt, double allowed_bytes, struct trial *trial, tsr_error *err) {
    host_services_init(&attempt->services, attempt->planner->env);
    struct coder_job job = {.env = attempt->planner->env,
                            .host = &attempt->services.host,
                            .codec = attempt->codec,
                            .params = attempt->params->values,
                            .tensor = &attempt->sample.tensor,
                            .dtype_bits = attempt->sample.bits};
    struct coder_source source = {&attempt->sample, read_sample};
    struct coder_sink sink = {&attempt->stored, store_begin, store_tile};
    bool is_lossy = plan_is_lossy(attempt->codec);
    attempt->stored.keep = is_lossy;
    tsr_status st = coder_encode(&job, &source, &sink, NULL, err);
    if (st) return st;
    trial->ran = true;
    trial->whole = attempt->sample.whole;
    trial->all_raw = attempt->stored.raw_count == attempt->stored.count;
    trial->bytes = predict_bytes(attempt);
    if (is_lossy) st = measure(attempt, &job, trial, err);
    if (is_lossy && !st) st = bound_trial(attempt, allowed_bytes, trial, err);
    return st;
}

static tsr_status attempt_run(struct attempt *attempt, double allowed_bytes, struct trial *trial, tsr_error *err) {
    tsr_status st = sample_read(attempt->planner, attempt->entry, attempt->codec, &attempt->sample, err);
    if (!st) st = encode_sample(attempt, allowed_bytes, trial, err);
    store_clear(&attempt->stored);
    sample_clear(&attempt->sample);
    return st && st != TSR_E_CANCELLED ? error_context(err, st, "tensor \"%s\"", attempt->entry->source->name) : st;
}

static bool wants_trial(const struct planner *planner, const struct plan_entry *entry) {
    const struct config_request none = {0};
    bool asked = entry->rule && memcmp(&entry->rule->request, &none, sizeof none);
    return entry->alias_of < 0 && (planner->options->predict || plan_is_lossy(entry->codec) || asked);
}

static tsr_status run_entry(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct planner *planner = ctx;
    const struct plan_entry *entry = &planner->plan->entries[index];
    struct plan_facts *facts = &planner->facts[index];
    if (env_cancelled(planner->env)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    if (!wants_trial(planner, entry)) return TSR_OK;
    struct attempt attempt = {.planner = planner,
                              .entry = entry,
                              .codec = entry->codec,
                              .params = &entry->params,
                              .weights = facts->weights,
                              .worker = worker};
    bool is_lossy = plan_is_lossy(entry->codec);
    struct trial *first = is_lossy ? &facts->lossy : &facts->lossless;
    tsr_status st = attempt_run(&attempt, plan_allowed_bytes(planner, index), first, err);
    if (st || !is_lossy) return st;
    struct attempt fallback = {.planner = planner,
                               .entry = entry,
                               .codec = planner->passthrough,
                               .params = &planner->passthrough_params,
                               .weights = facts->weights,
                               .worker = worker};
    return attempt_run(&fallback, INFINITY, &facts->lossless, err);
}

tsr_status plan_run_trials(struct planner *planner, tsr_error *err) {
    return pool_for(planner->env->pool, planner->plan->count, run_entry, planner, err);
}
