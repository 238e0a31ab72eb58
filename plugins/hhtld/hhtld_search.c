/* SPDX-License-Identifier: Apache-2.0
 *
 * A query goes through four steps. 1: the score of each leaf, once. 2: an interval for each row from its leaf, polarity
 * and Slot V; the top-th largest lower end is a score that the top-th hit certainly has, and rows whose upper end is
 * below it are skipped. 3: with lanes, a narrower interval for the others (compose). 4: what is left is read, the
 * highest upper ends first, as long as any is above the top-th exact score (escalate); or, when no scores are asked for
 * and the intervals do not overlap, nothing is read (attend).
 *
 * Rounding: a product of the query (length 1, rounded to F32) with a leaf is off by at most its length times SLACK, and
 * so is the exact score in double by that of the row; both go into every interval. */
#include "hhtld_search.h"

#include "hhtld_best.h"

#include <stdbool.h>

enum {
    BUCKETS = 1024,
    BATCH = 256,
    SORTED_SHARE = 16 /* one row of so many is read in the order of the bounds, the others as they stand in memory */
};

/* Doubles that bound what doubles round away, wherever lengths were added or squares taken. */
#define DOUBLE_SLACK 0x1p-36

struct search {
    tsr_signature_source source;
    uint64_t rows;
    uint16_t *leaf;    /* [rows] leaf * 2 + polarity */
    float *bound;      /* [rows]; Inf: the row must be read */
    float *gain;       /* [rows], or NULL: the leaf's */
    float *lane_bound; /* [rows], or NULL */
    int8_t *lanes;     /* [rows][lane_count] */
};

/* ---- open ---- */

static tsr_status allocate(const struct hhtld_decoder *decoder, struct search *search, tsr_error *err) {
    const tsr_host *host = decoder->host;
    const struct hhtld_palette *palette = &decoder->palette;
    const uint64_t rows = search->rows;
    bool gains = palette->flags & HHTLD_FLAG_ROW_GAIN, lanes = palette->lane_count > 0;
    search->leaf = host->alloc(host, rows * sizeof *search->leaf);
    search->bound = host->alloc(host, rows * sizeof *search->bound);
    if (gains) search->gain = host->alloc(host, rows * sizeof *search->gain);
    if (lanes) search->lane_bound = host->alloc(host, rows * sizeof *search->lane_bound);
    if (lanes) search->lanes = host->alloc(host, rows * palette->lane_count);
    if (search->leaf && search->bound && (search->gain || !gains) && ((search->lane_bound && search->lanes) || !lanes))
        return TSR_OK;
    return tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory for an index of %llu rows", (unsigned long long)rows);
}

static void set_open(const struct hhtld_decoder *decoder, struct search *search, uint64_t row) {
    search->leaf[row] = 0;
    search->bound[row] = HUGE_VALF;
    if (search->gain) search->gain[row] = 0;
    if (search->lane_bound) search->lane_bound[row] = HUGE_VALF;
    if (search->lanes) memset(search->lanes + row * decoder->palette.lane_count, 0, decoder->palette.lane_count);
}

static tsr_status load_tile(const struct hhtld_decoder *decoder, struct search *search, uint64_t index,
                            tsr_error *err) {
    const struct hhtld_palette *palette = &decoder->palette;
    const uint64_t entry = hhtld_entry_bytes(palette->flags, palette->lane_count);
    tsr_tile tile = {.struct_size = sizeof tile};
    const void *bytes = NULL;
    uint64_t size = 0;
    int32_t raw = 0;
    tsr_status st = search->source.tile(search->source.ctx, index, &tile, &bytes, &size, &raw, err);
    if (st != TSR_OK) return st;
    if (tile.first_row > search->rows || tile.rows > search->rows - tile.first_row) {
        return tsr_fail(err, TSR_E_CORRUPT, "hhtld: tile %llu ends behind the last row", (unsigned long long)index);
    }
    if (!raw) st = hhtld_check_tile(decoder, &tile, size, err);
    for (uint64_t r = 0; r < tile.rows && st == TSR_OK && !raw; r++) {
        struct hhtld_reading reading;
        uint64_t row = tile.first_row + r;
        st = hhtld_read_entry(decoder, (const uint8_t *)bytes + r * entry, &reading, err);
        if (st != TSR_OK) break;
        search->leaf[row] = (uint16_t)(reading.leaf * 2 + (uint32_t)reading.negative);
        search->bound[row] = reading.bound;
        if (search->gain) search->gain[row] = reading.gain;
        if (search->lane_bound) search->lane_bound[row] = reading.lane_bound;
        if (search->lanes) memcpy(search->lanes + row * palette->lane_count, reading.lanes, palette->lane_count);
    }
    return st;
}

void hhtld_search_close(const struct hhtld_decoder *decoder, void *self) {
    const tsr_host *host = decoder->host;
    struct search *search = self;
    if (!search) return;
    host->free(host, search->leaf);
    host->free(host, search->bound);
    host->free(host, search->gain);
    host->free(host, search->lane_bound);
    host->free(host, search->lanes);
    host->free(host, search);
}

tsr_status hhtld_search_open(const struct hhtld_decoder *decoder, uint64_t rows, const tsr_signature_source *source,
                             void **self, tsr_error *err) {
    const tsr_host *host = decoder->host;
    struct search *search = host->alloc(host, sizeof *search);
    *self = NULL;
    if (!search) return tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory for a search");
    *search = (struct search){.source = *source, .rows = rows};
    tsr_status st = allocate(decoder, search, err);
    for (uint64_t r = 0; r < rows && st == TSR_OK; r++) set_open(decoder, search, r);
    for (uint64_t i = 0; i < source->tile_count && st == TSR_OK; i++) st = load_tile(decoder, search, i, err);
    if (st == TSR_OK)
        *self = search;
    else
        hhtld_search_close(decoder, search);
    return st;
}

/* ---- one query ---- */

struct query {
    const struct hhtld_decoder *decoder;
    const struct search *search;
    const tsr_search_request *request;
    float *unit;       /* [columns] the query of length 1; for nearest rows, as seen from the centre */
    double *dots;      /* [leaf_count] <unit, leaf> */
    float *lane_dots;  /* [lane_count] <unit, lane> * step, over lane_unit */
    double *upper;     /* [rows] by the leaf */
    double *fine;      /* [rows] by the lanes too; the same array without lanes */
    double norm;       /* the query's length before; from the centre, for nearest rows */
    double origin;     /* its length from the origin */
    double base;       /* <x, centre> */
    double slack;      /* relative, of a product in F32 */
    double narrowing;  /* 1 when exact, less for a lossy threshold */
    double lane_unit, lane_error, lane_rest; /* sum of |<unit, lane>| * slack; length of the query outside the lanes */
    uint64_t *batch;   /* [BATCH] rows */
    double *scores;    /* [BATCH] */
    struct hhtld_best lows, best;
    void *memory;
};

struct interval {
    double low, high;
};

static tsr_status query_init(struct query *query, tsr_error *err) {
    const struct hhtld_palette *palette = &query->decoder->palette;
    const tsr_host *host = query->decoder->host;
    const uint64_t rows = query->search->rows, columns = palette->columns, leaves = palette->leaf_count;
    const uint64_t lanes = palette->lane_count, top = query->request->top < rows ? query->request->top : rows;
    uint64_t doubles = leaves + rows * (lanes ? 2 : 1) + BATCH + 2 * top;
    uint8_t *memory = host->alloc(host, 8 * (doubles + 2 * top + BATCH) + 4 * (columns + lanes));
    if (!memory) return tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory for a query");
    query->memory = memory;
    query->dots = (double *)(void *)memory;
    query->upper = query->dots + leaves;
    query->fine = lanes ? query->upper + rows : query->upper;
    query->scores = query->fine + rows;
    query->lows.scores = query->scores + BATCH;
    query->best.scores = query->lows.scores + top;
    query->lows.rows = (uint64_t *)(void *)(query->best.scores + top);
    query->best.rows = query->lows.rows + top;
    query->batch = query->best.rows + top;
    query->unit = (float *)(void *)(query->batch + BATCH);
    query->lane_dots = query->unit + columns;
    query->lows.top = query->best.top = top;
    query->slack = (double)(columns + 64) * 0x1p-23;
    query->narrowing = 1 - query->request->threshold;
    return TSR_OK;
}

static void measure_query(struct query *query) {
    const struct hhtld_palette *palette = &query->decoder->palette;
    const float *x = query->request->x;
    bool nearest = query->request->kind == TSR_SEARCH_NEAREST;
    double energy = 0, origin = 0;
    for (uint64_t c = 0; c < palette->columns; c++) {
        double value = (double)x[c] - (nearest ? (double)palette->centre[c] : 0);
        energy += value * value;
        origin += (double)x[c] * (double)x[c];
        query->base += (double)x[c] * (double)palette->centre[c];
    }
    query->norm = sqrt(energy) * (1 + DOUBLE_SLACK);
    query->origin = sqrt(origin);
    double inverse = energy > 0 ? 1 / sqrt(energy) : 0;
    for (uint64_t c = 0; c < palette->columns; c++) {
        double value = (double)x[c] - (nearest ? (double)palette->centre[c] : 0);
        query->unit[c] = (float)(value * inverse);
    }
    for (uint64_t i = 0; i < palette->leaf_count; i++) {
        float dot = query->decoder->products->dot_codes(palette->codes + i * palette->columns, query->unit,
                                                      palette->columns);
        query->dots[i] = (double)dot * (double)palette->scale[i];
    }
}

/* Splits the query into its part along the lanes and the rest; any split is right, since the rest is what is left. */
static tsr_status measure_lanes(struct query *query, tsr_error *err) {
    const struct hhtld_palette *palette = &query->decoder->palette;
    const tsr_host *host = query->decoder->host;
    const uint64_t columns = palette->columns;
    double *rest = host->alloc(host, columns * sizeof *rest), energy = 0;
    if (!rest) return tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory for a query");
    for (uint64_t c = 0; c < columns; c++) rest[c] = (double)query->unit[c];
    query->lane_unit = 1e-300;
    for (uint64_t k = 0; k < palette->lane_count; k++) {
        query->lane_unit = fmax(query->lane_unit, (double)palette->lane_step[k]);
    }
    for (uint64_t k = 0; k < palette->lane_count; k++) {
        const int8_t *code = palette->lane_codes + k * columns;
        double dot = 0, scale = (double)palette->lane_scale[k], step = (double)palette->lane_step[k];
        for (uint64_t c = 0; c < columns; c++) dot += (double)query->unit[c] * (double)code[c];
        dot *= scale;
        for (uint64_t c = 0; c < columns; c++) rest[c] -= dot * scale * (double)code[c];
        query->lane_dots[k] = (float)(dot * step / query->lane_unit);
        query->lane_error += fabs(dot) * (double)palette->lane_slack[k];
    }
    for (uint64_t c = 0; c < columns; c++) energy += rest[c] * rest[c];
    query->lane_rest = sqrt(energy) * (1 + DOUBLE_SLACK);
    host->free(host, rest);
    return TSR_OK;
}

/* ---- intervals ---- */

/* Where the leaf puts the row: the product with the query of length 1, and the length of what it stands for. */
struct place {
    double product, length, bound;
};

static struct place place_of(const struct query *query, uint64_t row) {
    const struct hhtld_palette *palette = &query->decoder->palette;
    uint32_t leaf = query->search->leaf[row] / 2;
    double gain = (double)(query->search->gain ? query->search->gain[row] : palette->gain[leaf]);
    double product = gain * query->dots[leaf];
    return (struct place){query->search->leaf[row] & 1 ? -product : product, gain * palette->leaf_norm[leaf],
                          (double)query->search->bound[row]};
}

static struct interval around(const struct query *query, const struct place *place, double product, double half) {
    double error = (place->length + 4 * place->bound + query->decoder->palette.centre_norm) * query->slack;
    double middle = query->base + query->norm * product, width = query->norm * (half * query->narrowing + error);
    return (struct interval){middle - width, middle + width};
}

/* Distances: that to the leaf's point, and from there by the triangle. */
static struct interval nearest_interval(const struct query *query, const struct place *place) {
    double square = query->norm * query->norm + place->length * place->length;
    double error = 4 * square * query->slack;
    square -= 2 * query->norm * place->product;
    double half = place->bound * query->narrowing +
                  (query->origin + query->decoder->palette.centre_norm + place->length) * DOUBLE_SLACK;
    double near = square > error ? sqrt(square - error) - half : 0;
    double far = sqrt(square > 0 ? square + error : error) + half;
    if (near < 0) near = 0;
    return (struct interval){-far * far * (1 + DOUBLE_SLACK), -near * near * (1 - DOUBLE_SLACK)};
}

static struct interval leaf_interval(const struct query *query, uint64_t row) {
    struct place place = place_of(query, row);
    if (!(place.bound < HUGE_VAL)) return (struct interval){-HUGE_VAL, HUGE_VAL};
    if (query->request->kind == TSR_SEARCH_NEAREST) return nearest_interval(query, &place);
    return around(query, &place, place.product, place.bound);
}

static struct interval lane_interval(const struct query *query, uint64_t row) {
    const uint64_t lanes = query->decoder->palette.lane_count;
    struct place place = place_of(query, row);
    double bound = (double)query->search->lane_bound[row];
    if (!(bound < HUGE_VAL) || !(place.bound < HUGE_VAL)) return (struct interval){-HUGE_VAL, HUGE_VAL};
    float dot = query->decoder->products->dot_codes(query->search->lanes + row * lanes, query->lane_dots, lanes);
    return around(query, &place, place.product + (double)dot * query->lane_unit,
                  query->lane_error + query->lane_rest * bound);
}

static void bound_all(struct query *query) {
    for (uint64_t r = 0; r < query->search->rows; r++) {
        struct interval interval = leaf_interval(query, r);
        query->upper[r] = interval.high;
        if (interval.low > hhtld_best_entry(&query->lows)) hhtld_best_add(&query->lows, interval.low, r);
    }
}

/* The narrower of both intervals, for rows that the leaf's did not rule out. */
static void compose_all(struct query *query) {
    double least = hhtld_best_entry(&query->lows);
    query->lows.count = 0;
    for (uint64_t r = 0; r < query->search->rows; r++) {
        query->fine[r] = query->upper[r];
        if (query->upper[r] < least) continue;
        struct interval coarse = leaf_interval(query, r), fine = lane_interval(query, r);
        if (fine.high < query->fine[r]) query->fine[r] = fine.high;
        double low = fmax(coarse.low, fine.low);
        if (low > hhtld_best_entry(&query->lows)) hhtld_best_add(&query->lows, low, r);
    }
}

/* ---- reading ---- */

static tsr_status read_batch(struct query *query, uint64_t count, tsr_search_stats *stats, tsr_error *err) {
    const tsr_signature_source *source = &query->search->source;
    if (count == 0) return TSR_OK;
    tsr_status st = source->score(source->ctx, query->batch, count, query->request->x, query->scores, err);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        hhtld_best_add(&query->best, query->scores[i], query->batch[i]);
        query->fine[query->batch[i]] = NAN; /* read */
    }
    stats->escalated += count;
    return st;
}

/* What the top-th hit has at least: by intervals, or, better, by rows that were read. */
static double entry_score(const struct query *query) {
    return fmax(hhtld_best_entry(&query->lows), hhtld_best_entry(&query->best));
}

struct bucket {
    uint64_t begin, count;
    double high;
};

static uint64_t bucket_of(double high, double least, double most) {
    if (!(high < most)) return 0;
    return 1 + (uint64_t)((most - high) / (most - least) * (BUCKETS - 2));
}

/* Rows that may win, sorted roughly: the bucket with the highest upper ends first, in a bucket by row. */
static void fill_buckets(const struct query *query, struct bucket *buckets, uint64_t *order) {
    const double entry = entry_score(query);
    double least = HUGE_VAL, most = -HUGE_VAL;
    uint64_t count = 0;
    for (uint64_t r = 0; r < query->search->rows; r++) {
        if (!(query->fine[r] >= entry) || !(query->fine[r] < HUGE_VAL)) continue;
        most = fmax(most, query->fine[r]);
        least = fmin(least, query->fine[r]);
    }
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t r = 0; r < query->search->rows; r++) {
            if (!(query->fine[r] >= entry)) continue;
            struct bucket *bucket = &buckets[bucket_of(query->fine[r], least, most)];
            if (pass) order[bucket->begin + bucket->count] = r;
            bucket->high = fmax(bucket->high, query->fine[r]);
            bucket->count++;
        }
        for (uint64_t b = 0; b < BUCKETS && !pass; b++) {
            buckets[b].begin = count;
            count += buckets[b].count;
            buckets[b].count = 0;
        }
    }
}

static tsr_status escalate_bucket(struct query *query, const struct bucket *bucket, const uint64_t *order,
                                  tsr_search_stats *stats, tsr_error *err) {
    uint64_t count = 0;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < bucket->count && st == TSR_OK; i++) {
        uint64_t row = order[bucket->begin + i];
        if (query->fine[row] < entry_score(query)) continue;
        query->batch[count++] = row;
        if (count < BATCH) continue;
        st = read_batch(query, count, stats, err);
        count = 0;
    }
    return st == TSR_OK ? read_batch(query, count, stats, err) : st;
}

/* What the best bounds left over: hardly anything, or so much that order costs more than it saves. */
static tsr_status escalate_rest(struct query *query, tsr_search_stats *stats, tsr_error *err) {
    uint64_t count = 0;
    tsr_status st = TSR_OK;
    for (uint64_t r = 0; r < query->search->rows && st == TSR_OK; r++) {
        if (!(query->fine[r] >= entry_score(query))) continue;
        query->batch[count++] = r;
        if (count < BATCH) continue;
        st = read_batch(query, count, stats, err);
        count = 0;
    }
    return st == TSR_OK ? read_batch(query, count, stats, err) : st;
}

static tsr_status escalate(struct query *query, tsr_search_stats *stats, tsr_error *err) {
    const tsr_host *host = query->decoder->host;
    struct bucket *buckets = host->alloc(host, BUCKETS * sizeof *buckets);
    uint64_t *order = host->alloc(host, query->search->rows * sizeof *order);
    tsr_status st = TSR_OK;
    if (!buckets || !order) {
        st = tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory for a query");
        goto done;
    }
    for (uint64_t b = 0; b < BUCKETS; b++) buckets[b] = (struct bucket){0, 0, -HUGE_VAL};
    fill_buckets(query, buckets, order);
    for (uint64_t b = 0; b < BUCKETS && st == TSR_OK && stats->escalated < query->search->rows / SORTED_SHARE; b++) {
        if (!buckets[b].count || buckets[b].high < entry_score(query)) continue;
        st = escalate_bucket(query, &buckets[b], order, stats, err);
    }
    if (st == TSR_OK && host->cancelled(host)) st = tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    if (st == TSR_OK) st = escalate_rest(query, stats, err);
done:
    host->free(host, buckets);
    host->free(host, order);
    return st;
}

/* ---- what was done ---- */

static void count_rows(const struct query *query, tsr_search_stats *stats) {
    double entry = entry_score(query);
    for (uint64_t r = 0; r < query->search->rows; r++) {
        if (isnan(query->fine[r])) continue;
        stats->composed += query->fine != query->upper && query->upper[r] >= entry;
        stats->skipped += !(query->fine != query->upper && query->upper[r] >= entry);
    }
}

/* True when intervals alone say which rows win and in which order; the hits are in `best` then. */
static bool attend(struct query *query, tsr_search_stats *stats) {
    double entry = entry_score(query);
    uint64_t count = 0;
    if (query->best.top == 0 || query->best.top > BATCH) return false;
    for (uint64_t r = 0; r < query->search->rows && count <= query->best.top; r++) {
        if (query->upper[r] >= entry && query->fine[r] >= entry && ++count <= query->best.top) query->batch[count - 1] = r;
    }
    if (count != query->best.top) return false;
    for (uint64_t i = 0; i < count; i++) hhtld_best_add(&query->best, query->fine[query->batch[i]], query->batch[i]);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t row = query->best.rows[i];
        double low = leaf_interval(query, row).low;
        if (query->fine != query->upper) low = fmax(low, lane_interval(query, row).low);
        if (i + 1 < count ? !(low > query->best.scores[i + 1]) : !(low > -HUGE_VAL)) {
            query->best.count = 0;
            return false;
        }
    }
    stats->attended = count;
    stats->skipped = query->search->rows - count;
    return true;
}

static tsr_status run(struct query *query, bool scores, tsr_search_stats *stats, tsr_error *err) {
    tsr_status st = TSR_OK;
    measure_query(query);
    bound_all(query);
    if (query->fine != query->upper && query->request->kind == TSR_SEARCH_INNER) {
        st = measure_lanes(query, err);
        if (st == TSR_OK) compose_all(query);
    } else if (query->fine != query->upper) {
        memcpy(query->fine, query->upper, query->search->rows * sizeof *query->fine);
    }
    if (st != TSR_OK || (!scores && attend(query, stats))) return st;
    st = escalate(query, stats, err);
    if (st == TSR_OK) count_rows(query, stats);
    return st;
}

tsr_status hhtld_search_run(const struct hhtld_decoder *decoder, void *self, const tsr_search_request *request,
                            uint64_t *rows, double *score, uint64_t *found, tsr_search_stats *stats, tsr_error *err) {
    struct query query = {.decoder = decoder, .search = self, .request = request};
    tsr_search_stats counts = {.struct_size = sizeof counts};
    tsr_status st = query_init(&query, err);
    if (st != TSR_OK) return st;
    st = run(&query, score != NULL, &counts, err);
    if (st == TSR_OK) {
        *found = query.best.count;
        memcpy(rows, query.best.rows, query.best.count * sizeof *rows);
        if (score) memcpy(score, query.best.scores, query.best.count * sizeof *score);
        if (stats) *stats = counts;
    }
    decoder->host->free(decoder->host, query.memory);
    return st;
}
