/* SPDX-License-Identifier: Apache-2.0
 *
 * Lloyd's iteration. Vectors are assigned in chunks and sorted by cell, so that each cell adds up its own in ascending
 * order: nothing depends on how many workers there are. */
#include "kmeans_search.h"

#include <base/checked.h>
#include <base/rng.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_VECTORS = 1024,
    CHUNK_CELLS = 64,
    SEED_WORDS_MAX = 4096, /* above, starting from vectors at random is nearly as good, and k-means++ takes k^2 */
    SEED_VECTORS = 32      /* a word, for k-means++ */
};

struct training {
    const tsr_host *host;
    const tsr_kmeans_job *job;
    float *words;           /* [k][dim] */
    tsr_codebook *codebook; /* of the words */
    uint32_t *cell;         /* [count] of each vector */
    uint64_t *start;        /* [k + 1]: members of cell j are order[start[j] .. start[j + 1]) */
    uint32_t *order;        /* [count] */
    double *error;          /* [k] */
    uint32_t *farthest;     /* [k]: member with the largest error */
    uint64_t *moved;        /* [chunks]: vectors that changed their cell */
};

/* ---- start ---- */

/* Vectors spread over the whole job, one at random from each stratum. */
static uint64_t stratum_pick(struct rng *rng, uint64_t count, uint64_t strata, uint64_t index) {
    uint64_t first = (uint64_t)((rng_wide)count * index / strata);
    uint64_t next = (uint64_t)((rng_wide)count * (index + 1) / strata);
    return first + rng_below(rng, next - first);
}

static void copy_word(struct training *work, uint64_t word, uint64_t vector) {
    const uint64_t dim = work->job->dim;
    memcpy(work->words + word * dim, work->job->vectors + vector * dim, (size_t)dim * sizeof(float));
}

static double vector_weight(const tsr_kmeans_job *job, uint64_t vector) {
    double sum = 0;
    if (!job->weights) return 1;
    for (uint64_t i = 0; i < job->dim; i++) sum += (double)job->weights[vector * job->dim + i];
    return sum;
}

/* Of the sample that k-means++ draws from. */
struct seeding {
    uint64_t count;
    uint64_t *vector;       /* [count] */
    float *sample;          /* [count][dim] */
    float *weight;          /* [count] */
    float *distance;        /* [count]: weighted, to the nearest word so far */
    tsr_codebook *codebook; /* of the sample: the words so far are searched for in it */
};

/* Lowers the distances by a new word: a block of the sample's scores at a time. */
static void seeding_add(struct seeding *seeding, const float *word) {
    float scores[1][KMEANS_GROUPS * KMEANS_LANES];
    const struct kmeans_kernels *kernels = kmeans_kernels_best();
    const uint64_t dim = seeding->codebook->dim, groups = seeding->codebook->groups;
    float half = 0; /* of the word's squared norm */
    for (uint64_t i = 0; i < dim; i++) half += (0.5f * word[i]) * word[i];
    for (uint64_t g = 0; g < groups; g += KMEANS_GROUPS) {
        uint64_t first = g * KMEANS_LANES, some = min_u64(KMEANS_GROUPS, groups - g);
        struct kmeans_block block = {.codebook = seeding->codebook,
                                     .vectors = word,
                                     .base = &half,
                                     .count = 1,
                                     .first_group = g,
                                     .groups = some,
                                     .scores = scores};
        kernels->score(&block);
        for (uint64_t j = 0; j < some * KMEANS_LANES && first + j < seeding->count; j++) {
            float distance = scores[0][j];
            distance = distance > 0 ? distance * seeding->weight[first + j] : 0;
            if (distance < seeding->distance[first + j]) seeding->distance[first + j] = distance;
        }
    }
}

/* A vector of the sample with probability proportional to its distance; the first one with probability 1/count. */
static uint64_t seeding_draw(const struct seeding *seeding, struct rng *rng, bool first) {
    double total = 0;
    if (first) return rng_below(rng, seeding->count);
    for (uint64_t v = 0; v < seeding->count; v++) total += (double)seeding->distance[v];
    double at = rng_real(rng) * total;
    for (uint64_t v = 0; v < seeding->count; v++) {
        at -= (double)seeding->distance[v];
        if (at < 0) return v;
    }
    return rng_below(rng, seeding->count);
}

static void seeding_clear(const tsr_host *host, struct seeding *seeding) {
    host->free(host, seeding->vector);
    host->free(host, seeding->sample);
    host->free(host, seeding->weight);
    host->free(host, seeding->distance);
    kmeans_codebook_destroy(host, seeding->codebook);
}

static tsr_status seeding_init(struct seeding *seeding, const struct training *work, struct rng *rng, tsr_error *err) {
    const tsr_host *host = work->host;
    const tsr_kmeans_job *job = work->job;
    const uint64_t count = min_u64(min_u64(job->count, SEED_VECTORS * job->k), TSR_KMEANS_K_MAX), dim = job->dim;
    seeding->count = count;
    seeding->vector = host->alloc(host, count * sizeof *seeding->vector);
    seeding->sample = host->alloc(host, count * dim * sizeof(float));
    seeding->weight = host->alloc(host, count * sizeof(float));
    seeding->distance = host->alloc(host, count * sizeof(float));
    if (!seeding->vector || !seeding->sample || !seeding->weight || !seeding->distance) {
        return tsr_fail(err, TSR_E_NOMEM, "k-means: no memory for its start");
    }
    for (uint64_t v = 0; v < count; v++) {
        uint64_t vector = stratum_pick(rng, job->count, count, v);
        seeding->vector[v] = vector;
        seeding->weight[v] = (float)vector_weight(job, vector);
        seeding->distance[v] = 0x1p127f;
        memcpy(seeding->sample + v * dim, job->vectors + vector * dim, (size_t)dim * sizeof(float));
    }
    return kmeans_codebook_create(host, seeding->sample, count, dim, &seeding->codebook, err);
}

static tsr_status seed_plus_plus(struct training *work, struct rng *rng, tsr_error *err) {
    struct seeding seeding = {0};
    tsr_status status = seeding_init(&seeding, work, rng, err);
    for (uint64_t j = 0; status == TSR_OK && j < work->job->k; j++) {
        uint64_t v = seeding_draw(&seeding, rng, j == 0);
        copy_word(work, j, seeding.vector[v]);
        seeding_add(&seeding, work->words + j * work->job->dim);
        if (work->host->cancelled(work->host)) status = tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    }
    seeding_clear(work->host, &seeding);
    return status;
}

static tsr_status seed(struct training *work, tsr_error *err) {
    const tsr_kmeans_job *job = work->job;
    struct rng rng = {job->seed};
    if (job->k <= SEED_WORDS_MAX) return seed_plus_plus(work, &rng, err);
    for (uint64_t j = 0; j < job->k; j++) copy_word(work, j, stratum_pick(&rng, job->count, job->k, j));
    return TSR_OK;
}

/* ---- iteration ---- */

static tsr_status assign_chunk(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct training *work = ctx;
    const tsr_kmeans_job *job = work->job;
    const uint64_t first = index * CHUNK_VECTORS, count = min_u64(CHUNK_VECTORS, job->count - first);
    uint32_t nearest[CHUNK_VECTORS];
    (void)worker;
    if (work->host->cancelled(work->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    kmeans_nearest_by(kmeans_kernels_best(), work->codebook, job->vectors + first * job->dim,
                      job->weights ? job->weights + first * job->dim : NULL, count, nearest);
    work->moved[index] = 0;
    for (uint64_t v = 0; v < count; v++) work->moved[index] += nearest[v] != work->cell[first + v];
    memcpy(work->cell + first, nearest, (size_t)count * sizeof *nearest);
    return TSR_OK;
}

static tsr_status assign(struct training *work, uint64_t *moved, tsr_error *err) {
    const uint64_t chunks = ceil_div(work->job->count, CHUNK_VECTORS);
    kmeans_codebook_set(work->codebook, work->words);
    tsr_status status = work->host->parallel_for(work->host, chunks, assign_chunk, work, err);
    *moved = 0;
    for (uint64_t i = 0; status == TSR_OK && i < chunks; i++) *moved += work->moved[i];
    return status;
}

/* Counting sort, stable. */
static void sort_by_cell(struct training *work) {
    const uint64_t k = work->job->k, count = work->job->count;
    memset(work->start, 0, (size_t)(k + 1) * sizeof *work->start);
    for (uint64_t v = 0; v < count; v++) work->start[work->cell[v] + 1]++;
    for (uint64_t j = 0; j < k; j++) work->start[j + 1] += work->start[j];
    for (uint64_t v = 0; v < count; v++) work->order[work->start[work->cell[v]]++] = (uint32_t)v;
    for (uint64_t j = k; j > 0; j--) work->start[j] = work->start[j - 1];
    work->start[0] = 0;
}

/* The mean of a cell in dimension i; an empty one keeps its word. */
static void update_mean(struct training *work, uint64_t cell, uint64_t i) {
    const tsr_kmeans_job *job = work->job;
    double sum = 0, weights = 0;
    for (uint64_t m = work->start[cell]; m < work->start[cell + 1]; m++) {
        uint64_t at = work->order[m] * job->dim + i;
        double weight = job->weights ? (double)job->weights[at] : 1;
        sum += weight * (double)job->vectors[at];
        weights += weight;
    }
    if (weights > 0) work->words[cell * job->dim + i] = (float)(sum / weights);
}

static double vector_error(const struct training *work, uint64_t vector, const float *word) {
    const tsr_kmeans_job *job = work->job;
    double error = 0;
    for (uint64_t i = 0; i < job->dim; i++) {
        double difference = (double)job->vectors[vector * job->dim + i] - (double)word[i];
        error += difference * difference * (job->weights ? (double)job->weights[vector * job->dim + i] : 1);
    }
    return error;
}

static tsr_status update_chunk(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct training *work = ctx;
    const uint64_t first = index * CHUNK_CELLS, end = min_u64(first + CHUNK_CELLS, work->job->k);
    (void)worker, (void)err;
    for (uint64_t cell = first; cell < end; cell++) {
        for (uint64_t i = 0; i < work->job->dim; i++) update_mean(work, cell, i);
    }
    return TSR_OK;
}

/* What a repair needs to know of the cells. */
static tsr_status error_chunk(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct training *work = ctx;
    const uint64_t first = index * CHUNK_CELLS, end = min_u64(first + CHUNK_CELLS, work->job->k);
    (void)worker, (void)err;
    for (uint64_t cell = first; cell < end; cell++) {
        double most = -1;
        work->error[cell] = 0;
        work->farthest[cell] = 0;
        for (uint64_t m = work->start[cell]; m < work->start[cell + 1]; m++) {
            double error = vector_error(work, work->order[m], work->words + cell * work->job->dim);
            work->error[cell] += error;
            if (error > most) {
                most = error;
                work->farthest[cell] = work->order[m];
            }
        }
    }
    return TSR_OK;
}

struct weighed_cell {
    double error;
    uint32_t cell, reserved;
};

static int by_falling_error(const void *a, const void *b) {
    const struct weighed_cell *x = a, *y = b;
    if (x->error != y->error) return x->error > y->error ? -1 : 1;
    return x->cell < y->cell ? -1 : x->cell > y->cell;
}

/* Starved cells move to the vectors that the heaviest cells serve worst, one from each. */
static tsr_status repair(struct training *work, tsr_error *err) {
    const uint64_t k = work->job->k, least = max_u64(work->job->least, 1);
    uint64_t starved = 0, next = 0;
    for (uint64_t j = 0; j < k; j++) starved += work->start[j + 1] - work->start[j] < least;
    if (starved == 0) return TSR_OK;
    tsr_status status = work->host->parallel_for(work->host, ceil_div(k, CHUNK_CELLS), error_chunk, work, err);
    if (status != TSR_OK) return status;
    struct weighed_cell *cells = work->host->alloc(work->host, k * sizeof *cells);
    if (!cells) return tsr_fail(err, TSR_E_NOMEM, "k-means: no memory for a repair");
    for (uint64_t j = 0; j < k; j++) cells[j] = (struct weighed_cell){work->error[j], (uint32_t)j, 0};
    qsort(cells, (size_t)k, sizeof *cells, by_falling_error);
    for (uint64_t j = 0; j < k; j++) {
        if (work->start[j + 1] - work->start[j] >= least) continue;
        const struct weighed_cell *from = &cells[next++];
        uint64_t members = work->start[from->cell + 1] - work->start[from->cell];
        if (next >= k || from->error <= 0 || members <= least) break;
        copy_word(work, j, work->farthest[from->cell]);
    }
    work->host->free(work->host, cells);
    return TSR_OK;
}

static tsr_status iterate(struct training *work, tsr_error *err) {
    const uint64_t cell_chunks = ceil_div(work->job->k, CHUNK_CELLS);
    tsr_status status = TSR_OK;
    for (uint64_t i = 0; status == TSR_OK && i < work->job->iterations; i++) {
        uint64_t moved = 0;
        status = assign(work, &moved, err);
        if (status != TSR_OK || (moved == 0 && i > 0)) break;
        sort_by_cell(work);
        status = work->host->parallel_for(work->host, cell_chunks, update_chunk, work, err);
        /* The last words are means: nothing would put right what a repair leaves behind. */
        if (status == TSR_OK && i + 1 < work->job->iterations) status = repair(work, err);
    }
    return status;
}

static tsr_status training_init(struct training *work, tsr_error *err) {
    const tsr_host *host = work->host;
    const tsr_kmeans_job *job = work->job;
    work->cell = host->alloc(host, job->count * sizeof *work->cell);
    work->start = host->alloc(host, (job->k + 1) * sizeof *work->start);
    work->order = host->alloc(host, job->count * sizeof *work->order);
    work->error = host->alloc(host, job->k * sizeof *work->error);
    work->farthest = host->alloc(host, job->k * sizeof *work->farthest);
    work->moved = host->alloc(host, ceil_div(job->count, CHUNK_VECTORS) * sizeof *work->moved);
    if (!work->cell || !work->start || !work->order || !work->error || !work->farthest || !work->moved) {
        return tsr_fail(err, TSR_E_NOMEM, "k-means: no memory for %llu vectors", (unsigned long long)job->count);
    }
    memset(work->cell, 0, (size_t)job->count * sizeof *work->cell);
    return TSR_OK;
}

static void training_clear(struct training *work) {
    const tsr_host *host = work->host;
    host->free(host, work->cell);
    host->free(host, work->start);
    host->free(host, work->order);
    host->free(host, work->error);
    host->free(host, work->farthest);
    host->free(host, work->moved);
    kmeans_codebook_destroy(host, work->codebook);
}

static tsr_status check(const tsr_kmeans_job *job, tsr_error *err) {
    if (job->k >= 1 && job->k <= TSR_KMEANS_K_MAX && job->dim >= 1 && job->count < UINT32_MAX) return TSR_OK;
    return tsr_fail(err, TSR_E_ARGUMENT, "k-means: %llu words, %llu vectors of %llu", (unsigned long long)job->k,
                    (unsigned long long)job->count, (unsigned long long)job->dim);
}

tsr_status kmeans_train(const tsr_host *host, const tsr_kmeans_job *job, float *words, tsr_error *err) {
    struct training work = {.host = host, .job = job, .words = words};
    tsr_status status = check(job, err);
    if (status != TSR_OK) return status;
    if (job->count <= job->k) {
        const uint64_t used = job->count * job->dim, all = job->k * job->dim;
        memcpy(words, job->vectors, (size_t)used * sizeof *words);
        memset(words + used, 0, (size_t)(all - used) * sizeof *words);
        return TSR_OK;
    }
    status = training_init(&work, err);
    if (status == TSR_OK) status = seed(&work, err);
    if (status == TSR_OK) status = kmeans_codebook_create(host, words, job->k, job->dim, &work.codebook, err);
    if (status == TSR_OK) status = iterate(&work, err);
    training_clear(&work);
    return status;
}
