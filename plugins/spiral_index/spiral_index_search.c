/* SPDX-License-Identifier: Apache-2.0
 *
 * A query: an upper bound of every row's score from its samples and the length of its rest; the rows with the highest
 * bounds are read, best first, until no bound reaches the K-th exact score; after a share of the rows the others are read
 * as they stand in memory. Rounding: a product of F32 over M samples is off by at most its lengths times slack, the exact
 * score in double by less. */
#include "spiral_index.h"

#include <math.h>
#include <stdbool.h>

enum {
    BATCH = 256,
    SORTED_SHARE = 16 /* one row of so many is read in the order of the bounds */
};

#define DOUBLE_SLACK 0x1p-34
/* BF16 rounds to the nearest, or to its largest number: by less than this share of the result. */
#define ROUNDING 0x1.02p-8
/* What F32 and BF16 lose near zero, where they have no more digits. */
#define TINY 0x1p-128
/* Longer samples may leave the range of F32 on the way. */
#define LENGTH_MAX 0x1p120

struct search {
    tsr_signature_source source;
    uint16_t *samples; /* [rows][decoder.samples] */
    double *length;    /* [rows] of the samples, not below */
    float *rest;       /* [rows]; Inf: the row must be read */
};

struct query {
    const struct spiral_index_decoder *decoder;
    const struct search *search;
    const tsr_search_request *request;
    double norm;            /* the query's length */
    double inside, outside; /* shares of it: on the columns of the walk, and on the others */
    double slack, narrowing;
    double *high;         /* [rows]; -Inf once read */
    uint64_t *heap;       /* [heap_count] rows that are not read, the one with the highest bound first */
    uint64_t *batch;      /* [BATCH] */
    double *scores;       /* [BATCH] */
    double *best_scores;  /* [top] */
    uint64_t *best_rows;  /* [top] */
    uint64_t heap_count, best_count, top, read;
    void *memory;
    float unit[SPIRAL_INDEX_SAMPLES_MAX]; /* the query at the columns of the walk, as a share of its length */
};

/* ---- open ---- */

static tsr_status load_row(const struct spiral_index_decoder *decoder, struct search *search, uint64_t row,
                           const uint8_t *entry, tsr_error *err) {
    uint16_t half[SPIRAL_INDEX_SAMPLES_MAX + 1];
    double energy = 0;
    tsr_status st = spiral_index_read_entry(decoder, entry, half, err);
    if (st != TSR_OK) return st;
    for (uint64_t i = 0; i < decoder->samples; i++) {
        double value = (double)spiral_index_from_bf16(half[i]);
        energy += value * value;
    }
    memcpy(search->samples + row * decoder->samples, half, decoder->samples * sizeof *half);
    search->length[row] = sqrt(energy) * (1 + DOUBLE_SLACK);
    search->rest[row] = search->length[row] < LENGTH_MAX ? spiral_index_from_bf16(half[decoder->samples]) : HUGE_VALF;
    return TSR_OK;
}

static tsr_status load_tile(const struct spiral_index_decoder *decoder, struct search *search, uint64_t index,
                            tsr_error *err) {
    tsr_tile tile = {.struct_size = sizeof tile};
    const void *bytes = NULL;
    uint64_t size = 0;
    int32_t raw = 0;
    tsr_status st = search->source.tile(search->source.ctx, index, &tile, &bytes, &size, &raw, err);
    if (st != TSR_OK) return st;
    if (tile.first_row > decoder->rows || tile.rows > decoder->rows - tile.first_row) {
        return tsr_fail(err, TSR_E_CORRUPT, "spiral-index: tile %llu ends behind the last row", (unsigned long long)index);
    }
    if (raw) return TSR_OK;
    st = spiral_index_check_tile(decoder, &tile, size, err);
    for (uint64_t r = 0; r < tile.rows && st == TSR_OK; r++) {
        const uint8_t *entry = (const uint8_t *)bytes + r * spiral_index_entry_bytes(decoder->samples);
        st = load_row(decoder, search, tile.first_row + r, entry, err);
    }
    return st;
}

void spiral_index_search_close(const struct spiral_index_decoder *decoder, void *self) {
    const tsr_host *host = decoder->host;
    struct search *search = self;
    if (!search) return;
    host->free(host, search->samples);
    host->free(host, search->length);
    host->free(host, search->rest);
    host->free(host, search);
}

static tsr_status allocate(const struct spiral_index_decoder *decoder, struct search *search, tsr_error *err) {
    const tsr_host *host = decoder->host;
    const uint64_t rows = decoder->rows + 1; /* a block of no bytes would be NULL */
    search->samples = host->alloc(host, rows * decoder->samples * sizeof *search->samples);
    search->length = host->alloc(host, rows * sizeof *search->length);
    search->rest = host->alloc(host, rows * sizeof *search->rest);
    if (search->samples && search->length && search->rest) return TSR_OK;
    return tsr_fail(err, TSR_E_NOMEM, "spiral-index: no memory for an index of %llu rows",
                    (unsigned long long)decoder->rows);
}

tsr_status spiral_index_search_open(const struct spiral_index_decoder *decoder, const tsr_signature_source *source,
                                    void **self, tsr_error *err) {
    struct search *search = decoder->host->alloc(decoder->host, sizeof *search);
    *self = NULL;
    if (!search) return tsr_fail(err, TSR_E_NOMEM, "spiral-index: no memory for a search");
    *search = (struct search){.source = *source};
    tsr_status st = allocate(decoder, search, err);
    for (uint64_t r = 0; r < decoder->rows && st == TSR_OK; r++) search->rest[r] = HUGE_VALF;
    for (uint64_t i = 0; i < source->tile_count && st == TSR_OK; i++) st = load_tile(decoder, search, i, err);
    if (st == TSR_OK)
        *self = search;
    else
        spiral_index_search_close(decoder, search);
    return st;
}

/* ---- bounds ---- */

/* The length of the rest was rounded up to a BF16: it is above the one before. */
static double length_below(float rest) {
    uint32_t bits;
    memcpy(&bits, &rest, sizeof bits);
    return bits ? (double)spiral_index_from_bf16((bits >> 16) - 1) * (1 - DOUBLE_SLACK * 32) : 0;
}

/* No row w with these samples is nearer than the root of what this returns: both parts of |w - x|^2 at their least. The
 * part of w outside the walk has a length in [low, rest]. */
static double nearest_square(const struct query *query, double product, double length, float rest, double rounding) {
    const double in = query->norm * query->inside, out = query->norm * query->outside;
    const double squares = length * length + in * in;
    double inside = squares - 2 * query->norm * product - 4 * squares * query->slack - query->norm * TINY;
    inside = (inside > 0 ? sqrt(inside) : 0) - rounding;
    double low = length_below(rest), widest = (double)rest + out;
    low = low * low - rounding * rounding;
    low = low > 0 ? sqrt(low) * (1 - DOUBLE_SLACK) : 0;
    double other = query->narrowing * out;
    other = other < low ? low : other > (double)rest ? (double)rest : other;
    double square = other * other + out * out - 2 * query->narrowing * other * out - widest * widest * query->slack / 64;
    return (inside > 0 ? inside * inside : 0) + (square > 0 ? square : 0);
}

/* The row's score is not higher. */
static double highest(const struct query *query, uint64_t row) {
    const struct spiral_index_decoder *decoder = query->decoder;
    const uint16_t *half = query->search->samples + row * decoder->samples;
    const double length = query->search->length[row];
    const float rest = query->search->rest[row];
    float samples[SPIRAL_INDEX_SAMPLES_MAX];
    if (!(rest < HUGE_VALF)) return HUGE_VAL;
    for (uint64_t i = 0; i < decoder->samples; i++) samples[i] = spiral_index_from_bf16(half[i]);
    double product = (double)decoder->products->dot(samples, query->unit, decoder->samples);
    double rounding = length * ROUNDING + TINY;
    if (rounding > (double)rest) rounding = (double)rest;
    if (query->request->kind != TSR_SEARCH_INNER) {
        double square = nearest_square(query, product, length, rest, rounding);
        return square > 0 ? -square * (1 - query->slack) : 0;
    }
    double reach = (double)rest * query->outside + rounding * query->inside;
    if (reach > (double)rest) reach = (double)rest;
    return query->norm * (product + reach * query->narrowing + (length + 2 * (double)rest) * query->slack + TINY);
}

/* ---- query ---- */

static void set_query(struct query *query) {
    const struct spiral_index_decoder *decoder = query->decoder;
    const float *x = query->request->x;
    double energy = 0, inside = 0, outside = 0;
    for (uint64_t c = 0; c < decoder->columns; c++) {
        double square = (double)x[c] * (double)x[c];
        energy += square;
        if (!decoder->sampled[c]) outside += square;
    }
    double inverse = energy > 0 ? 1 / sqrt(energy) : 0;
    for (uint64_t i = 0; i < decoder->samples; i++) {
        double value = (double)x[decoder->where[i]] * inverse;
        query->unit[i] = (float)value;
        inside += value * value;
    }
    query->inside = sqrt(inside) * (1 + DOUBLE_SLACK);
    query->outside = sqrt(outside) * inverse * (1 + DOUBLE_SLACK);
    query->norm = sqrt(energy) * (1 + DOUBLE_SLACK);
    query->slack = (double)(decoder->samples + 64) * 0x1p-23 + (double)decoder->columns * 0x1p-50;
    query->narrowing = 1 - query->request->threshold;
}

static tsr_status query_init(struct query *query, tsr_error *err) {
    const uint64_t rows = query->decoder->rows;
    const tsr_host *host = query->decoder->host;
    query->top = query->request->top < rows ? query->request->top : rows;
    query->memory = host->alloc(host, 8 * (2 * rows + 2 * BATCH + 2 * query->top));
    if (!query->memory) return tsr_fail(err, TSR_E_NOMEM, "spiral-index: no memory for a query");
    query->high = query->memory;
    query->scores = query->high + rows;
    query->best_scores = query->scores + BATCH;
    query->best_rows = (uint64_t *)(void *)(query->best_scores + query->top);
    query->batch = query->best_rows + query->top;
    query->heap = query->batch + BATCH;
    set_query(query);
    return TSR_OK;
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

static tsr_status read_batch(struct query *query, uint64_t count, tsr_error *err) {
    const tsr_signature_source *source = &query->search->source;
    const tsr_host *host = query->decoder->host;
    if (host->cancelled(host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    tsr_status st = source->score(source->ctx, query->batch, count, query->request->x, query->scores, err);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) add_hit(query, query->scores[i], query->batch[i]);
    query->read += count;
    return st;
}

static void sift(struct query *query, uint64_t at) {
    uint64_t *heap = query->heap, row = heap[at];
    for (uint64_t child = 2 * at + 1; child < query->heap_count; child = 2 * at + 1) {
        if (child + 1 < query->heap_count && query->high[heap[child + 1]] > query->high[heap[child]]) child++;
        if (query->high[row] >= query->high[heap[child]]) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = row;
}

/* The highest first, until none may win or a share of the rows is read. */
static tsr_status read_highest(struct query *query, tsr_error *err) {
    const uint64_t most = query->decoder->rows / SORTED_SHARE + BATCH;
    tsr_status st = TSR_OK;
    while (st == TSR_OK && query->read < most) {
        uint64_t count = 0, wanted = query->read ? BATCH : 2 * query->top + 8;
        for (; count < wanted && count < BATCH && query->heap_count; count++) {
            uint64_t row = query->heap[0];
            if (!may_win(query, query->high[row])) break;
            query->batch[count] = row;
            query->heap[0] = query->heap[--query->heap_count];
            if (query->heap_count) sift(query, 0);
        }
        if (count == 0) break;
        st = read_batch(query, count, err);
        for (uint64_t i = 0; i < count; i++) query->high[query->batch[i]] = -HUGE_VAL;
    }
    return st;
}

static tsr_status read_others(struct query *query, tsr_error *err) {
    tsr_status st = TSR_OK;
    uint64_t count = 0;
    for (uint64_t r = 0; r < query->decoder->rows && st == TSR_OK; r++) {
        if (query->high[r] == -HUGE_VAL || !may_win(query, query->high[r])) continue;
        query->batch[count++] = r;
        if (count < BATCH) continue;
        st = read_batch(query, count, err);
        count = 0;
    }
    return st == TSR_OK && count ? read_batch(query, count, err) : st;
}

static tsr_status run(struct query *query, tsr_error *err) {
    const uint64_t rows = query->decoder->rows;
    if (query->top == 0) return TSR_OK;
    for (uint64_t r = 0; r < rows; r++) {
        query->heap[r] = r;
        query->high[r] = highest(query, r);
    }
    query->heap_count = rows;
    for (uint64_t i = rows / 2; i > 0; i--) sift(query, i - 1);
    tsr_status st = read_highest(query, err);
    if (st != TSR_OK || query->heap_count == 0 || !may_win(query, query->high[query->heap[0]])) return st;
    return read_others(query, err);
}

tsr_status spiral_index_search(const struct spiral_index_decoder *decoder, void *self,
                               const tsr_search_request *request, uint64_t *rows, double *score, uint64_t *found,
                               tsr_search_stats *stats, tsr_error *err) {
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
