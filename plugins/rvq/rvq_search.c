/* SPDX-License-Identifier: Apache-2.0
 *
 * The indices of vectors: stage by stage the nearest word (beam 1), or the best few sums of words so far, all words of
 * the next stage tried for each of them (beam search, as for additive quantisers: Babenko and Lempitsky 2014). */
#include "rvq.h"

/* One sum of words. */
struct beam {
    uint64_t width, dim;
    float *residual; /* [width][dim] */
    float *base;     /* [width]: half of the squared residual */
    uint16_t *path;  /* [width][VQ_STREAMS_MAX] */
};

static uint64_t aligned(uint64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static uint64_t beam_bytes(const struct vq *vq) {
    return vq->settings.effort * (aligned(vq->shape.dim * sizeof(float)) + sizeof(float) + VQ_STREAMS_MAX * 2) + 192;
}

static struct beam beam_at(const struct vq *vq, uint8_t *memory) {
    const uint64_t width = vq->settings.effort, residuals = aligned(width * vq->shape.dim * sizeof(float));
    return (struct beam){width, vq->shape.dim, (float *)(void *)memory, (float *)(void *)(memory + residuals),
                         (uint16_t *)(void *)(memory + residuals + aligned(width * sizeof(float)))};
}

uint64_t rvq_search_bytes(const struct vq *vq, uint64_t count) {
    const uint64_t greedy = aligned(count * vq->shape.dim * sizeof(float)) + count * sizeof(uint32_t);
    const uint64_t both = 2 * aligned(beam_bytes(vq));
    return vq->settings.effort > 1 ? both : greedy;
}

/* ---- one word at a time ---- */

static void search_greedy(const struct vq *vq, const struct vq_query *query, uint8_t *memory) {
    const struct rvq_search *search = vq->search;
    const uint64_t dim = vq->shape.dim, count = query->count;
    float *residual = (float *)(void *)memory;
    uint32_t *nearest = (uint32_t *)(void *)(memory + aligned(count * dim * sizeof(float)));
    memcpy(residual, query->vectors, (size_t)(count * dim) * sizeof *residual);
    for (uint32_t s = 0; s < vq->shape.streams; s++) {
        const float *words = rvq_stage(vq, s);
        vq->kmeans->nearest(search->stages[s], residual, query->weights, count, nearest);
        for (uint64_t v = 0; v < count; v++) {
            const float *word = words + nearest[v] * dim;
            query->indices[s * query->stride + v] = (uint16_t)nearest[v];
            for (uint64_t i = 0; i < dim; i++) residual[v * dim + i] -= word[i];
        }
    }
}

/* ---- several sums at a time ---- */

static float half_square(const float *x, const float *weights, uint64_t dim) {
    float sum = 0;
    for (uint64_t i = 0; i < dim; i++) sum += (weights ? weights[i] * x[i] : x[i]) * (0.5f * x[i]);
    return sum;
}

/* One stage further: from `count` sums to the best of their continuations. Returns how many. */
static uint64_t extend(const struct vq *vq, uint32_t stage, const struct beam *from, uint64_t count,
                       const float *weights, const struct beam *to) {
    const struct rvq_search *search = vq->search;
    const uint64_t dim = from->dim, wanted = stage + 1 == vq->shape.streams ? 1 : from->width;
    const float *words = rvq_stage(vq, stage);
    tsr_candidate best[RVQ_BEAM_MAX];
    for (uint64_t b = 0; b < count; b++) from->base[b] = half_square(from->residual + b * dim, weights, dim);
    const uint64_t found =
        vq->kmeans->best(search->stages[stage], from->residual, weights, from->base, count, wanted, best);
    for (uint64_t b = 0; b < found; b++) {
        const float *residual = from->residual + best[b].vector * dim, *word = words + best[b].word * dim;
        for (uint64_t i = 0; i < dim; i++) to->residual[b * dim + i] = residual[i] - word[i];
        memcpy(to->path + b * VQ_STREAMS_MAX, from->path + best[b].vector * VQ_STREAMS_MAX, VQ_STREAMS_MAX * 2);
        to->path[b * VQ_STREAMS_MAX + stage] = (uint16_t)best[b].word;
    }
    return found;
}

static void search_beam(const struct vq *vq, const struct vq_query *query, uint8_t *memory) {
    const uint64_t dim = vq->shape.dim;
    struct beam beams[2] = {beam_at(vq, memory), beam_at(vq, memory + aligned(beam_bytes(vq)))};
    for (uint64_t v = 0; v < query->count; v++) {
        const float *weights = query->weights ? query->weights + v * query->weight_stride : NULL;
        uint64_t count = 1;
        memcpy(beams[0].residual, query->vectors + v * dim, (size_t)dim * sizeof(float));
        memset(beams[0].path, 0, VQ_STREAMS_MAX * 2);
        for (uint32_t s = 0; s < vq->shape.streams; s++) {
            count = extend(vq, s, &beams[s % 2], count, weights, &beams[(s + 1) % 2]);
        }
        const uint16_t *path = beams[vq->shape.streams % 2].path;
        for (uint32_t s = 0; s < vq->shape.streams; s++) query->indices[s * query->stride + v] = path[s];
    }
}

void rvq_search(const struct vq *vq, const struct vq_query *query, void *scratch) {
    if (vq->settings.effort > 1)
        search_beam(vq, query, scratch);
    else
        search_greedy(vq, query, scratch);
}

/* ---- codebooks ---- */

tsr_status rvq_open(struct vq *vq, tsr_error *err) {
    struct rvq_search *search = vq->host->alloc(vq->host, sizeof *search);
    tsr_status status = TSR_OK;
    if (!search) return vq_no_memory(vq, err);
    memset(search, 0, sizeof *search);
    vq->search = search;
    for (uint32_t s = 0; s < vq->shape.streams && status == TSR_OK; s++) {
        status = vq->kmeans->codebook_create(vq->host, rvq_stage(vq, s), vq->shape.sizes[s], vq->shape.dim,
                                             &search->stages[s], err);
    }
    return status;
}

void rvq_close(struct vq *vq) {
    struct rvq_search *search = vq->search;
    for (uint32_t s = 0; search && s < VQ_STREAMS_MAX; s++) vq->kmeans->codebook_destroy(vq->host, search->stages[s]);
    vq->host->free(vq->host, search);
    vq->search = NULL;
}

void rvq_reconstruct(const struct vq *vq, const uint16_t *indices, uint64_t stride, uint64_t count, uint32_t streams,
                     float *out) {
    const uint64_t dim = vq->shape.dim;
    const float *words = vq->words;
    for (uint64_t v = 0; v < count; v++) memcpy(out + v * dim, words + indices[v] * dim, (size_t)dim * sizeof *out);
    for (uint32_t s = 1; s < streams; s++) {
        words += vq->shape.sizes[s - 1] * dim;
        indices += stride;
        for (uint64_t v = 0; v < count; v++) {
            const float *word = words + indices[v] * dim;
            float *to = out + v * dim;
            for (uint64_t i = 0; i < dim; i++) to[i] += word[i];
        }
    }
}
