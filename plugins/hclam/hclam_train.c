/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree: k-means into cells, k-means into leaves within each cell, then rounds in which every vector goes to the
 * best leaf that the search finds, in whatever cell, and each leaf moves to the mean of its vectors. */
#include "hclam.h"

enum {
    CELL_ITERATIONS = 20,
    LEAF_ITERATIONS = 10,
    CELL_VECTORS = 1024, /* a cell: enough to find the cells */
    CELL_BALANCE = 4,    /* no cell has less than a quarter of its equal share, so that its leaves have vectors too */
    CHUNK_VECTORS = 1024
};

struct training {
    struct vq *vq;
    const struct vq_sample *sample;
    float *cells;           /* [cells][dim] */
    tsr_codebook *codebook; /* of the cells */
    uint16_t *indices;      /* [2][count]: cell and leaf */
    uint64_t *start;        /* [cells + 1] */
    uint32_t *order;        /* [count]: vectors by cell */
};

/* ---- cells ---- */

/* Every step-th vector, which are as good a sample as all. */
static tsr_status train_cells(struct training *work, tsr_error *err) {
    struct vq *vq = work->vq;
    const struct vq_sample *sample = work->sample;
    const uint64_t dim = vq->shape.dim, k = vq->shape.sizes[0];
    const uint64_t step = sample->count / (CELL_VECTORS * k) + 1, count = (sample->count - 1) / step + 1;
    float *vectors = vq->host->alloc(vq->host, count * dim * sizeof *vectors);
    float *weights = sample->weights ? vq->host->alloc(vq->host, count * dim * sizeof *weights) : NULL;
    tsr_status status = vectors && (weights || !sample->weights) ? TSR_OK : vq_no_memory(vq, err);
    for (uint64_t v = 0; v < count && status == TSR_OK; v++) {
        memcpy(vectors + v * dim, sample->vectors + v * step * dim, (size_t)dim * sizeof *vectors);
        if (weights) memcpy(weights + v * dim, sample->weights + v * step * dim, (size_t)dim * sizeof *weights);
    }
    const tsr_kmeans_job job = {.struct_size = sizeof job,
                                .vectors = vectors,
                                .weights = weights,
                                .count = count,
                                .dim = dim,
                                .k = k,
                                .iterations = CELL_ITERATIONS,
                                .least = count / (CELL_BALANCE * k),
                                .seed = 1};
    if (status == TSR_OK) status = vq->kmeans->train(vq->host, &job, work->cells, err);
    vq->host->free(vq->host, vectors);
    vq->host->free(vq->host, weights);
    return status;
}

static tsr_status assign_chunk(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct training *work = ctx;
    const struct vq *vq = work->vq;
    const uint64_t dim = vq->shape.dim, first = index * CHUNK_VECTORS, left = work->sample->count - first;
    const uint64_t count = left < CHUNK_VECTORS ? left : CHUNK_VECTORS;
    const float *weights = work->sample->weights;
    uint32_t nearest[CHUNK_VECTORS];
    (void)worker, (void)err;
    vq->kmeans->nearest(work->codebook, work->sample->vectors + first * dim, weights ? weights + first * dim : NULL,
                        count, nearest);
    for (uint64_t v = 0; v < count; v++) work->indices[first + v] = (uint16_t)nearest[v];
    return TSR_OK;
}

static tsr_status assign_cells(struct training *work, tsr_error *err) {
    struct vq *vq = work->vq;
    const uint64_t chunks = (work->sample->count + CHUNK_VECTORS - 1) / CHUNK_VECTORS;
    tsr_status status =
        vq->kmeans->codebook_create(vq->host, work->cells, vq->shape.sizes[0], vq->shape.dim, &work->codebook, err);
    if (status == TSR_OK) status = vq->host->parallel_for(vq->host, chunks, assign_chunk, work, err);
    vq->kmeans->codebook_destroy(vq->host, work->codebook);
    return status;
}

/* Counting sort, stable. */
static void sort_by_cell(struct training *work) {
    const uint64_t cells = work->vq->shape.sizes[0], count = work->sample->count;
    memset(work->start, 0, (size_t)(cells + 1) * sizeof *work->start);
    for (uint64_t v = 0; v < count; v++) work->start[work->indices[v] + 1]++;
    for (uint64_t c = 0; c < cells; c++) work->start[c + 1] += work->start[c];
    for (uint64_t v = 0; v < count; v++) work->order[work->start[work->indices[v]]++] = (uint32_t)v;
    for (uint64_t c = cells; c > 0; c--) work->start[c] = work->start[c - 1];
    work->start[0] = 0;
}

/* ---- leaves ---- */

/* An empty cell, which nothing will ask for, gets its mean as every leaf. */
static void fill_cell(const struct training *work, uint64_t cell) {
    const uint64_t dim = work->vq->shape.dim, leaves = work->vq->shape.sizes[1];
    float *words = hclam_leaves(work->vq, cell);
    for (uint64_t j = 0; j < leaves; j++)
        memcpy(words + j * dim, work->cells + cell * dim, (size_t)dim * sizeof *words);
}

static tsr_status train_leaves(void *ctx, uint64_t cell, uint64_t worker, tsr_error *err) {
    const struct training *work = ctx;
    struct vq *vq = work->vq;
    const struct vq_sample *sample = work->sample;
    const uint64_t dim = vq->shape.dim, first = work->start[cell], count = work->start[cell + 1] - first;
    (void)worker;
    if (count == 0) {
        fill_cell(work, cell);
        return TSR_OK;
    }
    float *vectors = vq->host->alloc(vq->host, count * dim * sizeof *vectors);
    float *weights = sample->weights ? vq->host->alloc(vq->host, count * dim * sizeof *weights) : NULL;
    tsr_status status = vectors && (weights || !sample->weights) ? TSR_OK : vq_no_memory(vq, err);
    for (uint64_t m = 0; m < count && status == TSR_OK; m++) {
        const uint64_t v = work->order[first + m];
        memcpy(vectors + m * dim, sample->vectors + v * dim, (size_t)dim * sizeof *vectors);
        if (weights) memcpy(weights + m * dim, sample->weights + v * dim, (size_t)dim * sizeof *weights);
    }
    const tsr_kmeans_job job = {.struct_size = sizeof job,
                                .vectors = vectors,
                                .weights = weights,
                                .count = count,
                                .dim = dim,
                                .k = vq->shape.sizes[1],
                                .iterations = LEAF_ITERATIONS,
                                .seed = cell + 2};
    if (status == TSR_OK) status = vq->kmeans->train(vq->host, &job, hclam_leaves(vq, cell), err);
    vq->host->free(vq->host, vectors);
    vq->host->free(vq->host, weights);
    return status;
}

/* ---- leaves of the whole tree ---- */

/* One cell's leaves to the means of their vectors; a leaf without any stays. */
static tsr_status move_leaves(void *ctx, uint64_t cell, uint64_t worker, tsr_error *err) {
    const struct training *work = ctx;
    const struct vq *vq = work->vq;
    const struct vq_sample *sample = work->sample;
    const uint64_t dim = vq->shape.dim, leaves = vq->shape.sizes[1], values = leaves * dim;
    const uint16_t *leaf = work->indices + sample->count;
    double *sums = vq->host->scratch(vq->host, worker, 2 * values * sizeof *sums), *weights = sums + values;
    float *words = hclam_leaves(vq, cell);
    if (!sums) return vq_no_memory(vq, err);
    memset(sums, 0, (size_t)(2 * values) * sizeof *sums);
    for (uint64_t m = work->start[cell]; m < work->start[cell + 1]; m++) {
        const uint64_t v = work->order[m], to = leaf[v] * dim;
        for (uint64_t i = 0; i < dim; i++) {
            const double weight = sample->weights ? (double)sample->weights[v * dim + i] : 1;
            sums[to + i] += weight * (double)sample->vectors[v * dim + i];
            weights[to + i] += weight;
        }
    }
    for (uint64_t i = 0; i < values; i++) {
        if (weights[i] > 0) words[i] = (float)(sums[i] / weights[i]);
    }
    return TSR_OK;
}

static tsr_status refit(struct training *work, tsr_error *err) {
    struct vq *vq = work->vq;
    tsr_status status = TSR_OK;
    for (uint64_t round = 0; round < vq->settings.refits && status == TSR_OK; round++) {
        status = hclam_open(vq, err);
        if (status == TSR_OK) status = vq_search_all(vq, work->sample, work->indices, err);
        hclam_close(vq);
        if (status != TSR_OK) break;
        sort_by_cell(work);
        status = vq->host->parallel_for(vq->host, vq->shape.sizes[0], move_leaves, work, err);
    }
    return status;
}

static tsr_status train_tree(struct training *work, tsr_error *err) {
    struct vq *vq = work->vq;
    tsr_status status = train_cells(work, err);
    if (status == TSR_OK) status = assign_cells(work, err);
    if (status != TSR_OK) return status;
    sort_by_cell(work);
    status = vq->host->parallel_for(vq->host, vq->shape.sizes[0], train_leaves, work, err);
    if (status == TSR_OK) status = refit(work, err);
    vq_round(vq->words, vq->kind->values(&vq->shape));
    return status;
}

tsr_status hclam_train(struct vq *vq, const struct vq_sample *sample, tsr_error *err) {
    const tsr_host *host = vq->host;
    const uint64_t cells = vq->shape.sizes[0];
    struct training work = {.vq = vq, .sample = sample};
    if (sample->count == 0) {
        memset(vq->words, 0, (size_t)vq->kind->values(&vq->shape) * sizeof(float));
        return TSR_OK;
    }
    work.cells = host->alloc(host, cells * vq->shape.dim * sizeof(float));
    work.indices = host->alloc(host, HCLAM_STREAMS * sample->count * sizeof(uint16_t));
    work.start = host->alloc(host, (cells + 1) * sizeof *work.start);
    work.order = host->alloc(host, sample->count * sizeof *work.order);
    bool got = work.cells && work.indices && work.start && work.order;
    tsr_status status = got ? train_tree(&work, err) : vq_no_memory(vq, err);
    host->free(host, work.cells);
    host->free(host, work.indices);
    host->free(host, work.start);
    host->free(host, work.order);
    return status;
}
