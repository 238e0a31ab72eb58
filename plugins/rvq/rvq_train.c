/* SPDX-License-Identifier: Apache-2.0
 *
 * The ladder: k-means on what the stages before leave over, then rounds of search and joint least squares, in which all
 * words of all stages move at once towards what they are used for together. */
#include "rvq.h"

enum {
    LLOYD_ITERATIONS = 20,
    CHUNK_VECTORS = 1024,
    SWEEPS = 6 /* of Gauss-Seidel over the stages: the normal equations of the words are nearly diagonal */
};

struct training {
    struct vq *vq;
    const struct vq_sample *sample;
    float *residual; /* [count][dim] after the stages so far */
    tsr_codebook *codebook;
    uint32_t stage;
    uint16_t *indices; /* [streams][count] */
};

/* ---- stage by stage ---- */

static tsr_status subtract_chunk(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct training *work = ctx;
    const struct vq *vq = work->vq;
    const uint64_t dim = vq->shape.dim, first = index * CHUNK_VECTORS, left = work->sample->count - first;
    const uint64_t count = left < CHUNK_VECTORS ? left : CHUNK_VECTORS;
    const float *words = rvq_stage(vq, work->stage), *weights = work->sample->weights;
    float *residual = work->residual + first * dim;
    uint32_t nearest[CHUNK_VECTORS];
    (void)worker, (void)err;
    vq->kmeans->nearest(work->codebook, residual, weights ? weights + first * dim : NULL, count, nearest);
    for (uint64_t v = 0; v < count; v++) {
        for (uint64_t i = 0; i < dim; i++) residual[v * dim + i] -= words[nearest[v] * dim + i];
    }
    return TSR_OK;
}

static tsr_status train_stage(struct training *work, tsr_error *err) {
    struct vq *vq = work->vq;
    float *words = rvq_stage(vq, work->stage);
    const tsr_kmeans_job job = {.struct_size = sizeof job,
                                .vectors = work->residual,
                                .weights = work->sample->weights,
                                .count = work->sample->count,
                                .dim = vq->shape.dim,
                                .k = vq->shape.sizes[work->stage],
                                .iterations = LLOYD_ITERATIONS,
                                .seed = work->stage + 1};
    tsr_status status = vq->kmeans->train(vq->host, &job, words, err);
    if (status != TSR_OK) return status;
    vq_round(words, job.k * job.dim);
    status = vq->kmeans->codebook_create(vq->host, words, job.k, job.dim, &work->codebook, err);
    if (status != TSR_OK) return status;
    const uint64_t chunks = (job.count + CHUNK_VECTORS - 1) / CHUNK_VECTORS;
    status = vq->host->parallel_for(vq->host, chunks, subtract_chunk, work, err);
    vq->kmeans->codebook_destroy(vq->host, work->codebook);
    work->codebook = NULL;
    return status;
}

static tsr_status train_ladder(struct training *work, tsr_error *err) {
    struct vq *vq = work->vq;
    const uint64_t numbers = work->sample->count * vq->shape.dim;
    tsr_status status = TSR_OK;
    memcpy(work->residual, work->sample->vectors, (size_t)numbers * sizeof(float));
    for (work->stage = 0; work->stage < vq->shape.streams && status == TSR_OK; work->stage++) {
        status = train_stage(work, err);
    }
    return status;
}

/* ---- least squares ---- */

/* Sums of one dimension, by word. */
struct column {
    float *residual; /* [count] */
    double *sum, *weight;
};

/* Moves the words of one stage to the weighted mean of what is missing where they are used. */
static void refit_stage(const struct training *work, uint32_t stage, uint64_t i, const struct column *column) {
    const struct vq *vq = work->vq;
    const uint64_t count = work->sample->count, dim = vq->shape.dim, k = vq->shape.sizes[stage];
    const uint16_t *indices = work->indices + stage * count;
    const float *weights = work->sample->weights;
    float *words = rvq_stage(vq, stage);
    memset(column->sum, 0, (size_t)k * sizeof(double));
    memset(column->weight, 0, (size_t)k * sizeof(double));
    for (uint64_t v = 0; v < count; v++) {
        double weight = weights ? (double)weights[v * dim + i] : 1;
        column->sum[indices[v]] += weight * (double)column->residual[v];
        column->weight[indices[v]] += weight;
    }
    for (uint64_t j = 0; j < k; j++) {
        column->sum[j] = column->weight[j] > 0 ? column->sum[j] / column->weight[j] : 0;
        words[j * dim + i] += (float)column->sum[j];
    }
    for (uint64_t v = 0; v < count; v++) column->residual[v] -= (float)column->sum[indices[v]];
}

/* Dimensions do not meet in the normal equations: each is a task of its own. */
static tsr_status refit_dimension(void *ctx, uint64_t i, uint64_t worker, tsr_error *err) {
    const struct training *work = ctx;
    const struct vq *vq = work->vq;
    const uint64_t count = work->sample->count, dim = vq->shape.dim;
    uint8_t *memory = vq->host->scratch(vq->host, worker, 2 * VQ_SIZE_MAX * sizeof(double) + count * sizeof(float));
    if (!memory) return vq_no_memory(vq, err);
    const struct column column = {(float *)(void *)(memory + 2 * VQ_SIZE_MAX * sizeof(double)),
                                  (double *)(void *)memory, (double *)(void *)memory + VQ_SIZE_MAX};
    for (uint64_t v = 0; v < count; v++) {
        float left = work->sample->vectors[v * dim + i];
        for (uint32_t s = 0; s < vq->shape.streams; s++) {
            left -= rvq_stage(vq, s)[work->indices[s * count + v] * dim + i];
        }
        column.residual[v] = left;
    }
    for (uint32_t sweep = 0; sweep < SWEEPS; sweep++) {
        for (uint32_t s = 0; s < vq->shape.streams; s++) refit_stage(work, s, i, &column);
    }
    return TSR_OK;
}

static tsr_status refit(struct training *work, tsr_error *err) {
    struct vq *vq = work->vq;
    tsr_status status = TSR_OK;
    for (uint64_t round = 0; round < vq->settings.refits && status == TSR_OK; round++) {
        status = rvq_open(vq, err);
        if (status == TSR_OK) status = vq_search_all(vq, work->sample, work->indices, err);
        rvq_close(vq);
        if (status == TSR_OK) status = vq->host->parallel_for(vq->host, vq->shape.dim, refit_dimension, work, err);
    }
    vq_round(vq->words, vq->kind->values(&vq->shape));
    return status;
}

tsr_status rvq_train(struct vq *vq, const struct vq_sample *sample, tsr_error *err) {
    struct training work = {.vq = vq, .sample = sample};
    const uint64_t values = vq->kind->values(&vq->shape), numbers = sample->count * vq->shape.dim;
    if (sample->count == 0) {
        memset(vq->words, 0, (size_t)values * sizeof(float));
        return TSR_OK;
    }
    work.residual = vq->host->alloc(vq->host, numbers * sizeof(float));
    work.indices = vq->host->alloc(vq->host, vq->shape.streams * sample->count * sizeof(uint16_t));
    tsr_status status = work.residual && work.indices ? train_ladder(&work, err) : vq_no_memory(vq, err);
    if (status == TSR_OK && vq->settings.refits) status = refit(&work, err);
    vq->host->free(vq->host, work.residual);
    vq->host->free(vq->host, work.indices);
    return status;
}
