/* SPDX-License-Identifier: Apache-2.0
 *
 * Tiles are measured on any worker, each into a metric of its own, and joined in their order, so that the sums are the
 * same for any number of workers. */
#include "compare.h"

#include <base/alloc.h>
#include <base/error.h>
#include <format/dtype.h>
#include <math.h>
#include <reading/decoder.h>
#include <reading/lanes.h>
#include <reading/meter.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define COMPARE_BYTES (UINT64_C(1) << 18)

struct comparing {
    const struct checkpoint *checkpoint;
    const struct plan *plan;
    const struct stored *stored;
    const struct registry *registry;
    const struct env *env;
    struct outcome *outcomes;
    struct meter meter;
};

/* One tensor. */
struct comparing_one {
    struct comparing *all;
    const struct plan_entry *entry;
    struct metric *pieces; /* [tiles], NULL for exact codecs */
    struct row_sums *rows; /* [tiles, or rows where tiles are whole rows], NULL with pieces */
    bool cut;              /* rows are cut into pieces: one tile each */
    atomic_bool differs;
    atomic_ullong first_different_row;
};

static tsr_status read_source(void *ctx, uint64_t offset, void *bytes, uint64_t size, tsr_error *err) {
    struct comparing_one *one = ctx;
    return checkpoint_read(one->all->checkpoint, one->entry->source, offset, bytes, size, err);
}

/* ---- metrics ---- */

/* What the cosine of a row, or of a piece of one, is made of. */
struct row_sums {
    double dot, source, decoded;
};

static void add_cosine(struct row_sums *sums, const float *source, const float *decoded, uint64_t columns) {
    for (uint64_t c = 0; c < columns; c++) {
        double w = source[c], v = decoded[c];
        if (!isfinite(w) || !isfinite(v)) continue;
        sums->dot += w * v;
        sums->source += w * w;
        sums->decoded += v * v;
    }
}

/* 1 for a row of zeros that stays one, 0 where only one side is zero. */
static double cosine_of(const struct row_sums *sums) {
    double lengths = sqrt(sums->source) * sqrt(sums->decoded);
    if (lengths > 0) return fmin(1, sums->dot / lengths);
    return sums->source > 0 || sums->decoded > 0 ? 0 : 1;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Mean, 5th percentile and least of all rows' cosines. Uses the sums' memory for them. */
static void summarise_rows(const struct decoder *decoder, struct row_sums *sums, struct row_cosines *rows) {
    uint64_t count = decoder->grid.rows, pieces = ceil_div(decoder->grid.columns, max_u64(decoder->grid.tile_columns, 1));
    double *cosines = &sums[0].dot, total = 0;
    for (uint64_t r = 0; r < count; r++) {
        struct row_sums row = sums[r * pieces];
        for (uint64_t i = 1; i < pieces; i++) {
            row.dot += sums[r * pieces + i].dot;
            row.source += sums[r * pieces + i].source;
            row.decoded += sums[r * pieces + i].decoded;
        }
        total += cosines[r] = cosine_of(&row);
    }
    if (!count) return;
    qsort(cosines, (size_t)count, sizeof *cosines, compare_doubles);
    *rows = (struct row_cosines){total / (double)count, cosines[(count - 1) / 20], cosines[0]};
}

static double row_error(double error_energy, double source_energy) {
    if (error_energy == 0) return 0;
    return source_energy > 0 ? sqrt(error_energy / source_energy) : INFINITY;
}

void compare_join(struct metric *sum, const struct metric *piece) {
    if (sum->rows == 0 || piece->worst_row_error > sum->worst_row_error) {
        sum->worst_row_error = piece->worst_row_error;
        sum->worst_row = piece->worst_row;
    }
    sum->source_energy += piece->source_energy;
    sum->decoded_energy += piece->decoded_energy;
    sum->dot += piece->dot;
    sum->error_energy += piece->error_energy;
    if (piece->max_abs_error > sum->max_abs_error) sum->max_abs_error = piece->max_abs_error;
    sum->rows += piece->rows;
    sum->weights += piece->weights;
    sum->not_finite += piece->not_finite;
}

/* Joins the pieces of one long row first, so that its relative error is the row's. */
static void join_all(const struct decoder *decoder, const struct metric *pieces, struct metric *sum) {
    uint64_t width = ceil_div(decoder->grid.columns, decoder->grid.tile_columns);
    for (uint64_t i = 0; i < decoder->grid.count; i += width) {
        struct metric row = pieces[i];
        for (uint64_t j = 1; j < width; j++) compare_join(&row, &pieces[i + j]);
        if (width > 1) {
            row.rows = 1;
            row.worst_row_error = row_error(row.error_energy, row.source_energy);
        }
        compare_join(sum, &row);
    }
}

static tsr_status measure(struct comparing_one *one, const tsr_tile *tile, const void *source, const void *decoded,
                          tsr_error *err) {
    int32_t dtype = one->entry->source->entry->dtype;
    uint64_t size = dtype_bits(dtype) / 8 * tile->columns;
    float *rows = mem_alloc_array(2 * tile->columns, sizeof *rows);
    if (!rows) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", one->entry->source->name);
    for (uint64_t i = 0; i < tile->rows; i++) {
        dtype_to_f32(dtype, (const uint8_t *)source + i * size, tile->columns, rows);
        dtype_to_f32(dtype, (const uint8_t *)decoded + i * size, tile->columns, rows + tile->columns);
        metric_add_row(&one->pieces[tile->index], tile->first_row + i, rows, rows + tile->columns, tile->columns);
        add_cosine(&one->rows[one->cut ? tile->index : tile->first_row + i], rows, rows + tile->columns, tile->columns);
    }
    mem_free(rows);
    return TSR_OK;
}

/* ---- one tensor ---- */

static void note_difference(struct comparing_one *one, uint64_t row) {
    unsigned long long before = atomic_load(&one->first_different_row);
    while (row < before && !atomic_compare_exchange_weak(&one->first_different_row, &before, row)) {
    }
    atomic_store(&one->differs, true);
}

static tsr_status compare_tile(void *ctx, const struct decoder *decoder, const tsr_tile *tile, void *bytes,
                               void *scratch, tsr_error *err) {
    struct comparing_one *one = ctx;
    uint8_t *source = mem_alloc_aligned(tile->bytes);
    if (!source) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", one->entry->source->name);
    tsr_status st = order_gather(&decoder->order, tile, read_source, one, source, scratch, err);
    if (st == TSR_OK && memcmp(source, bytes, tile->bytes) != 0) note_difference(one, tile->first_row);
    if (st == TSR_OK && one->pieces) st = measure(one, tile, source, bytes, err);
    if (st == TSR_OK) meter_add(&one->all->meter, NULL, tile->bytes);
    mem_free(source);
    return st;
}

static tsr_status check_outcome(struct comparing_one *one, const struct outcome *outcome, tsr_error *err) {
    const struct plan_entry *entry = one->entry;
    const char *name = entry->source->name;
    const struct metric *metric = &outcome->metric;
    if (!outcome->identical && plan_entry_is_exact(entry)) {
        return tsr_fail(err, TSR_E_GATE,
                        "%s: row %llu: codec %s is exact, but the decoded bytes differ from the source", name,
                        (unsigned long long)atomic_load(&one->first_different_row),
                        plan_stage_at(entry, entry->more_count).codec->name);
    }
    if (metric->not_finite) {
        return tsr_fail(err, TSR_E_GATE, "%s: %llu elements that were or became NaN or Inf differ from the source",
                        name, (unsigned long long)metric->not_finite);
    }
    if (entry->row_error_max > 0 && metric->worst_row_error > entry->row_error_max) {
        return tsr_fail(err, TSR_E_GATE, "%s: row %llu has a relative error of %.6g, row_error_max is %.6g", name,
                        (unsigned long long)metric->worst_row, metric->worst_row_error, entry->row_error_max);
    }
    return TSR_OK;
}

/* The stored head must say what the plan wanted, else the right bytes were decoded in a wrong way. */
static tsr_status check_head(const struct plan_entry *entry, const struct decoder *decoder, tsr_error *err) {
    const struct payload_head *head = &decoder->payload.head;
    const struct safetensors_entry *source = entry->source->entry;
    bool same = head->dtype == source->dtype && head->bytes == source->bytes && head->rank == source->rank &&
                !memcmp(head->shape, source->shape, source->rank * sizeof source->shape[0]) &&
                !strcmp(head->codec_id, entry->codec->id) && !strcmp(head->params, entry->params.canonical) &&
                decoder->correction_count == entry->more_count;
    for (uint64_t i = 0; i < entry->more_count && same; i++) {
        const struct payload_head *more = &decoder->corrections[i].payload.head;
        same = !strcmp(more->codec_id, entry->more[i].codec->id) && !strcmp(more->params, entry->more[i].params.canonical);
    }
    return same ? TSR_OK : tsr_fail(err, TSR_E_GATE, "%s: the stored head is not the planned one", entry->source->name);
}

static tsr_status ignore_tile(void *ctx, const struct decoder *decoder, const tsr_tile *tile, void *bytes, void *scratch,
                              tsr_error *err) {
    (void)ctx;
    (void)decoder;
    (void)tile;
    (void)bytes;
    (void)scratch;
    (void)err;
    return TSR_OK;
}

/* The planned index is there and every entry of it means something. */
static tsr_status check_index(const struct comparing *all, const struct plan_entry *entry,
                              const struct stored_tensor *tensor, tsr_error *err) {
    if (!entry->index && !tensor->index_codec) return TSR_OK;
    if (!entry->index || !tensor->index_codec || strcmp(tensor->index_codec, entry->index->codec->id) != 0) {
        return tsr_fail(err, TSR_E_GATE, "%s: the stored index is not the planned one", entry->source->name);
    }
    const struct decoder_input input = {&tensor->index_place, 1, &all->stored->dictionaries, 0};
    struct decoder decoder = {0};
    tsr_status st = decoder_open(&input, all->registry, all->env, &decoder, err);
    const struct payload_head *head = &decoder.payload.head;
    if (st == TSR_OK && (strcmp(head->codec_id, tensor->index_codec) != 0 ||
                         strcmp(head->params, entry->index->params.canonical) != 0 || head->rows != entry->rows ||
                         head->columns != entry->columns)) {
        st = tsr_fail(err, TSR_E_GATE, "%s: the head of the stored index is not the planned one", entry->source->name);
    }
    if (st == TSR_OK) st = decoder_each(&decoder, ignore_tile, NULL, err);
    decoder_close(&decoder);
    return st;
}

static tsr_status compare_decoder(struct comparing_one *one, const struct decoder *decoder, struct outcome *outcome,
                                  tsr_error *err) {
    bool measured = !plan_entry_is_exact(one->entry) && dtype_is_float(one->entry->source->entry->dtype);
    tsr_status st = check_head(one->entry, decoder, err);
    if (st != TSR_OK) return st;
    if (measured) {
        one->cut = decoder->grid.tile_columns < decoder->grid.columns;
        one->pieces = mem_alloc_zero(decoder->grid.count, sizeof *one->pieces);
        one->rows = mem_alloc_zero(one->cut ? decoder->grid.count : decoder->grid.rows, sizeof *one->rows);
        if (!one->pieces || !one->rows) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", one->entry->source->name);
    }
    st = decoder_each(decoder, compare_tile, one, err);
    if (st == TSR_OK) {
        outcome->identical = !atomic_load(&one->differs);
        if (measured) {
            join_all(decoder, one->pieces, &outcome->metric);
            summarise_rows(decoder, one->rows, &outcome->rows);
        }
        st = check_outcome(one, outcome, err);
    }
    return st;
}

/* An alias is believed by its digest when planning; here its bytes are compared. */
static tsr_status compare_alias(const struct comparing *all, const struct plan_entry *alias, tsr_error *err) {
    const struct plan_entry *target = &all->plan->entries[alias->alias_of];
    uint8_t *buffer = mem_alloc(2 * COMPARE_BYTES);
    tsr_status st = buffer ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", alias->source->name);
    uint64_t bytes = alias->source->entry->bytes;
    if (st == TSR_OK && bytes != target->source->entry->bytes) {
        st = tsr_fail(err, TSR_E_GATE, "%s: is not as long as %s", alias->source->name, target->source->name);
    }
    for (uint64_t at = 0; st == TSR_OK && at < bytes; at += COMPARE_BYTES) {
        uint64_t size = min_u64(COMPARE_BYTES, bytes - at);
        st = checkpoint_read(all->checkpoint, alias->source, at, buffer, size, err);
        if (st == TSR_OK) st = checkpoint_read(all->checkpoint, target->source, at, buffer + COMPARE_BYTES, size, err);
        if (st == TSR_OK && memcmp(buffer, buffer + COMPARE_BYTES, size) != 0) {
            st = tsr_fail(err, TSR_E_GATE, "%s: differs from %s", alias->source->name, target->source->name);
        }
    }
    mem_free(buffer);
    return st;
}

static tsr_status compare_one(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct comparing *all = ctx;
    (void)worker;
    const struct plan_entry *entry = &all->plan->entries[index];
    const struct stored_tensor *tensor = &all->stored->tensors[index];
    tsr_status st = meter_check_cancel(all->env, err);
    if (st != TSR_OK || entry->alias_of >= 0) return st == TSR_OK ? compare_alias(all, entry, err) : st;
    struct comparing_one one = {.all = all, .entry = entry};
    struct decoder_input input = stored_input(all->stored, tensor);
    struct decoder decoder = {0};
    atomic_init(&one.differs, false);
    atomic_init(&one.first_different_row, UINT64_MAX);
    st = decoder_open(&input, all->registry, all->env, &decoder, err);
    if (st == TSR_OK) st = compare_decoder(&one, &decoder, &all->outcomes[index], err);
    if (st == TSR_OK) st = check_index(all, entry, tensor, err);
    decoder_close(&decoder);
    mem_free(one.pieces);
    mem_free(one.rows);
    all->outcomes[index].payload_bytes = stored_payload_bytes(tensor);
    all->outcomes[index].index_bytes = tensor->index_codec ? tensor->index_place.entry->bytes : 0;
    if (st == TSR_OK) meter_add(&all->meter, entry->source->name, 0);
    return st;
}

/* ---- all of them ---- */

/* The staged manifest lists exactly the plan's tensors. */
static tsr_status check_list(const struct plan *plan, const struct stored *stored, tsr_error *err) {
    if (plan->count != stored->tensor_count) {
        return tsr_fail(err, TSR_E_GATE, "%llu tensors were stored, %llu planned",
                        (unsigned long long)stored->tensor_count, (unsigned long long)plan->count);
    }
    for (uint64_t i = 0; i < plan->count; i++) {
        const struct plan_entry *entry = &plan->entries[i];
        const struct stored_tensor *tensor = &stored->tensors[i];
        if (!strcmp(tensor->name, entry->source->name) && tensor->alias_of == entry->alias_of &&
            digest_equal(&tensor->digest, &entry->digest)) {
            continue;
        }
        return tsr_fail(err, TSR_E_GATE, "%s: the stored tensor is not the planned one", entry->source->name);
    }
    return TSR_OK;
}

tsr_status compare_staged(const struct checkpoint *checkpoint, const struct plan *plan, const struct stored *stored,
                          const struct registry *registry, const struct env *env, struct outcome *outcomes,
                          tsr_error *err) {
    struct comparing all = {.checkpoint = checkpoint,
                            .plan = plan,
                            .stored = stored,
                            .registry = registry,
                            .env = env,
                            .outcomes = outcomes};
    tsr_status st = check_list(plan, stored, err);
    uint64_t *bytes = st == TSR_OK ? mem_alloc_array(plan->count, sizeof *bytes) : NULL;
    if (st == TSR_OK && !bytes) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for a list of tensors");
    if (st != TSR_OK) return st;
    uint64_t total = 0, items = 0;
    for (uint64_t i = 0; i < plan->count; i++) {
        bytes[i] = plan->entries[i].source->entry->bytes;
        if (plan->entries[i].alias_of >= 0) continue;
        total += bytes[i];
        items++;
    }
    meter_begin(&all.meter, env, "verify", total, items);
    st = lanes_run(env, bytes, plan->count, compare_one, &all, err);
    meter_end(&all.meter);
    mem_free(bytes);
    for (uint64_t i = 0; st == TSR_OK && i < plan->count; i++) {
        if (plan->entries[i].alias_of >= 0) outcomes[i] = outcomes[plan->entries[i].alias_of];
        if (plan->entries[i].alias_of >= 0) outcomes[i].payload_bytes = 0;
    }
    return st;
}
