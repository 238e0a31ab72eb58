/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodes samples and measures what comes back. Tile bytes grow with the weights, the codec's header with the
 * rows if it does so within the sample; the payload's own head is known. The codecs of a stack go one after the other over
 * the same sample, each on what those before it left over. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <base/alloc.h>
#include <base/error.h>
#include <base/pool.h>
#include <base/str.h>
#include <format/container_write.h>
#include <format/dtype.h>

#include "plan_probe.h"
#include "plan_solve.h"

#define HEADER_BYTES_SMALL 1024

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
    stored->raw_count += raw;
    stored->tile_bytes += size;
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

/* One stack of codecs on one entry. */
struct attempt {
    const struct planner *planner;
    const struct plan_entry *entry;
    struct plan_stage stages[CONFIG_STAGES_MAX];
    uint64_t stage_count;
    const struct plan_group *group; /* whose dictionary the first codec uses, or NULL */
    struct plan_probe *probe;       /* to be filled, or NULL */
    uint64_t weights;
    uint64_t worker;
    struct host_services services;
    struct sample sample;
    struct stored stored;                     /* of the stage at work */
    uint64_t half_header_bytes;               /* of its header for half of the rows; 0: not worth a look */
    uint64_t header_bytes[CONFIG_STAGES_MAX]; /* predicted */
    uint64_t base_tile_bytes;                 /* of the stages before a lossy correction at the end */
    uint8_t *decoded;                         /* the sample as the stages so far give it, in the source dtype */
    float *difference;                        /* what the next codec encodes, unless it takes the prediction */
};

static uint64_t scale(uint64_t bytes, uint64_t part, uint64_t whole) {
    __extension__ typedef unsigned __int128 wide;
    return part == 0 ? 0 : (uint64_t)(((wide)bytes * whole + part / 2) / part);
}

/* A header that holds something for each row grows with the rows. */
static uint64_t predict_header(const struct attempt *attempt) {
    const struct sample *sample = &attempt->sample;
    uint64_t full = attempt->stored.header.length, half = attempt->half_header_bytes;
    if (sample->whole || half == 0 || full <= half) return full;
    uint64_t grown = scale(full - half, sample->rows - sample->rows / 2, attempt->entry->rows - sample->rows);
    return min_u64(full + grown, PAYLOAD_CODEC_HEADER_MAX);
}

/* Payload bytes of the whole tensor, of its first `stages` stages. */
static uint64_t predict_bytes(const struct attempt *attempt, uint64_t stages, uint64_t tile_bytes) {
    const struct plan_entry *entry = attempt->entry;
    const struct safetensors_entry *source = entry->source->entry;
    struct tile_grid grid = tile_grid_make(entry->rows, entry->columns, attempt->stages[0].codec->tile_weights);
    uint64_t bytes = tile_bytes;
    for (uint64_t s = 0; s < stages; s++) {
        struct payload_head head = {.dtype = source->dtype,
                                    .dtype_name = source->dtype_name,
                                    .rank = s ? 2 : source->rank,
                                    .tile_count = grid.count,
                                    .codec_id = attempt->stages[s].codec->id,
                                    .params = attempt->stages[s].params.canonical,
                                    .has_dictionary = s == 0 && attempt->group,
                                    .columns = entry->columns,
                                    .column_scale = s ? NULL : entry->column_scale,
                                    .codec_header_bytes = attempt->header_bytes[s]};
        bytes += payload_prefix_bytes(&head);
    }
    return bytes;
}

/* What the stage at work stored, applied to the sample as far as it is decoded. */
static tsr_status decode_stage(const struct attempt *attempt, const struct coder_job *job, tsr_error *err) {
    const struct stored *stored = &attempt->stored;
    struct coder *coder = NULL;
    uint8_t *to = attempt->decoded;
    tsr_status st = coder_open(job, &stored->grid, stored->header.text, stored->header.length,
                               job->codec->bitstream_version, &coder, err);
    for (uint64_t t = 0; t < stored->count && !st; t++) {
        const struct stored_tile *tile = &stored->tiles[t];
        const char *bytes = tile->size ? stored->bytes.text + tile->offset : "";
        st = job->stacked ? coder_correct_tile(coder, t, bytes, tile->size, tile->raw, to, attempt->worker, err)
                          : coder_decode_tile(coder, t, bytes, tile->size, tile->raw, to, attempt->worker, err);
        to += tile_at(&stored->grid, t, attempt->sample.bits).bytes;
    }
    coder_close(coder);
    return st;
}

/* Adds what stands for `times` as much. */
static void metric_merge(struct metric *sum, const struct metric *part, double times) {
    sum->source_energy += part->source_energy * times;
    sum->decoded_energy += part->decoded_energy * times;
    sum->dot += part->dot * times;
    sum->error_energy += part->error_energy * times;
    sum->max_abs_error = fmax(sum->max_abs_error, part->max_abs_error);
    if (part->worst_row_error > sum->worst_row_error) {
        sum->worst_row_error = part->worst_row_error;
        sum->worst_row = part->worst_row;
    }
    sum->rows += part->rows;
    sum->weights += part->weights;
    sum->not_finite += part->not_finite;
}

static tsr_status compare(const struct attempt *attempt, struct metric *metric, tsr_error *err) {
    const struct sample *sample = &attempt->sample;
    struct metric part = {0};
    float *rows = mem_alloc_array(max_u64(sample->columns, 1), 2 * sizeof *rows);
    if (!rows) return plan_no_memory(err);
    for (uint64_t r = 0; r < sample->rows; r++) {
        sample_row(sample, sample->bytes, r, rows);
        sample_row(sample, attempt->decoded, r, rows + sample->columns);
        metric_add_row(&part, r, rows, rows + sample->columns, sample->columns);
    }
    metric_merge(metric, &part, part.weights ? (double)sample->stands_for / (double)part.weights : 1);
    mem_free(rows);
    return TSR_OK;
}

/* Bounds at the rate that was reached, and at the one that the rule allows. */
static tsr_status bound_trial(const struct attempt *attempt, double allowed_bytes, struct trial *trial,
                              tsr_error *err) {
    double weights = (double)max_u64(attempt->weights, 1);
    tsr_status st = sample_bound(&attempt->sample, (double)trial->bytes * 8 / weights, false, &trial->bound_error, err);
    if (st || isinf(allowed_bytes)) return st;
    return sample_bound(&attempt->sample, allowed_bytes * 8 / weights, true, &trial->floor_error, err);
}

/* Ends an encoding when its header is known. */
static tsr_status note_header(void *ctx, const struct tile_grid *grid, const void *header, uint64_t bytes,
                              tsr_error *err) {
    uint64_t *header_bytes = ctx;
    (void)grid, (void)header;
    *header_bytes = max_u64(bytes, 1);
    return tsr_fail(err, TSR_E_CANCELLED, "the header is enough");
}

/* The header of the first half of the sample's rows, where the header is a part of the payload that counts. */
static tsr_status probe_header(struct attempt *attempt, const struct coder_job *job, const struct coder_source *source,
                               tsr_error *err) {
    const struct sample *sample = &attempt->sample;
    if (sample->whole || sample->rows < 2 || attempt->stored.header.length < HEADER_BYTES_SMALL) return TSR_OK;
    struct coder_job half = *job;
    struct coder_sink sink = {&attempt->half_header_bytes, note_header, store_tile};
    tsr_tensor tensor = sample->tensor;
    uint64_t shape[2] = {sample->rows / 2, sample->columns};
    tensor.shape = shape;
    tensor.rows = shape[0];
    tensor.bytes = tensor.rows * tensor.columns * (sample->bits / 8);
    half.tensor = &tensor;
    tsr_status st = coder_encode(&half, source, &sink, NULL, err);
    return attempt->half_header_bytes ? TSR_OK : st;
}

static tsr_status read_decoded(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    const struct attempt *attempt = ctx;
    (void)err;
    memcpy(dst, attempt->decoded + offset, size);
    return TSR_OK;
}

static tsr_status read_difference(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    const struct attempt *attempt = ctx;
    (void)err;
    memcpy(dst, (const uint8_t *)attempt->difference + offset, size);
    return TSR_OK;
}

/* The sample as a stacked codec sees it. */
struct leftover {
    tsr_tensor tensor;
    uint64_t shape[2];
    struct coder_source source, prediction;
};

static void leave_over(struct attempt *attempt, const tsr_codec *codec, struct leftover *left, struct coder_job *job) {
    struct sample *sample = &attempt->sample;
    bool predicted = coder_takes_prediction(codec);
    uint64_t count = sample->rows * sample->columns;
    left->shape[0] = sample->rows;
    left->shape[1] = sample->columns;
    left->tensor = sample->tensor;
    left->tensor.shape = left->shape;
    left->tensor.rank = 2;
    left->prediction = (struct coder_source){attempt, read_decoded};
    left->source = predicted ? (struct coder_source){sample, read_sample}
                             : (struct coder_source){attempt, read_difference};
    job->tensor = &left->tensor;
    job->stacked = true;
    job->base_dtype = sample->tensor.dtype;
    job->prediction = &left->prediction;
    if (predicted) return;
    left->tensor.dtype = TSR_DTYPE_F32;
    left->tensor.bytes = count * sizeof(float);
    job->dtype_bits = 32;
    coder_difference(sample->tensor.dtype, sample->bytes, attempt->decoded, count, attempt->difference);
}

/* True when the last stage has to be worth its bytes. */
static bool ends_in_correction(const struct attempt *attempt) {
    uint64_t flags = attempt->stages[attempt->stage_count - 1].codec->flags;
    return attempt->stage_count > 1 && (flags & TSR_CODEC_CORRECTION) && !(flags & TSR_CODEC_EXACT);
}

static tsr_status encode_stage(struct attempt *attempt, uint64_t stage, struct trial *trial, tsr_error *err) {
    const struct sample *sample = &attempt->sample;
    const struct plan_stage *planned = &attempt->stages[stage];
    struct stored *stored = &attempt->stored;
    struct leftover left;
    struct coder_job job = {.env = attempt->planner->env,
                            .host = &attempt->services.host,
                            .codec = planned->codec,
                            .params = planned->params.values,
                            .tensor = &sample->tensor,
                            .dictionary = stage == 0 && attempt->group ? attempt->group->dictionary : NULL,
                            .dictionary_bytes = stage == 0 && attempt->group ? attempt->group->bytes : 0,
                            .stride = attempt->entry->role.stride,
                            .role = attempt->entry->role.role,
                            .tile_weights = attempt->stages[0].codec->tile_weights,
                            .dtype_bits = sample->bits};
    /* A sample of a part of the columns goes without their weights. */
    const struct plan_entry *entry = attempt->entry;
    const tsr_encode_hints hints = {sizeof hints, sample->row_weight,
                                    sample->columns == entry->columns ? entry->column_weight : NULL};
    if (hints.row_weight || hints.column_weight) job.hints = &hints;
    struct coder_source source = {&attempt->sample, read_sample};
    struct coder_sink sink = {stored, store_begin, store_tile};
    if (stage) {
        leave_over(attempt, planned->codec, &left, &job);
        source = left.source;
    }
    stored->keep = attempt->decoded != NULL;
    attempt->half_header_bytes = 0;
    tsr_status st = coder_encode(&job, &source, &sink, NULL, err);
    if (!st && stage == 0) st = probe_header(attempt, &job, &source, err);
    if (!st && stored->keep) st = decode_stage(attempt, &job, err);
    trial->tile_bytes += scale(stored->tile_bytes, sample->rows * sample->columns, sample->stands_for);
    if (stage == 0) trial->all_raw = trial->all_raw && stored->raw_count == stored->count;
    attempt->header_bytes[stage] = predict_header(attempt);
    store_clear(stored);
    *stored = (struct stored){0};
    return st;
}

/* Adds what one part of the sample says to the trial. */
static tsr_status encode_part(struct attempt *attempt, struct trial *trial, tsr_error *err) {
    bool lossy = plan_is_lossy(attempt->stages[0].codec);
    uint64_t count = max_u64(attempt->sample.rows * attempt->sample.columns, 1);
    tsr_status st = TSR_OK;
    host_services_init(&attempt->services, attempt->planner->env);
    if (lossy) attempt->decoded = mem_alloc_aligned(count * (attempt->sample.bits / 8));
    if (attempt->stage_count > 1) attempt->difference = mem_alloc_aligned(count * sizeof *attempt->difference);
    if ((lossy && !attempt->decoded) || (attempt->stage_count > 1 && !attempt->difference)) st = plan_no_memory(err);
    for (uint64_t s = 0; s < attempt->stage_count && !st; s++) {
        uint64_t before = trial->tile_bytes;
        if (s > 0 && s + 1 == attempt->stage_count && ends_in_correction(attempt)) st = compare(attempt, &trial->base, err);
        if (!st) st = encode_stage(attempt, s, trial, err);
        if (s + 1 < attempt->stage_count) attempt->base_tile_bytes += trial->tile_bytes - before;
    }
    return !st && lossy ? compare(attempt, &trial->metric, err) : st;
}

static void attempt_clear(struct attempt *attempt) {
    store_clear(&attempt->stored);
    mem_free(attempt->decoded);
    mem_free(attempt->difference);
    attempt->decoded = NULL;
    attempt->difference = NULL;
    sample_clear(&attempt->sample);
    attempt->stored = (struct stored){0};
}

/* Edges first, so that the inner part is at hand when the rate is known and bounds are taken. */
static tsr_status attempt_run(struct attempt *attempt, double allowed_bytes, struct trial *trial, tsr_error *err) {
    const tsr_codec *codec = attempt->stages[0].codec;
    trial->all_raw = true;
    tsr_status st = sample_read(attempt->planner, attempt->entry, codec, SAMPLE_EDGES, &attempt->sample, err);
    if (!st && attempt->sample.rows) st = encode_part(attempt, trial, err);
    attempt_clear(attempt);
    if (!st) st = sample_read(attempt->planner, attempt->entry, codec, SAMPLE_INNER, &attempt->sample, err);
    if (!st && attempt->probe) st = probe_sample(&attempt->sample, attempt->probe, err);
    if (!st) st = encode_part(attempt, trial, err);
    trial->ran = true;
    trial->whole = attempt->sample.whole;
    trial->bytes = predict_bytes(attempt, attempt->stage_count, trial->tile_bytes);
    if (ends_in_correction(attempt)) {
        trial->base_bytes = predict_bytes(attempt, attempt->stage_count - 1, attempt->base_tile_bytes);
    }
    if (!st && plan_is_lossy(codec)) st = bound_trial(attempt, allowed_bytes, trial, err);
    attempt_clear(attempt);
    return st && st != TSR_E_CANCELLED ? error_context(err, st, "tensor \"%s\"", attempt->entry->source->name) : st;
}

static bool wants_trial(const struct planner *planner, const struct plan_entry *entry) {
    const struct config_request none = {0};
    bool asked = entry->rule && memcmp(&entry->rule->request, &none, sizeof none);
    return planner->options->predict || planner->trials == TRIALS_OF_REST || plan_is_lossy(entry->codec) || asked;
}

/* A codec that says no is no error: its reason is kept, and passthrough stands in. */
static tsr_status ask_codec(struct planner *planner, uint64_t index, tsr_error *err) {
    const struct plan_entry *entry = &planner->plan->entries[index];
    struct plan_facts *facts = &planner->facts[index];
    struct host_services services;
    host_services_init(&services, planner->env);
    uint64_t rows = entry->rows, columns = entry->columns;
    tsr_tensor tensor = sample_tensor_of(entry);
    struct coder_job job = {.env = planner->env,
                            .host = &services.host,
                            .codec = entry->codec,
                            .params = entry->params.values,
                            .tensor = &tensor,
                            .dictionary = entry->group < 0 ? NULL : planner->plan->groups[entry->group].dictionary,
                            .dictionary_bytes = entry->group < 0 ? 0 : planner->plan->groups[entry->group].bytes,
                            .stride = entry->role.stride,
                            .role = entry->role.role,
                            .transposed = entry->transposed,
                            .dtype_bits = tile_matrix_of(tensor.dtype, tensor.bytes, &rows, &columns)};
    tsr_error reason = {0};
    tsr_status st = coder_accepts(&job, &reason);
    if (st == TSR_E_NOMEM || st == TSR_E_PLUGIN) {
        if (err) *err = reason;
        return error_context(err, st, "tensor \"%s\"", entry->source->name);
    }
    if (st) facts->refusal = mem_dup_text(reason.message);
    return st && !facts->refusal ? plan_no_memory(err) : TSR_OK;
}

static tsr_status run_entry(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct planner *planner = ctx;
    const struct plan_entry *entry = &planner->plan->entries[index];
    struct plan_facts *facts = &planner->facts[index];
    if (env_cancelled(planner->env)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    bool tried = plan_is_lossy(entry->codec) ? facts->lossy.ran : facts->lossless.ran;
    if (entry->alias_of >= 0 || tried || facts->refusal) return TSR_OK;
    if (planner->trials == TRIALS_OF_REST && plan_is_free(entry)) return TSR_OK;
    tsr_status st = ask_codec(planner, index, err);
    if (st || !wants_trial(planner, entry)) return st;
    struct attempt attempt = {.planner = planner,
                              .entry = entry,
                              .stage_count = 1 + entry->more_count,
                              .group = entry->group < 0 ? NULL : &planner->plan->groups[entry->group],
                              .weights = facts->weights,
                              .worker = worker};
    struct attempt fallback = attempt;
    for (uint64_t s = 0; s < attempt.stage_count; s++) attempt.stages[s] = plan_stage_at(entry, s);
    fallback.stages[0] =
        (struct plan_stage){planner->passthrough, planner->passthrough_plugin, planner->passthrough_params};
    fallback.stage_count = 1;
    fallback.group = NULL;
    if (planner->options->predict) attempt.probe = &facts->probe;
    if (facts->refusal) return attempt_run(&fallback, INFINITY, &facts->lossless, err);
    if (!plan_is_lossy(entry->codec)) return attempt_run(&attempt, INFINITY, &facts->lossless, err);
    st = attempt_run(&attempt, plan_allowed_bytes(planner, index), &facts->lossy, err);
    return st || facts->lossless.ran ? st : attempt_run(&fallback, INFINITY, &facts->lossless, err);
}

tsr_status plan_run_trials(struct planner *planner, tsr_error *err) {
    return pool_for(planner->env->pool, planner->plan->count, run_entry, planner, err);
}
