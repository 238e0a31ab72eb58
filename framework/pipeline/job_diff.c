/* SPDX-License-Identifier: Apache-2.0
 *
 * diff: two checkpoints tensor by tensor, each raw or compressed. A row here is everything behind the first extent. */
#include "job.h"

#include <base/alloc.h>
#include <format/dtype.h>
#include <math.h>
#include <measure/compare.h>
#include <reading/lanes.h>
#include <reading/members.h>
#include <reading/meter.h>
#include <reading/reader.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT64_MAX

enum diff_status { DIFF_IDENTICAL, DIFF_DIFFERS, DIFF_ONLY_A, DIFF_ONLY_B, DIFF_INCOMPARABLE };

struct diff_pair {
    const char *name;
    uint64_t a, b; /* indices, or NONE */
    enum diff_status status;
    bool measured; /* metric holds something */
    struct metric metric;
};

struct diffing {
    struct reader a, b;
    const struct env *env;
    struct diff_pair *pairs;
    uint64_t count;
    struct meter meter;
    tsr_error *err;
};

static int compare_pairs(const void *x, const void *y) {
    const struct diff_pair *a = x, *b = y;
    return strcmp(a->name, b->name);
}

/* ---- pairs ---- */

static void take_names(struct diffing *d, const struct reader *reader, bool is_a) {
    for (uint64_t i = 0; i < reader_count(reader); i++) {
        struct diff_pair *pair = &d->pairs[d->count++];
        *pair = (struct diff_pair){.name = reader_tensor(reader, i).name, .a = is_a ? i : NONE, .b = is_a ? NONE : i};
    }
}

/* All names of both, sorted; a name on both sides becomes one pair. */
static tsr_status make_pairs(struct diffing *d) {
    uint64_t most = reader_count(&d->a) + reader_count(&d->b), kept = 0;
    d->pairs = mem_alloc_zero(most, sizeof *d->pairs);
    if (!d->pairs) return tsr_fail(d->err, TSR_E_NOMEM, "out of memory for a list of tensors");
    take_names(d, &d->a, true);
    take_names(d, &d->b, false);
    qsort(d->pairs, (size_t)d->count, sizeof *d->pairs, compare_pairs);
    for (uint64_t i = 0; i < d->count; i++) {
        struct diff_pair *before = kept ? &d->pairs[kept - 1] : NULL;
        if (before && !strcmp(before->name, d->pairs[i].name)) {
            if (d->pairs[i].a != NONE) before->a = d->pairs[i].a;
            if (d->pairs[i].b != NONE) before->b = d->pairs[i].b;
        } else {
            d->pairs[kept++] = d->pairs[i];
        }
    }
    d->count = kept;
    for (uint64_t i = 0; i < kept; i++) {
        if (d->pairs[i].b == NONE) d->pairs[i].status = DIFF_ONLY_A;
        if (d->pairs[i].a == NONE) d->pairs[i].status = DIFF_ONLY_B;
    }
    return TSR_OK;
}

/* ---- one pair ---- */

/* Both tensors, a row at a time. */
struct diff_rows {
    struct reader_stream a, b;
    int32_t dtype_a, dtype_b;
    uint64_t rows, columns;
    uint64_t bytes_a, bytes_b; /* of a row */
    uint8_t *row_a, *row_b;
    float *values;
};

static bool shapes_equal(const struct reader_tensor *a, const struct reader_tensor *b) {
    return a->rank == b->rank && !memcmp(a->shape, b->shape, a->rank * sizeof a->shape[0]);
}

static uint64_t element_count(const struct reader_tensor *tensor) {
    uint64_t count = 1;
    for (uint64_t i = 0; i < tensor->rank; i++) count *= tensor->shape[i];
    return count;
}

static tsr_status diff_rows(struct diffing *d, struct diff_pair *pair, struct diff_rows *rows, uint64_t worker,
                            tsr_error *err) {
    bool floats = dtype_is_float(rows->dtype_a) && dtype_is_float(rows->dtype_b), same = true;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < rows->rows && st == TSR_OK; i++) {
        st = meter_check_cancel(d->env, err);
        if (st == TSR_OK) st = reader_read(&rows->a, worker, rows->row_a, rows->bytes_a, err);
        if (st == TSR_OK) st = reader_read(&rows->b, worker, rows->row_b, rows->bytes_b, err);
        if (st != TSR_OK) break;
        same = same && rows->dtype_a == rows->dtype_b && !memcmp(rows->row_a, rows->row_b, rows->bytes_a);
        if (floats) {
            dtype_to_f32(rows->dtype_a, rows->row_a, rows->columns, rows->values);
            dtype_to_f32(rows->dtype_b, rows->row_b, rows->columns, rows->values + rows->columns);
            metric_add_row(&pair->metric, i, rows->values, rows->values + rows->columns, rows->columns);
        }
        meter_add(&d->meter, NULL, rows->bytes_a);
    }
    pair->status = same ? DIFF_IDENTICAL : DIFF_DIFFERS;
    pair->measured = floats;
    return st;
}

static tsr_status diff_streams(struct diffing *d, struct diff_pair *pair, const struct reader_tensor *a,
                               const struct reader_tensor *b, uint64_t worker, tsr_error *err) {
    struct diff_rows rows = {.dtype_a = dtype_from_name(a->dtype_name), .dtype_b = dtype_from_name(b->dtype_name)};
    uint64_t count = element_count(a);
    rows.rows = a->bytes == 0 ? 0 : a->rank ? a->shape[0] : 1;
    rows.columns = rows.rows ? count / rows.rows : 0;
    rows.bytes_a = rows.rows ? a->bytes / rows.rows : 0;
    rows.bytes_b = rows.rows ? b->bytes / rows.rows : 0;
    rows.row_a = mem_alloc(rows.bytes_a);
    rows.row_b = mem_alloc(rows.bytes_b);
    rows.values = mem_alloc_array(2 * rows.columns, sizeof *rows.values);
    bool memory = rows.row_a && rows.row_b && rows.values;
    tsr_status st = memory ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", pair->name);
    if (st == TSR_OK) st = reader_begin(&d->a, pair->a, &rows.a, err);
    if (st == TSR_OK) st = reader_begin(&d->b, pair->b, &rows.b, err);
    if (st == TSR_OK) st = diff_rows(d, pair, &rows, worker, err);
    reader_end(&rows.a);
    reader_end(&rows.b);
    mem_free(rows.row_a);
    mem_free(rows.row_b);
    mem_free(rows.values);
    return st;
}

/* Other sizes for one shape can only be compared as numbers. */
static tsr_status diff_one(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct diffing *d = ctx;
    struct diff_pair *pair = &d->pairs[index];
    if (pair->a == NONE || pair->b == NONE) return TSR_OK;
    struct reader_tensor a = reader_tensor(&d->a, pair->a), b = reader_tensor(&d->b, pair->b);
    bool floats = dtype_is_float(dtype_from_name(a.dtype_name)) && dtype_is_float(dtype_from_name(b.dtype_name));
    if (!shapes_equal(&a, &b) || (strcmp(a.dtype_name, b.dtype_name) && !floats) || (a.bytes != b.bytes && !floats)) {
        pair->status = DIFF_INCOMPARABLE;
        return TSR_OK;
    }
    tsr_status st = diff_streams(d, pair, &a, &b, worker, err);
    if (st == TSR_OK) meter_add(&d->meter, pair->name, 0);
    return st;
}

/* ---- result ---- */

static void add_pair(struct members *list, const struct diff_pair *pair) {
    static const char *const names[] = {"identical", "differs", "only_a", "only_b", "incomparable"};
    struct members tensor = members_object();
    bool same = pair->status == DIFF_IDENTICAL, measured = pair->measured && !same;
    members_text(&tensor, "name", pair->name);
    members_text(&tensor, "status", names[pair->status]);
    double unknown = (double)INFINITY; /* becomes null */
    members_real(&tensor, "relative_error", same ? 0 : measured ? metric_relative_error(&pair->metric) : unknown);
    members_real(&tensor, "cosine", same ? 1 : measured ? metric_cosine(&pair->metric) : unknown);
    members_real(&tensor, "sqnr_db", measured ? metric_sqnr_db(&pair->metric) : unknown);
    members_real(&tensor, "max_abs_error", same ? 0 : measured ? pair->metric.max_abs_error : unknown);
    members_real(&tensor, "worst_row_error", same ? 0 : measured ? pair->metric.worst_row_error : unknown);
    members_append(list, &tensor);
}

static tsr_status make_result(struct diffing *d, const char *a, const char *b, json_t **result) {
    struct members whole = members_object(), list = members_list(), totals = members_object();
    struct metric sum = {0};
    uint64_t identical = 0, differing = 0, missing = 0;
    for (uint64_t i = 0; i < d->count; i++) {
        const struct diff_pair *pair = &d->pairs[i];
        add_pair(&list, pair);
        identical += pair->status == DIFF_IDENTICAL;
        differing += pair->status == DIFF_DIFFERS || pair->status == DIFF_INCOMPARABLE;
        missing += pair->status == DIFF_ONLY_A || pair->status == DIFF_ONLY_B;
        if (pair->measured && pair->status == DIFF_DIFFERS) compare_join(&sum, &pair->metric);
    }
    members_text(&whole, "a", a);
    members_text(&whole, "b", b);
    members_nest(&whole, "tensors", &list);
    members_count(&totals, "tensors", d->count);
    members_count(&totals, "identical", identical);
    members_count(&totals, "differing", differing);
    members_count(&totals, "missing", missing);
    members_real(&totals, "relative_error", metric_relative_error(&sum));
    members_real(&totals, "cosine", metric_cosine(&sum));
    members_nest(&whole, "totals", &totals);
    return members_finish(&whole, result, d->err);
}

static tsr_status run(struct diffing *d) {
    uint64_t total = 0, *bytes = mem_alloc_zero(d->count, sizeof *bytes);
    if (!bytes) return tsr_fail(d->err, TSR_E_NOMEM, "out of memory for a list of tensors");
    for (uint64_t i = 0; i < d->count; i++) {
        if (d->pairs[i].a != NONE) total += bytes[i] = reader_tensor(&d->a, d->pairs[i].a).bytes;
    }
    meter_begin(&d->meter, d->env, "diff", total, d->count);
    tsr_status st = lanes_run(d->env, bytes, d->count, diff_one, d, d->err);
    meter_end(&d->meter);
    mem_free(bytes);
    return st;
}

tsr_status job_diff(const char *a, const char *b, const struct registry *registry, const struct env *env,
                    json_t **result, tsr_error *err) {
    struct diffing d = {.env = env, .err = err};
    tsr_status st = reader_open(a, registry, env, &d.a, err);
    if (st == TSR_OK) st = reader_open(b, registry, env, &d.b, err);
    if (st == TSR_OK) st = make_pairs(&d);
    if (st == TSR_OK) st = run(&d);
    if (st == TSR_OK) st = make_result(&d, a, b, result);
    mem_free(d.pairs);
    reader_close(&d.a);
    reader_close(&d.b);
    return st;
}
