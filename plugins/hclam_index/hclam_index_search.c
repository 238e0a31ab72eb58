/* SPDX-License-Identifier: Apache-2.0
 *
 * Branch and bound over the balls: nodes, the one that may hold the best row first; below a node its leaves in the same
 * order; rows of a leaf that may hold a hit are read. Rounding is accounted for as in hhtld: a product of the query
 * (length 1, in F32) with a centre is off by at most its length times SLACK, the exact score by that of the row's. */
#include "hclam_index.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

enum { BATCH = 256 };

#define DOUBLE_SLACK 0x1p-36

struct search {
    tsr_signature_source source;
    uint64_t *rows;  /* leaf by leaf, then those without an address (raw tiles) */
    uint64_t *start; /* [leaves + 2] */
};

struct ranked {
    double high;
    uint64_t index;
};

struct query {
    const struct hclam_index_decoder *decoder;
    const struct search *search;
    const tsr_search_request *request;
    float *unit;
    double norm, slack, narrowing;
    struct ranked *nodes, *leaves; /* [tree.nodes], [HCLAM_INDEX_FAN_MAX] */
    double *scores;                /* [BATCH] */
    double *best_scores;           /* [top] */
    uint64_t *best_rows;           /* [top] */
    uint64_t best_count, top, read;
    void *memory;
};

/* ---- open ---- */

/* leaf[row], or tree.leaves for a row of a raw tile. */
static tsr_status load_tile(const struct hclam_index_decoder *decoder, const tsr_signature_source *source, uint64_t index,
                            uint32_t *leaf, tsr_error *err) {
    tsr_tile tile = {.struct_size = sizeof tile};
    const void *bytes = NULL;
    uint64_t size = 0;
    int32_t raw = 0;
    tsr_status st = source->tile(source->ctx, index, &tile, &bytes, &size, &raw, err);
    if (st != TSR_OK) return st;
    if (tile.first_row > decoder->rows || tile.rows > decoder->rows - tile.first_row) {
        return tsr_fail(err, TSR_E_CORRUPT, "hclam-index: tile %llu ends behind the last row", (unsigned long long)index);
    }
    if (raw) return TSR_OK;
    st = hclam_index_check_tile(&decoder->tree, &tile, size, err);
    for (uint64_t r = 0; r < tile.rows && st == TSR_OK; r++) {
        const uint8_t *entry = (const uint8_t *)bytes + HCLAM_INDEX_ENTRY_BYTES * r;
        st = hclam_index_leaf(&decoder->tree, entry, &leaf[tile.first_row + r], err);
    }
    return st;
}

/* Counting sort: rows of a leaf stay in order. */
static void sort_rows(const struct hclam_index_decoder *decoder, struct search *search, const uint32_t *leaf) {
    const uint64_t lists = decoder->tree.leaves + 1;
    memset(search->start, 0, (lists + 1) * sizeof *search->start);
    for (uint64_t r = 0; r < decoder->rows; r++) search->start[leaf[r] + 1]++;
    for (uint64_t i = 0; i < lists; i++) search->start[i + 1] += search->start[i];
    for (uint64_t r = 0; r < decoder->rows; r++) search->rows[search->start[leaf[r]]++] = r;
    for (uint64_t i = lists; i > 0; i--) search->start[i] = search->start[i - 1];
    search->start[0] = 0;
}

void hclam_index_search_close(const struct hclam_index_decoder *decoder, void *self) {
    struct search *search = self;
    if (!search) return;
    decoder->host->free(decoder->host, search->rows);
    decoder->host->free(decoder->host, search->start);
    decoder->host->free(decoder->host, search);
}

tsr_status hclam_index_search_open(const struct hclam_index_decoder *decoder, const tsr_signature_source *source,
                                   void **self, tsr_error *err) {
    const tsr_host *host = decoder->host;
    struct search *search = host->alloc(host, sizeof *search);
    uint32_t *leaf = host->alloc(host, decoder->rows * sizeof *leaf);
    tsr_status st = TSR_OK;
    *self = NULL;
    if (search) {
        *search = (struct search){.source = *source};
        search->rows = host->alloc(host, decoder->rows * sizeof *search->rows);
        search->start = host->alloc(host, (decoder->tree.leaves + 3) * sizeof *search->start);
    }
    if (!search || !leaf || !search->rows || !search->start) {
        st = tsr_fail(err, TSR_E_NOMEM, "hclam-index: no memory for an index of %llu rows",
                      (unsigned long long)decoder->rows);
    }
    for (uint64_t r = 0; r < decoder->rows && st == TSR_OK; r++) leaf[r] = decoder->tree.leaves;
    for (uint64_t i = 0; i < source->tile_count && st == TSR_OK; i++) st = load_tile(decoder, source, i, leaf, err);
    if (st == TSR_OK) {
        sort_rows(decoder, search, leaf);
        *self = search;
    } else {
        hclam_index_search_close(decoder, search);
    }
    host->free(host, leaf);
    return st;
}

/* ---- query ---- */

static tsr_status query_init(struct query *query, tsr_error *err) {
    const struct hclam_tree *tree = &query->decoder->tree;
    const tsr_host *host = query->decoder->host;
    query->top = query->request->top < query->decoder->rows ? query->request->top : query->decoder->rows;
    uint64_t bytes = (tree->nodes + HCLAM_INDEX_FAN_MAX) * sizeof(struct ranked) + 8 * (BATCH + 2 * query->top) +
                     tree->columns * sizeof(float);
    query->memory = host->alloc(host, bytes);
    if (!query->memory) return tsr_fail(err, TSR_E_NOMEM, "hclam-index: no memory for a query");
    query->nodes = query->memory;
    query->leaves = query->nodes + tree->nodes;
    query->scores = (double *)(void *)(query->leaves + HCLAM_INDEX_FAN_MAX);
    query->best_scores = query->scores + BATCH;
    query->best_rows = (uint64_t *)(void *)(query->best_scores + query->top);
    query->unit = (float *)(void *)(query->best_rows + query->top);
    double energy = 0;
    for (uint64_t c = 0; c < tree->columns; c++) {
        energy += (double)query->request->x[c] * (double)query->request->x[c];
    }
    double inverse = energy > 0 ? 1 / sqrt(energy) : 0;
    for (uint64_t c = 0; c < tree->columns; c++) query->unit[c] = (float)((double)query->request->x[c] * inverse);
    query->norm = sqrt(energy) * (1 + DOUBLE_SLACK);
    query->slack = (double)(tree->columns + 64) * 0x1p-23;
    query->narrowing = 1 - query->request->threshold;
    return TSR_OK;
}

/* No row in the ball of node `i` has a higher score. */
static double highest(const struct query *query, uint64_t i) {
    const struct hclam_tree *tree = &query->decoder->tree;
    double radius = (double)tree->radius[i], length = tree->norm[i];
    if (!(radius < HUGE_VAL)) return HUGE_VAL;
    float dot = query->decoder->products->dot_codes(tree->codes + i * tree->columns, query->unit, tree->columns);
    double product = (double)dot * (double)tree->scale[i];
    if (query->request->kind == TSR_SEARCH_INNER) {
        return query->norm * (product + radius * query->narrowing + (length + 2 * radius) * query->slack);
    }
    double square = query->norm * query->norm + length * length, error = 4 * square * query->slack;
    square -= 2 * query->norm * product + error;
    double near = square > 0 ? sqrt(square) : 0;
    near -= radius * query->narrowing + (query->norm + length) * DOUBLE_SLACK;
    return near > 0 ? -near * near * (1 - DOUBLE_SLACK) : 0;
}

static int compare(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->high != y->high) return x->high < y->high ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static bool beats(double a, uint64_t a_row, double b, uint64_t b_row) {
    return a > b || (a == b && a_row < b_row);
}

static void add_hit(struct query *query, double score, uint64_t row) {
    uint64_t at = query->best_count;
    if (isnan(score) || query->top == 0) return;
    if (at == query->top) {
        if (!beats(score, row, query->best_scores[at - 1], query->best_rows[at - 1])) return;
        at--;
    } else {
        query->best_count++;
    }
    for (; at && beats(score, row, query->best_scores[at - 1], query->best_rows[at - 1]); at--) {
        query->best_scores[at] = query->best_scores[at - 1];
        query->best_rows[at] = query->best_rows[at - 1];
    }
    query->best_scores[at] = score;
    query->best_rows[at] = row;
}

/* False when no score up to `high` can get in. */
static bool may_win(const struct query *query, double high) {
    return query->best_count < query->top || (query->top && high >= query->best_scores[query->top - 1]);
}

static tsr_status read_list(struct query *query, uint64_t list, tsr_error *err) {
    const struct search *search = query->search;
    tsr_status st = TSR_OK;
    for (uint64_t at = search->start[list]; at < search->start[list + 1] && st == TSR_OK; at += BATCH) {
        uint64_t count = search->start[list + 1] - at < BATCH ? search->start[list + 1] - at : BATCH;
        st = search->source.score(search->source.ctx, search->rows + at, count, query->request->x, query->scores, err);
        for (uint64_t i = 0; i < count && st == TSR_OK; i++) add_hit(query, query->scores[i], search->rows[at + i]);
        query->read += count;
    }
    return st;
}

static tsr_status search_node(struct query *query, uint32_t node, tsr_error *err) {
    const struct hclam_tree *tree = &query->decoder->tree;
    uint32_t count = 0;
    tsr_status st = TSR_OK;
    for (uint32_t leaf = tree->first[node]; leaf < tree->first[node + 1]; leaf++) {
        if (query->search->start[leaf] == query->search->start[leaf + 1]) continue;
        query->leaves[count++] = (struct ranked){highest(query, tree->nodes + leaf), leaf};
    }
    qsort(query->leaves, count, sizeof *query->leaves, compare);
    for (uint32_t i = 0; i < count && st == TSR_OK && may_win(query, query->leaves[i].high); i++) {
        st = read_list(query, query->leaves[i].index, err);
    }
    return st;
}

static tsr_status run(struct query *query, tsr_error *err) {
    const struct hclam_tree *tree = &query->decoder->tree;
    for (uint32_t n = 0; n < tree->nodes; n++) query->nodes[n] = (struct ranked){highest(query, n), n};
    qsort(query->nodes, tree->nodes, sizeof *query->nodes, compare);
    tsr_status st = read_list(query, tree->leaves, err);
    for (uint32_t n = 0; n < tree->nodes && st == TSR_OK && may_win(query, query->nodes[n].high); n++) {
        if (query->decoder->host->cancelled(query->decoder->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
        st = search_node(query, (uint32_t)query->nodes[n].index, err);
    }
    return st;
}

tsr_status hclam_index_search(const struct hclam_index_decoder *decoder, void *self, const tsr_search_request *request,
                              uint64_t *rows, double *score, uint64_t *found, tsr_search_stats *stats, tsr_error *err) {
    struct query query = {.decoder = decoder, .search = self, .request = request};
    tsr_status st = query_init(&query, err);
    if (st == TSR_OK) st = run(&query, err);
    if (st == TSR_OK) {
        *found = query.best_count;
        memcpy(rows, query.best_rows, query.best_count * sizeof *rows);
        if (score) memcpy(score, query.best_scores, query.best_count * sizeof *score);
        if (stats) {
            *stats = (tsr_search_stats){
                .struct_size = sizeof *stats, .skipped = decoder->rows - query.read, .escalated = query.read};
        }
    }
    decoder->host->free(decoder->host, query.memory);
    return st;
}
