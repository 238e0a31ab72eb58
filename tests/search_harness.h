/* SPDX-License-Identifier: Apache-2.0
 *
 * A signature codec searched without files: an index made by the codec harness, exact scores from the matrix in memory,
 * and the dense search that every result must equal. */
#ifndef TESTS_SEARCH_HARNESS_H
#define TESTS_SEARCH_HARNESS_H

#include "codec_harness.h"

#include <base/rng.h>
#include <math.h>
#include <tessera/ext/signature.h>

struct harness_index {
    struct harness_job *job;
    struct harness_payload payload;
    uint64_t *tile_at;   /* offset of each tile */
    uint64_t raw_tiles;  /* the first so many tiles count as stored raw */
    uint64_t read;       /* rows that were scored */
    const tsr_signature *signature;
    void *self, *search;
};

static double harness_score(const float *row, const float *x, uint64_t columns, int32_t kind) {
    double sum = 0;
    for (uint64_t c = 0; c < columns; c++) {
        double difference = (double)row[c] - (double)x[c];
        sum += kind == TSR_SEARCH_INNER ? (double)row[c] * (double)x[c] : -difference * difference;
    }
    return sum;
}

static int32_t harness_kind; /* of the search that runs */

static tsr_status harness_tile(void *ctx, uint64_t index, tsr_tile *tile, const void **bytes, uint64_t *size,
                               int32_t *raw, tsr_error *err) {
    const struct harness_index *self = ctx;
    (void)err;
    *tile = tile_at(&self->payload.grid, index, 32);
    *bytes = self->payload.bytes + self->tile_at[index];
    *size = self->payload.tile_bytes[index];
    *raw = index < self->raw_tiles;
    return TSR_OK;
}

static tsr_status harness_rows(void *ctx, const uint64_t *rows, uint64_t count, const float *x, double *score,
                               tsr_error *err) {
    struct harness_index *self = ctx;
    const uint64_t columns = self->job->tensor.columns;
    (void)err;
    for (uint64_t i = 0; i < count; i++) {
        score[i] = harness_score(self->job->x + rows[i] * columns, x, columns, harness_kind);
    }
    self->read += count;
    return TSR_OK;
}

/* Encodes and opens; the caller closes, after failure too. */
static inline tsr_status harness_index_open(struct harness_index *self, struct harness_job *job, tsr_error *err) {
    self->job = job;
    tsr_status st = harness_encode(job, &self->payload, err);
    if (st != TSR_OK) return st;
    const tsr_codec_setup setup = {.struct_size = sizeof setup,
                                   .host = &job->host->host,
                                   .tensor = &job->tensor,
                                   .params = job->params,
                                   .header = self->payload.header,
                                   .header_bytes = self->payload.header_bytes,
                                   .bitstream_version = job->codec->bitstream_version,
                                   .decoding = 1};
    const tsr_signature_source source = {sizeof source, self, self->payload.grid.count, harness_tile, harness_rows};
    self->tile_at = mem_alloc_zero(self->payload.grid.count + 1, sizeof *self->tile_at);
    for (uint64_t i = 0; i < self->payload.grid.count; i++) {
        self->tile_at[i + 1] = self->tile_at[i] + self->payload.tile_bytes[i];
    }
    st = job->codec->create(&setup, &self->self, err);
    self->signature = job->codec->get_extension(TSR_SIGNATURE_ID);
    return st == TSR_OK ? self->signature->search_open(self->self, &source, &self->search, err) : st;
}

static inline void harness_index_close(struct harness_index *self) {
    if (self->search) self->signature->search_close(self->self, self->search);
    if (self->self) self->job->codec->destroy(self->self);
    harness_payload_clear(&self->payload);
    mem_free(self->tile_at);
    memset(self, 0, sizeof *self);
}

/* The hits of a search that reads everything; returns their number. */
static inline uint64_t harness_dense(const struct harness_job *job, const tsr_search_request *request, uint64_t *rows,
                                     double *scores) {
    const uint64_t columns = job->tensor.columns;
    uint64_t found = 0;
    for (uint64_t r = 0; r < job->tensor.rows; r++) {
        double score = harness_score(job->x + r * columns, request->x, columns, request->kind);
        uint64_t at = found < request->top ? found : request->top;
        if (isnan(score)) continue;
        while (at && score > scores[at - 1]) at--;
        if (at >= request->top) continue;
        uint64_t last = found < request->top ? found++ : request->top - 1;
        for (; last > at; last--) {
            rows[last] = rows[last - 1];
            scores[last] = scores[last - 1];
        }
        rows[at] = r;
        scores[at] = score;
    }
    return found;
}

/* 1 when the search finds what the dense one does, score by score, and its counts add up. */
static inline int harness_search_is_exact(struct harness_index *self, const float *x, uint64_t top, int32_t kind,
                                          tsr_search_stats *total) {
    const tsr_search_request request = {.struct_size = sizeof request, .x = x, .top = top, .kind = kind};
    uint64_t rows[64], dense_rows[64], found = 0;
    double scores[64], dense_scores[64];
    tsr_search_stats stats = {.struct_size = sizeof stats};
    harness_kind = kind;
    self->read = 0;
    if (self->signature->search(self->self, self->search, &request, rows, scores, &found, &stats, NULL) != TSR_OK)
        return 0;
    uint64_t expected = harness_dense(self->job, &request, dense_rows, dense_scores);
    if (found != expected || memcmp(rows, dense_rows, found * sizeof *rows) ||
        memcmp(scores, dense_scores, found * sizeof *scores))
        return 0;
    total->skipped += stats.skipped;
    total->attended += stats.attended;
    total->composed += stats.composed;
    total->escalated += stats.escalated;
    return self->read == stats.escalated &&
           stats.skipped + stats.attended + stats.composed + stats.escalated == self->job->tensor.rows;
}

/* ---- rows ---- */

enum harness_fill {
    HARNESS_NORMAL,     /* near-orthogonal rows: nothing to skip */
    HARNESS_CLUSTERED,  /* 40 directions of different length, and a tenth of noise */
    HARNESS_DUPLICATES, /* every row several times */
    HARNESS_SCALES,     /* rows from 1e-30 to 1e30 */
    HARNESS_CONSTANT,
    HARNESS_ZERO,
    HARNESS_FILLS
};

static float harness_normal(struct rng *rng) {
    double sum = -6;
    for (int j = 0; j < 12; j++) sum += rng_real(rng);
    return (float)sum;
}

static inline void harness_fill_rows(float *x, uint64_t rows, uint64_t columns, enum harness_fill fill, uint64_t seed) {
    for (uint64_t r = 0; r < rows; r++) {
        struct rng rng = {seed * 7919 + (fill == HARNESS_DUPLICATES ? r % (rows / 3 + 1) : r)};
        struct rng group = {seed * 104729 + r % 40};
        double scale = fill == HARNESS_SCALES ? pow(10, 60 * rng_real(&rng) - 30) : 1;
        double length = 0.5 + rng_real(&group);
        for (uint64_t c = 0; c < columns; c++) {
            double value = (double)harness_normal(&rng) * scale;
            if (fill == HARNESS_CLUSTERED) value = length * (double)harness_normal(&group) + 0.1 * value;
            if (fill == HARNESS_CONSTANT) value = 0.37;
            if (fill == HARNESS_ZERO) value = 0;
            x[r * columns + c] = (float)value;
        }
    }
}

#endif
