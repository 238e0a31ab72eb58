/* SPDX-License-Identifier: Apache-2.0
 *
 * A part counts once its journal line is on disk, and the line is written only after the part is. Parts of an earlier
 * run are believed only after their bytes were read and their digest found equal, so no order of lost writes can
 * bring a wrong one back. */
#include "encode.h"

#include "leftover.h"

#include <base/alloc.h>
#include <base/bytes.h>
#include <base/error.h>
#include <base/number.h>
#include <base/pool.h>
#include <base/str.h>
#include <format/container_write.h>
#include <inttypes.h>
#include <numeric/factor.h>
#include <plugin/coder.h>
#include <reading/facts.h>
#include <reading/lanes.h>
#include <reading/meter.h>
#include <stdlib.h>
#include <string.h>
#include <tessera/version.h>

/* ---- keys ---- */

/* What makes payload `index` of a part: a codec of the stack, or that of the search index behind it. */
static struct plan_stage payload_stage(const struct plan_entry *entry, uint64_t index) {
    return index > entry->more_count ? *entry->index : plan_stage_at(entry, index);
}

static void add_weights(const char *what, const float *weights, uint64_t count, struct str *text) {
    char hex[DIGEST_HEX];
    if (!weights) return;
    struct digest digest = digest_of(weights, count * sizeof *weights);
    str_add_format(text, " %s %s", what, digest_to_hex(&digest, hex));
}

static void add_hints(const struct plan_entry *entry, struct str *text) {
    char hex[DIGEST_HEX], real[NUMBER_TEXT];
    str_add_text(text, entry->column_weight || entry->row_weight ? "hints" : "hints none");
    add_weights("column", entry->column_weight, entry->columns, text);
    add_weights("row", entry->row_weight, entry->rows, text);
    if (entry->column_scale) {
        struct digest scale = digest_of(entry->column_scale, entry->columns);
        str_add_format(text, " scale %s", digest_to_hex(&scale, hex));
    }
    if (entry->moment) {
        str_add_format(text, " feedback %s damping %s blas %s", digest_to_hex(&entry->moment_digest, hex),
                       number_text(entry->damping, real), factor_blas());
    }
    str_add_text(text, "\n");
}

/* Everything that a part's bytes depend on: digest, codec, bitstream version, parameters, hints, and, so that a resumed
 * run equals an uninterrupted one, the program and plugin that wrote it. */
tsr_status part_key(const struct plan *plan, const struct plan_entry *entry, char key[DIGEST_HEX], tsr_error *err) {
    const struct safetensors_entry *source = entry->source->entry;
    const struct plan_group *group = entry->group < 0 ? NULL : &plan->groups[entry->group];
    struct str text = {0};
    char hex[DIGEST_HEX], real[NUMBER_TEXT];
    str_add_format(&text, "%s\n%s\n%s", TSR_VERSION, source->name, source->dtype_name);
    for (uint64_t i = 0; i < source->rank; i++) str_add_format(&text, " %" PRIu64, source->shape[i]);
    str_add_format(&text, "\n%" PRIu64 " %" PRIu64 " %d %d %s\n", entry->rows, entry->columns, entry->transposed,
                   entry->regime, number_text(entry->row_error_max, real));
    for (uint64_t i = 0; i < part_payloads(entry); i++) {
        struct plan_stage stage = payload_stage(entry, i);
        str_add_format(&text, "%s %" PRIu64 " %s\n%s\n", stage.codec->id, stage.codec->bitstream_version,
                       stage.plugin ? stage.plugin->digest : "", stage.params.canonical);
    }
    str_add_format(&text, "role %s stride %u dictionary %s\n", entry->role.role, (unsigned)entry->role.stride,
                   group ? digest_to_hex(&group->digest, hex) : "none");
    add_hints(entry, &text);
    str_add_format(&text, "%s\n", digest_to_hex(&entry->digest, hex));
    tsr_status st = text.failed ? tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", source->name) : TSR_OK;
    if (st == TSR_OK) {
        struct digest digest = digest_of(text.text, text.length);
        digest_to_hex(&digest, key);
    }
    str_clear(&text);
    return st;
}

/* ---- taking over ---- */

struct taking {
    const struct journal *journal;
    struct parts *parts;
};

static tsr_status take_over(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct taking *taking = ctx;
    (void)worker;
    struct part *part = &taking->parts->items[index];
    const struct journal_part *record = part->path ? journal_find(taking->journal, part->key) : NULL;
    if (!record || fs_kind_of(part->path) != FS_FILE) return TSR_OK;
    uint64_t bytes = 0;
    struct digest digest;
    tsr_status st = facts_of_path(part->path, &bytes, &digest, err);
    if (st != TSR_OK) return st;
    part->done = bytes == record->bytes && digest_equal(&digest, &record->payload);
    part->bytes = bytes;
    part->payload = digest;
    return TSR_OK;
}

static tsr_status name_parts(const struct plan *plan, const struct work *work, struct parts *parts, tsr_error *err) {
    parts->items = arena_alloc(&parts->arena, plan->count, sizeof *parts->items);
    if (!parts->items) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", work->folder);
    for (uint64_t i = 0; i < plan->count; i++) {
        if (plan->entries[i].alias_of >= 0) continue;
        struct part *part = &parts->items[i];
        tsr_status st = part_key(plan, &plan->entries[i], part->key, err);
        if (st != TSR_OK) return st;
        part->path = arena_format(&parts->arena, "%s/%s.part", work->parts, part->key);
        if (!part->path) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", work->folder);
    }
    return TSR_OK;
}

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Removes files that are no part of this plan, so that a changed config does not leave its old parts on the disk. */
static tsr_status prune(const struct plan *plan, const struct work *work, const struct parts *parts, tsr_error *err) {
    struct fs_list list = {0};
    const char **wanted = mem_alloc_array(plan->count, sizeof *wanted);
    uint64_t count = 0;
    tsr_status st =
        wanted ? fs_list(work->parts, false, &list, err) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", work->parts);
    for (uint64_t i = 0; st == TSR_OK && i < plan->count; i++) {
        if (parts->items[i].path) wanted[count++] = fs_base_name(parts->items[i].path);
    }
    if (count) qsort(wanted, (size_t)count, sizeof *wanted, compare_keys);
    for (uint64_t i = 0; st == TSR_OK && i < list.count; i++) {
        const char *name = list.names[i];
        if (count && bsearch(&name, wanted, (size_t)count, sizeof *wanted, compare_keys)) continue;
        char *path = fs_join(work->parts, name);
        st = path ? fs_remove_tree(path, err) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", work->parts);
        mem_free(path);
    }
    fs_list_clear(&list);
    mem_free(wanted);
    return st;
}

tsr_status parts_open(const struct plan *plan, const struct work *work, const struct journal *journal,
                      const struct env *env, struct parts *parts, tsr_error *err) {
    struct taking taking = {journal, parts};
    tsr_status st = name_parts(plan, work, parts, err);
    for (uint64_t g = 0; g < plan->group_count && st == TSR_OK; g++) {
        const struct plan_group *group = &plan->groups[g];
        if (group->dictionary) st = dictionaries_add_bytes(&parts->dictionaries, group->dictionary, group->bytes, err);
    }
    if (st == TSR_OK && journal->count) st = pool_for(env->pool, plan->count, take_over, &taking, err);
    if (st != TSR_OK) return st;
    for (uint64_t i = 0; i < plan->count; i++) parts->reused += parts->items[i].done;
    if (journal->count && parts->reused == 0 && plan->count) {
        return tsr_fail(err, TSR_E_CONFIG,
                        "%s: holds an unfinished run of another model or config, "
                        "--restart throws it away",
                        work->folder);
    }
    return prune(plan, work, parts, err);
}

void parts_close(struct parts *parts) {
    arena_clear(&parts->arena);
    dictionaries_clear(&parts->dictionaries);
    *parts = (struct parts){0};
}

/* ---- encoding ---- */

struct encoding {
    const struct checkpoint *checkpoint;
    const struct plan *plan;
    const struct work *work;
    const struct env *env;
    struct parts *parts;
    struct journal *journal;
    pthread_mutex_t journal_lock;
    struct host_services services;
    struct meter meter;
    uint64_t *put_off; /* [plan->count]: bytes of tensors that another process is encoding for the store */
};

/* One tensor on its way into its part file. */
struct encoding_one {
    struct encoding *encoding;
    const struct plan_entry *entry;
    struct plan_stage planned;
    uint64_t stage;
    uint64_t ends[PART_PAYLOADS_MAX]; /* of the payloads that are written */
    struct payload_head head;
    struct tile_grid grid;
    struct fs_output output;
    struct payload_writer writer;
    const bool *feedback_used; /* known when the payload begins; NULL without feedback */
    uint64_t tile;
};

static tsr_status read_source(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    struct encoding_one *one = ctx;
    return checkpoint_read(one->encoding->checkpoint, one->entry->source, offset, dst, size, err);
}

static tsr_status begin_payload(void *ctx, const struct tile_grid *grid, const void *header, uint64_t bytes,
                                tsr_error *err) {
    struct encoding_one *one = ctx;
    one->grid = *grid;
    one->head.tile_rows = grid->tile_rows;
    one->head.tile_columns = grid->tile_columns;
    one->head.tile_count = grid->count;
    one->head.codec_header = header;
    one->head.codec_header_bytes = bytes;
    if (!one->feedback_used || !*one->feedback_used) one->head.column_scale = NULL;
    return payload_begin(&one->writer, &one->output, &one->head, err);
}

static tsr_status add_tile(void *ctx, const void *bytes, uint64_t size, bool raw, tsr_error *err) {
    struct encoding_one *one = ctx;
    tsr_status st = meter_check_cancel(one->encoding->env, err);
    if (st == TSR_OK) st = payload_add_tile(&one->writer, bytes, size, raw, err);
    if (st != TSR_OK || one->stage) return st;
    const struct safetensors_entry *source = one->entry->source->entry;
    uint64_t weights = max_u64(one->grid.rows * one->grid.columns, 1);
    tsr_tile tile = tile_at(&one->grid, one->tile++, (uint32_t)(source->bytes * 8 / weights));
    meter_add(&one->encoding->meter, NULL, tile.bytes);
    return TSR_OK;
}

/* A correction is stored as a matrix: the tensor's own shape is the base's business. */
static void fill_head(struct encoding_one *one, const struct coder_job *job) {
    const struct plan_entry *entry = one->entry;
    const struct plan_group *group =
        one->stage || entry->group < 0 ? NULL : &one->encoding->plan->groups[entry->group];
    const tsr_tensor *tensor = job->tensor;
    one->tile = 0;
    one->head = (struct payload_head){.dtype = tensor->dtype,
                                      .dtype_name = entry->source->entry->dtype_name,
                                      .rank = tensor->rank,
                                      .rows = tensor->rows,
                                      .columns = tensor->columns,
                                      .bytes = tensor->bytes,
                                      .transposed = job->transposed,
                                      .codec_id = one->planned.codec->id,
                                      .bitstream_version = one->planned.codec->bitstream_version,
                                      .params = one->planned.params.canonical,
                                      .column_scale = job->column_scale,
                                      .has_dictionary = group != NULL};
    if (group) one->head.dictionary = group->digest;
    memcpy(one->head.shape, tensor->shape, tensor->rank * sizeof tensor->shape[0]);
}

/* Encodes one stage from `source` to the end of the output. */
static tsr_status encode_stage(struct encoding_one *one, const struct coder_job *job, const struct coder_source *source,
                               struct digest *digest, tsr_error *err) {
    struct coder_sink sink = {one, begin_payload, add_tile};
    fill_head(one, job);
    tsr_status st = coder_encode(job, source, &sink, digest, err);
    if (st == TSR_OK) st = payload_end(&one->writer, err);
    payload_abandon(&one->writer);
    one->writer = (struct payload_writer){0};
    one->ends[one->stage] = one->output.size;
    return st;
}

/* The stage behind the first `one->stage` ones, which are written. */
static tsr_status encode_leftover(struct encoding_one *one, const struct coder_job *base,
                                  const struct coder_source *source, tsr_error *err) {
    struct encoding *encoding = one->encoding;
    bool predicted = coder_takes_prediction(one->planned.codec);
    uint64_t shape[2] = {base->tensor->rows, base->tensor->columns};
    struct leftover leftover = {0};
    struct coder_job job = *base;
    tsr_tensor tensor = *base->tensor;
    tensor.shape = shape;
    tensor.rank = 2;
    if (!predicted) {
        tensor.dtype = TSR_DTYPE_F32;
        tensor.bytes = tensor.rows * tensor.columns * sizeof(float);
        job.dtype_bits = 32;
    }
    job.tensor = &tensor;
    job.transposed = false;
    job.codec = one->planned.codec;
    job.params = one->planned.params.values;
    job.dictionary = NULL;
    job.dictionary_bytes = 0;
    job.tile_weights = base->codec->tile_weights;
    job.stacked = true;
    job.base_dtype = base->tensor->dtype;
    job.prediction = &leftover.prediction;
    tsr_status st = leftover_open(one->output.path, one->ends, one->stage, base, source, encoding->parts->registry,
                                  &encoding->parts->dictionaries, &leftover, err);
    if (st == TSR_OK) {
        st = encode_stage(one, &job, predicted ? &leftover.source : &leftover.difference, NULL, err);
    }
    leftover_close(&leftover);
    return st;
}

/* The search index is made of the rows as they will be decoded, so that its bounds hold for them. */
static tsr_status encode_index(struct encoding_one *one, const struct coder_job *base, const struct coder_source *source,
                               tsr_error *err) {
    struct encoding *encoding = one->encoding;
    uint64_t shape[2] = {base->tensor->rows, base->tensor->columns};
    struct leftover decoded = {0};
    struct coder_job job = *base;
    tsr_tensor tensor = *base->tensor;
    tensor.shape = shape;
    tensor.rank = 2;
    job.tensor = &tensor;
    job.transposed = false;
    job.codec = one->planned.codec;
    job.params = one->planned.params.values;
    job.dictionary = NULL;
    job.dictionary_bytes = 0;
    tsr_status st = leftover_open(one->output.path, one->ends, one->stage, base, source, encoding->parts->registry,
                                  &encoding->parts->dictionaries, &decoded, err);
    if (st == TSR_OK) st = encode_stage(one, &job, &decoded.prediction, NULL, err);
    leftover_close(&decoded);
    return st == TSR_OK ? st : error_context(err, st, "its index");
}

static tsr_status write_ends(struct encoding_one *one, tsr_error *err) {
    uint8_t bytes[8 * PART_PAYLOADS_MAX];
    uint64_t count = part_payloads(one->entry);
    if (count == 1) return TSR_OK;
    for (uint64_t i = 0; i < count; i++) store_le(bytes + 8 * i, one->ends[i], 8);
    return fs_write(&one->output, bytes, 8 * count, err);
}

static tsr_status read_moment(void *ctx, float *moment, tsr_error *err) {
    const struct encoding_one *one = ctx;
    const struct plan_statistics *statistics = one->encoding->parts->statistics;
    return statistics->moment(statistics->ctx, one->entry->moment, one->entry->columns, moment, err);
}

static void tell_damping(const struct encoding_one *one, const struct coder_feedback *feedback) {
    const struct plan_entry *entry = one->entry;
    if (!feedback->used || feedback->damping <= entry->damping) return;
    env_log(one->encoding->env, TSR_LOG_WARNING, "%s: its second moments needed damping of %g of their mean, not %g",
            entry->source->name, feedback->damping, entry->damping);
}

/* The tensor goes through its codecs into one->output. */
static tsr_status encode_payloads(struct encoding_one *one, tsr_error *err) {
    const struct plan_entry *entry = one->entry;
    const struct safetensors_entry *source = entry->source->entry;
    const struct plan_group *group = entry->group < 0 ? NULL : &one->encoding->plan->groups[entry->group];
    uint64_t rows = entry->rows, columns = entry->columns;
    tsr_tensor tensor = {.struct_size = sizeof tensor,
                         .name = source->name,
                         .shape = source->shape,
                         .rank = source->rank,
                         .rows = rows,
                         .columns = columns,
                         .bytes = source->bytes,
                         .dtype = source->dtype,
                         .regime = entry->regime};
    struct coder_job job = {.env = one->encoding->env,
                            .host = &one->encoding->services.host,
                            .codec = entry->codec,
                            .params = entry->params.values,
                            .tensor = &tensor,
                            .dictionary = group ? group->dictionary : NULL,
                            .dictionary_bytes = group ? group->bytes : 0,
                            .stride = entry->role.stride,
                            .role = entry->role.role,
                            .transposed = entry->transposed,
                            .dtype_bits = tile_matrix_of(source->dtype, source->bytes, &rows, &columns)};
    const tsr_encode_hints hints = {sizeof hints, entry->row_weight, entry->column_weight};
    if (entry->row_weight || entry->column_weight) job.hints = &hints;
    struct coder_feedback feedback = {.ctx = one, .moment = read_moment, .damping = entry->damping};
    if (entry->moment) job.feedback = &feedback;
    one->feedback_used = entry->moment ? &feedback.used : NULL;
    job.column_scale = entry->column_scale;
    struct coder_source from = {one, read_source};
    struct digest digest;
    one->planned = plan_stage_at(entry, 0);
    tsr_status st = encode_stage(one, &job, &from, &digest, err);
    one->feedback_used = NULL;
    job.column_scale = NULL;
    job.feedback = NULL; /* corrections and indexes are of what decoding leaves */
    if (st == TSR_OK) tell_damping(one, &feedback);
    if (st == TSR_OK && !digest_equal(&digest, &entry->digest)) {
        st = tsr_fail(err, TSR_E_INPUT, "the file changed while it was read");
    }
    for (one->stage = 1; one->stage < part_payloads(entry) && st == TSR_OK; one->stage++) {
        one->planned = payload_stage(entry, one->stage);
        st = one->stage > entry->more_count ? encode_index(one, &job, &from, err)
                                            : encode_leftover(one, &job, &from, err);
    }
    return st == TSR_OK ? write_ends(one, err) : st;
}

static tsr_status record_part(struct encoding *encoding, const struct plan_entry *entry, struct part *part,
                              tsr_error *err) {
    struct journal_part record = {.source = entry->digest};
    memcpy(record.key, part->key, DIGEST_HEX);
    tsr_status st = facts_of_path(part->path, &record.bytes, &record.payload, err);
    if (st != TSR_OK) return st;
    pthread_mutex_lock(&encoding->journal_lock);
    st = journal_add_part(encoding->journal, &record, err);
    pthread_mutex_unlock(&encoding->journal_lock);
    part->bytes = record.bytes;
    part->payload = record.payload;
    part->done = st == TSR_OK;
    return st;
}

/* Through the codec into a part file of its own; an old one of that name may be shared with a store and is left alone. */
static tsr_status encode_part(struct encoding *encoding, const struct plan_entry *entry, struct part *part,
                              tsr_error *err) {
    struct encoding_one one = {.encoding = encoding, .entry = entry};
    tsr_status st = fs_remove(part->path, err);
    if (st == TSR_OK) st = fs_create(part->path, &one.output, err);
    if (st == TSR_OK) {
        st = encode_payloads(&one, err);
        if (st != TSR_OK && st != TSR_E_CANCELLED) st = error_context(err, st, "%s", entry->source->name);
    }
    if (st == TSR_OK) st = fs_sync(&one.output, err);
    if (st == TSR_OK) st = fs_finish(&one.output, err);
    payload_abandon(&one.writer);
    fs_abandon(&one.output);
    return st;
}

/* The part comes from the store, or from the codec and is then kept in the store. */
static tsr_status make_part(struct encoding *encoding, const struct plan_entry *entry, struct part *part,
                            struct store_claim *claim, tsr_error *err) {
    bool found = false;
    tsr_status st = store_fetch(claim, part->path, encoding->env, &found, err);
    if (st == TSR_OK && !found) st = encode_part(encoding, entry, part, err);
    if (st == TSR_OK) st = fs_sync_folder(encoding->work->parts, err);
    if (st == TSR_OK) st = record_part(encoding, entry, part, err);
    if (st == TSR_OK && !found) store_keep(claim, part->path, encoding->env);
    if (st != TSR_OK) return st;
    uint64_t bytes = entry->source->entry->bytes;
    __atomic_fetch_add(found ? &encoding->parts->stored_bytes : &encoding->parts->encoded_bytes, bytes,
                       __ATOMIC_RELAXED);
    meter_add(&encoding->meter, entry->source->name, found ? bytes : 0);
    return TSR_OK;
}

static tsr_status encode_one(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct encoding *encoding = ctx;
    (void)worker;
    struct part *part = &encoding->parts->items[index];
    const struct plan_entry *entry = &encoding->plan->entries[index];
    if (!part->path || part->done) return TSR_OK;
    struct store_claim claim = {0};
    tsr_status st = meter_check_cancel(encoding->env, err);
    if (st == TSR_OK) st = store_claim(encoding->parts->store, part->key, &claim, err);
    if (st == TSR_E_BUSY) {
        encoding->put_off[index] = max_u64(entry->source->entry->bytes, 1);
        return TSR_OK;
    }
    if (st == TSR_OK) st = make_part(encoding, entry, part, &claim, err);
    store_release(&claim);
    return st;
}

/* Second round: what others were encoding is waited for. */
static tsr_status wait_one(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct encoding *encoding = ctx;
    tsr_status st = TSR_OK;
    while (st == TSR_OK && encoding->put_off[index] && !encoding->parts->items[index].done) {
        st = encode_one(encoding, index, worker, err);
        if (st == TSR_OK && !encoding->parts->items[index].done) store_pause();
    }
    return st;
}

/* Where the payloads of a finished part end: the file says so. */
static tsr_status find_ends(const struct plan_entry *entry, struct part *part, tsr_error *err) {
    uint64_t count = part_payloads(entry), tail = count > 1 ? 8 * count : 0;
    uint8_t bytes[8 * PART_PAYLOADS_MAX];
    struct fs_file file = {0};
    part->ends[0] = part->bytes;
    if (!tail) return TSR_OK;
    tsr_status st = fs_open(part->path, &file, err);
    bool fits = st == TSR_OK && file.size == part->bytes && file.size >= tail;
    if (fits) st = fs_read_at(&file, file.size - tail, bytes, tail, err);
    for (uint64_t i = 0; i < count && fits && st == TSR_OK; i++) {
        part->ends[i] = load_le(bytes + 8 * i, 8);
        fits = part->ends[i] > (i ? part->ends[i - 1] : 0) && part->ends[i] <= file.size - tail;
    }
    if (st == TSR_OK && !fits) st = tsr_fail(err, TSR_E_CORRUPT, "%s: the ends of its payloads do not fit", part->path);
    fs_close(&file);
    return st;
}

static tsr_status find_all_ends(const struct plan *plan, struct parts *parts, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < plan->count && st == TSR_OK; i++) {
        if (parts->items[i].path && parts->items[i].done) st = find_ends(&plan->entries[i], &parts->items[i], err);
    }
    return st;
}

static tsr_status list_missing(struct encoding *encoding, uint64_t **missing, uint64_t *bytes, uint64_t *items,
                               tsr_error *err) {
    const struct plan *plan = encoding->plan;
    *missing = mem_alloc_zero(plan->count, sizeof **missing);
    encoding->put_off = mem_alloc_zero(plan->count, sizeof *encoding->put_off);
    if (!*missing || !encoding->put_off) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", encoding->work->folder);
    for (uint64_t i = 0; i < plan->count; i++) {
        const struct part *part = &encoding->parts->items[i];
        if (!part->path || part->done) continue;
        (*missing)[i] = plan->entries[i].source->entry->bytes;
        *bytes += (*missing)[i];
        *items += 1;
    }
    return TSR_OK;
}

/* Bytes of the largest factor for error feedback. */
static uint64_t largest_moment(const struct plan *plan) {
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < plan->count; i++) {
        const struct plan_entry *entry = &plan->entries[i];
        if (entry->moment) bytes = max_u64(bytes, entry->columns * entry->columns * sizeof(float));
    }
    return bytes;
}

tsr_status parts_encode(const struct checkpoint *checkpoint, const struct plan *plan, const struct work *work,
                        struct journal *journal, const struct env *env, struct parts *parts, tsr_error *err) {
    struct encoding encoding = {
        .checkpoint = checkpoint, .plan = plan, .work = work, .env = env, .parts = parts, .journal = journal};
    uint64_t *missing = NULL, bytes = 0, items = 0;
    tsr_status st = list_missing(&encoding, &missing, &bytes, &items, err);
    if (st != TSR_OK) {
        mem_free(encoding.put_off);
        mem_free(missing);
        return st;
    }
    host_services_init(&encoding.services, env);
    pthread_mutex_init(&encoding.journal_lock, NULL);
    meter_begin(&encoding.meter, env, "encode", bytes, items);
    const uint64_t lane = LANE_BYTES + largest_moment(plan);
    st = lanes_run_wide(env, missing, plan->count, lane, encode_one, &encoding, err);
    if (st == TSR_OK) st = lanes_run_wide(env, encoding.put_off, plan->count, lane, wait_one, &encoding, err);
    meter_end(&encoding.meter);
    pthread_mutex_destroy(&encoding.journal_lock);
    mem_free(encoding.put_off);
    mem_free(missing);
    if (st == TSR_OK) st = find_all_ends(plan, parts, err);
    for (uint64_t i = 0; st == TSR_OK && i < checkpoint->file_count; i++) {
        st = fs_unchanged(&checkpoint->files[i].st.file, err);
    }
    return st;
}
