/* SPDX-License-Identifier: Apache-2.0
 *
 * For rows of length 1, |a - b|^2 = 2 - 2 cos, and any part of that sum is less than the whole (partial distances; Cheng,
 * Gersho, Ramamurthi, Shoham 1984). So the columns with the largest variance, a few at a time, rule out nearly every
 * pair, and the exact cosine is computed for the rest. The bound is widened by more than F32 rounds away. */
#include "search_duplicates.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <math.h>
#include <numeric/score.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEAD = 64,  /* columns that are looked at before the exact cosine */
    STEP = 8,   /* of them at a time */
    BLOCK = 256 /* rows */
};

#define ROUNDING 1e-5

struct screening {
    const struct search_rows *rows;
    const struct env *env;
    double cosine;
    float limit;     /* of the partial distance */
    uint64_t head;   /* columns per row in heads; a multiple of STEP, filled up with zeros */
    float *heads;    /* [rows][head] of rows of length 1; NaN: in no pair */
    uint64_t *columns; /* [head] */
    double *norms;   /* [rows] */
    uint64_t blocks;
    struct search_pairs *found; /* [blocks], each block's own */
    uint64_t limit_pairs;
};

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for near-duplicates");
}

/* ---- heads ---- */

struct column {
    double spread;
    uint64_t index;
};

static int compare_columns(const void *a, const void *b) {
    const struct column *x = a, *y = b;
    if (x->spread != y->spread) return x->spread < y->spread ? 1 : -1;
    return x->index > y->index ? 1 : -1;
}

static double norm_of(const float *row, uint64_t columns) {
    double square = score_kernels()->inner(row, row, columns);
    return square < HUGE_VAL && square > 0 ? sqrt(square) : NAN;
}

/* Norms of all rows; columns by their spread over rows of length 1. */
static tsr_status measure(struct screening *s, tsr_error *err) {
    const uint64_t columns = s->rows->columns;
    struct column *order = mem_alloc_zero(columns, sizeof *order);
    double *means = mem_alloc_zero(columns, sizeof *means);
    float *row = mem_alloc_array(columns, sizeof *row);
    tsr_status st = order && means && row ? TSR_OK : no_memory(err);
    for (uint64_t c = 0; st == TSR_OK && c < columns; c++) order[c].index = c;
    for (uint64_t r = 0; st == TSR_OK && r < s->rows->rows; r++) {
        search_rows_get(s->rows, r, row);
        s->norms[r] = norm_of(row, columns);
        for (uint64_t c = 0; c < columns && !isnan(s->norms[r]); c++) {
            double value = (double)row[c] / s->norms[r];
            means[c] += value;
            order[c].spread += value * value;
        }
    }
    for (uint64_t c = 0; st == TSR_OK && c < columns; c++) {
        order[c].spread -= means[c] * means[c] / (double)max_u64(s->rows->rows, 1);
    }
    if (st == TSR_OK) qsort(order, (size_t)columns, sizeof *order, compare_columns);
    for (uint64_t c = 0; st == TSR_OK && c < s->head && c < columns; c++) s->columns[c] = order[c].index;
    mem_free(order);
    mem_free(means);
    mem_free(row);
    return st;
}

static tsr_status fill_heads(struct screening *s, tsr_error *err) {
    const uint64_t columns = s->rows->columns;
    float *row = mem_alloc_array(columns, sizeof *row);
    if (!row) return no_memory(err);
    for (uint64_t r = 0; r < s->rows->rows; r++) {
        float *head = s->heads + r * s->head;
        search_rows_get(s->rows, r, row);
        for (uint64_t c = 0; c < s->head; c++) {
            head[c] = c < columns ? (float)((double)row[s->columns[c]] / s->norms[r]) : 0;
        }
        if (isnan(s->norms[r])) head[0] = NAN;
    }
    mem_free(row);
    return TSR_OK;
}

/* ---- pairs ---- */

static tsr_status keep(struct search_pairs *pairs, const struct search_pair *pair, tsr_error *err) {
    pairs->count++;
    if (pairs->kept == pairs->limit) return TSR_OK;
    if ((pairs->kept & (pairs->kept - 1)) == 0) { /* grows at powers of two */
        struct search_pair *items = mem_resize(pairs->items, max_u64(2 * pairs->kept, 1), sizeof *items);
        if (!items) return no_memory(err);
        pairs->items = items;
    }
    pairs->items[pairs->kept++] = *pair;
    return TSR_OK;
}

static bool may_be_near(const float *a, const float *b, uint64_t head, float limit) {
    float sum = 0;
    for (uint64_t c = 0; c < head; c += STEP) {
        for (uint64_t i = c; i < c + STEP; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
        if (!(sum <= limit)) return false;
    }
    return true;
}

static tsr_status compare_rows(const struct screening *s, uint64_t a, const float *row_a, uint64_t b, float *row_b,
                               struct search_pairs *pairs, tsr_error *err) {
    search_rows_get(s->rows, b, row_b);
    pairs->compared++;
    double product = score_kernels()->inner(row_a, row_b, s->rows->columns);
    struct search_pair pair = {a, b, product / (s->norms[a] * s->norms[b])};
    return pair.cosine >= s->cosine ? keep(pairs, &pair, err) : TSR_OK;
}

static tsr_status screen_block(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct screening *s = ctx;
    const uint64_t rows = s->rows->rows, columns = s->rows->columns, end = min_u64((index + 1) * BLOCK, rows);
    struct search_pairs *pairs = &s->found[index];
    float *both = pool_scratch(s->env->pool, worker, 2 * columns * sizeof *both);
    tsr_status st = both ? TSR_OK : no_memory(err);
    pairs->limit = s->limit_pairs;
    if (env_cancelled(s->env)) st = tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    for (uint64_t a = index * BLOCK; a < end && st == TSR_OK; a++) {
        search_rows_get(s->rows, a, both);
        for (uint64_t b = a + 1; b < rows && st == TSR_OK; b++) {
            if (!may_be_near(s->heads + a * s->head, s->heads + b * s->head, s->head, s->limit)) continue;
            st = compare_rows(s, a, both, b, both + columns, pairs, err);
        }
    }
    return st;
}

static tsr_status join(const struct screening *s, struct search_pairs *pairs, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < s->blocks && st == TSR_OK; i++) {
        const struct search_pairs *block = &s->found[i];
        for (uint64_t j = 0; j < block->kept && st == TSR_OK; j++) st = keep(pairs, &block->items[j], err);
        pairs->count += block->count - block->kept;
        pairs->compared += block->compared;
    }
    return st;
}

tsr_status search_duplicates(const struct search_rows *rows, double cosine, const struct env *env,
                             struct search_pairs *pairs, tsr_error *err) {
    struct screening s = {.rows = rows, .env = env, .cosine = cosine, .limit_pairs = pairs->limit};
    s.limit = (float)(2 - 2 * cosine + ROUNDING);
    s.head = min_u64((rows->columns + STEP - 1) / STEP * STEP, HEAD);
    s.blocks = ceil_div(rows->rows, BLOCK);
    s.heads = mem_alloc_array(rows->rows * s.head + 1, sizeof *s.heads);
    s.columns = mem_alloc_zero(s.head + 1, sizeof *s.columns);
    s.norms = mem_alloc_array(rows->rows + 1, sizeof *s.norms);
    s.found = mem_alloc_zero(s.blocks + 1, sizeof *s.found);
    tsr_status st = s.heads && s.columns && s.norms && s.found ? TSR_OK : no_memory(err);
    if (st == TSR_OK && rows->columns) st = measure(&s, err);
    if (st == TSR_OK && rows->columns) st = fill_heads(&s, err);
    if (st == TSR_OK && rows->columns) st = pool_for(env->pool, s.blocks, screen_block, &s, err);
    if (st == TSR_OK) st = join(&s, pairs, err);
    for (uint64_t i = 0; s.found && i < s.blocks; i++) mem_free(s.found[i].items);
    mem_free(s.heads);
    mem_free(s.columns);
    mem_free(s.norms);
    mem_free(s.found);
    return st;
}

void search_pairs_clear(struct search_pairs *pairs) {
    mem_free(pairs->items);
    *pairs = (struct search_pairs){0};
}
