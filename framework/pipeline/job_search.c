/* SPDX-License-Identifier: Apache-2.0
 *
 * Each query is answered twice, by the index and densely, one after the other on one thread, so times and hits can be
 * compared within one run. A search is exact unless a threshold or other rows than the indexed ones were asked for. */
#include "job_search.h"

#include <base/alloc.h>
#include <inttypes.h>
#include <math.h>
#include <reading/members.h>
#include <reading/meter.h>
#include <search/search_duplicates.h>
#include <search/search_index.h>
#include <search/search_query.h>
#include <string.h>
#include <time.h>

struct searching {
    const struct job_search_options *options;
    const struct registry *registry;
    const struct env *env;
    struct stored stored;
    const struct stored_tensor *tensor;
    struct search_rows rows, reference;
    const struct search_rows *scored; /* one of the two */
    struct search_index index;
    struct search_queries queries;
    struct search_pairs pairs;
    struct members hits; /* one list a query */
    float *row;
    double *scores, *hit_scores, *dense_scores; /* [rows], [top], [top] */
    uint64_t *hit_rows, *dense_rows;            /* [top] */
    tsr_search_stats sums;
    uint64_t wanted, recalled, different; /* hits of the dense search, those that were found, queries that differ */
    double index_seconds, dense_seconds, duplicate_seconds;
    tsr_error *err;
};

static double now(void) {
    struct timespec time;
    return clock_gettime(CLOCK_MONOTONIC, &time) ? 0 : (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static tsr_status no_memory(const struct searching *s) {
    return tsr_fail(s->err, TSR_E_NOMEM, "%s: out of memory", s->options->output);
}

static bool must_be_exact(const struct searching *s) {
    return s->options->threshold == 0 && (!s->options->reference || s->tensor->exact);
}

/* ---- open ---- */

static tsr_status find_tensor(struct searching *s) {
    for (uint64_t i = 0; i < s->stored.tensor_count; i++) {
        if (!strcmp(s->stored.tensors[i].name, s->options->tensor)) s->tensor = &s->stored.tensors[i];
    }
    if (s->tensor) return TSR_OK;
    return tsr_fail(s->err, TSR_E_INPUT, "%s: has no tensor \"%s\"", s->options->output, s->options->tensor);
}

static tsr_status allocate(struct searching *s) {
    uint64_t top = s->options->top;
    s->row = mem_alloc_array(s->rows.columns + 1, sizeof *s->row);
    s->scores = mem_alloc_array(s->rows.rows + 1, sizeof *s->scores);
    s->hit_scores = mem_alloc_array(top, sizeof *s->hit_scores);
    s->dense_scores = mem_alloc_array(top, sizeof *s->dense_scores);
    s->hit_rows = mem_alloc_array(top, sizeof *s->hit_rows);
    s->dense_rows = mem_alloc_array(top, sizeof *s->dense_rows);
    bool whole = s->row && s->scores && s->hit_scores && s->dense_scores && s->hit_rows && s->dense_rows;
    return whole ? TSR_OK : no_memory(s);
}

static tsr_status open_rows(struct searching *s) {
    const struct job_search_options *options = s->options;
    tsr_status st = stored_open(options->output, &s->stored, s->err);
    if (st == TSR_OK) st = find_tensor(s);
    if (st != TSR_OK) return st;
    const struct decoder_input input = stored_input(&s->stored, s->tensor);
    st = search_rows_decode(&input, s->registry, s->env, &s->rows, s->err);
    if (st == TSR_OK && options->reference) {
        st = search_rows_load(options->reference, options->tensor, &s->rows, s->registry, s->env, &s->reference, s->err);
    }
    s->scored = options->reference ? &s->reference : &s->rows;
    return st;
}

/* ---- the dense search ---- */

/* The top scores in order, equal ones by the lower row, NaN never. */
static uint64_t select_top(const struct searching *s) {
    uint64_t found = 0, top = s->options->top;
    for (uint64_t r = 0; r < s->scored->rows; r++) {
        double score = s->scores[r];
        if (isnan(score) || (found == top && !(score > s->dense_scores[top - 1]))) continue;
        uint64_t at = found < top ? found++ : top - 1;
        for (; at && score > s->dense_scores[at - 1]; at--) {
            s->dense_scores[at] = s->dense_scores[at - 1];
            s->dense_rows[at] = s->dense_rows[at - 1];
        }
        s->dense_scores[at] = score;
        s->dense_rows[at] = r;
    }
    return found;
}

static uint64_t search_dense(struct searching *s, const float *x, int32_t kind) {
    double start = now();
    search_rows_score(s->scored, NULL, s->scored->rows, x, kind, s->row, s->scores);
    uint64_t found = select_top(s);
    s->dense_seconds += now() - start;
    return found;
}

/* ---- one query ---- */

static void add_hits(struct searching *s, uint64_t found) {
    struct members list = members_list();
    for (uint64_t i = 0; i < found; i++) {
        struct members hit = members_object();
        members_count(&hit, "row", s->hit_rows[i]);
        members_real(&hit, "score", s->options->rows_only ? NAN : s->hit_scores[i]);
        members_append(&list, &hit);
    }
    members_append(&s->hits, &list);
}

static void compare(struct searching *s, uint64_t found, uint64_t expected) {
    bool same = found == expected && !memcmp(s->hit_rows, s->dense_rows, found * sizeof *s->hit_rows);
    if (same && !s->options->rows_only) {
        same = !memcmp(s->hit_scores, s->dense_scores, found * sizeof *s->hit_scores);
    }
    s->different += !same;
    s->wanted += expected;
    for (uint64_t i = 0; i < expected; i++) {
        uint64_t j = 0;
        while (j < found && s->hit_rows[j] != s->dense_rows[i]) j++;
        s->recalled += j < found;
    }
}

static tsr_status search_one(struct searching *s, const float *x) {
    const struct job_search_options *options = s->options;
    const tsr_search_request request = {.struct_size = sizeof request,
                                        .x = x,
                                        .top = options->top,
                                        .threshold = options->threshold,
                                        .kind = options->nearest ? TSR_SEARCH_NEAREST : TSR_SEARCH_INNER};
    tsr_search_stats stats;
    uint64_t found = 0;
    double start = now();
    tsr_status st = search_index_run(&s->index, &request, s->hit_rows, options->rows_only ? NULL : s->hit_scores, &found,
                                     &stats, s->err);
    s->index_seconds += now() - start;
    if (st != TSR_OK) return st;
    s->sums.skipped += stats.skipped;
    s->sums.attended += stats.attended;
    s->sums.composed += stats.composed;
    s->sums.escalated += stats.escalated;
    compare(s, found, search_dense(s, x, request.kind));
    add_hits(s, found);
    return meter_check_cancel(s->env, s->err);
}

static tsr_status search_all(struct searching *s) {
    tsr_status st = search_queries_read(s->options->query, s->rows.columns, &s->queries, s->err);
    if (st == TSR_OK) {
        st = search_index_open(&s->stored, s->tensor, s->scored, s->registry, s->env, &s->index, s->err);
    }
    if (st == TSR_OK) st = allocate(s);
    for (uint64_t i = 0; i < s->queries.count && st == TSR_OK; i++) {
        st = search_one(s, s->queries.x + i * s->queries.columns);
    }
    return st;
}

static tsr_status find_duplicates(struct searching *s) {
    double start = now();
    s->pairs.limit = SEARCH_PAIRS_MAX;
    tsr_status st = search_duplicates(s->scored, s->options->duplicates, s->env, &s->pairs, s->err);
    s->duplicate_seconds = now() - start;
    return st;
}

/* ---- result ---- */

static double share(uint64_t part, uint64_t whole) {
    return whole ? (double)part / (double)whole : NAN;
}

static void add_search(struct members *whole, struct searching *s) {
    struct members shares = members_object(), time = members_object();
    uint64_t rows = s->rows.rows * s->queries.count, ruled_out = s->sums.skipped + s->sums.composed;
    members_count(whole, "queries", s->queries.count);
    members_count(whole, "top", s->options->top);
    members_real(&shares, "skip", share(s->sums.skipped, rows));
    members_real(&shares, "attend", share(s->sums.attended, rows));
    members_real(&shares, "compose", share(s->sums.composed, rows));
    members_real(&shares, "escalate", share(s->sums.escalated, rows));
    members_nest(whole, "shares", &shares);
    members_real(whole, "recall", share(s->recalled, s->wanted));
    members_real(whole, "skip_accuracy", share(ruled_out - (s->wanted - s->recalled), ruled_out));
    members_count(whole, "differing", s->different);
    members_bool(whole, "exact", must_be_exact(s));
    members_real(&time, "index", s->index_seconds);
    members_real(&time, "dense", s->dense_seconds);
    members_real(&time, "speedup", s->index_seconds > 0 ? s->dense_seconds / s->index_seconds : NAN);
    members_nest(whole, "seconds", &time);
    members_nest(whole, "hits", &s->hits);
    s->hits.value = NULL; /* is the result's now */
}

static void add_duplicates(struct members *whole, const struct searching *s) {
    struct members found = members_object(), pairs = members_list();
    for (uint64_t i = 0; i < s->pairs.kept; i++) {
        struct members pair = members_object();
        members_count(&pair, "a", s->pairs.items[i].a);
        members_count(&pair, "b", s->pairs.items[i].b);
        members_real(&pair, "cosine", s->pairs.items[i].cosine);
        members_append(&pairs, &pair);
    }
    members_real(&found, "cosine", s->options->duplicates);
    members_count(&found, "count", s->pairs.count);
    members_count(&found, "compared", s->pairs.compared);
    members_real(&found, "seconds", s->duplicate_seconds);
    members_nest(&found, "pairs", &pairs);
    members_nest(whole, "duplicates", &found);
}

static tsr_status make_result(struct searching *s, json_t **result) {
    struct members whole = members_object();
    members_text(&whole, "output", s->options->output);
    members_text(&whole, "tensor", s->tensor->name);
    members_count(&whole, "rows", s->rows.rows);
    members_count(&whole, "columns", s->rows.columns);
    members_text(&whole, "codec", s->tensor->index_codec);
    members_count(&whole, "index_bytes", s->tensor->index_codec ? s->tensor->index_place.entry->bytes : 0);
    members_count(&whole, "tensor_bytes", s->tensor->bytes);
    if (s->options->query) add_search(&whole, s);
    if (s->options->duplicates > 0) add_duplicates(&whole, s);
    return members_finish(&whole, result, s->err);
}

static void close_all(struct searching *s) {
    search_index_close(&s->index);
    search_queries_clear(&s->queries);
    search_pairs_clear(&s->pairs);
    search_rows_clear(&s->rows);
    search_rows_clear(&s->reference);
    stored_close(&s->stored);
    json_decref(s->hits.value);
    mem_free(s->row);
    mem_free(s->scores);
    mem_free(s->hit_scores);
    mem_free(s->dense_scores);
    mem_free(s->hit_rows);
    mem_free(s->dense_rows);
}

tsr_status job_search(const struct job_search_options *options, const struct registry *registry, const struct env *env,
                      json_t **result, tsr_error *err) {
    struct searching s = {.options = options, .registry = registry, .env = env, .err = err};
    s.hits = members_list();
    tsr_status st = open_rows(&s);
    if (st == TSR_OK && options->query) st = search_all(&s);
    if (st == TSR_OK && options->duplicates > 0) st = find_duplicates(&s);
    if (st == TSR_OK) st = make_result(&s, result);
    if (st == TSR_OK && s.different && must_be_exact(&s)) {
        st = tsr_fail(err, TSR_E_GATE, "%s: %" PRIu64 " of %" PRIu64 " searches differ from the dense ones",
                      options->output, s.different, s.queries.count);
    }
    close_all(&s);
    return st;
}
