/* SPDX-License-Identifier: Apache-2.0
 *
 * The leaf of a vector: the nearest cells by the means of their leaves, then all leaves of these. */
#include "hclam.h"

/* The mean of a cell's leaves in dimension i. */
static float cell_mean(const struct vq *vq, uint64_t cell, uint64_t i) {
    const float *leaves = hclam_leaves(vq, cell);
    const uint64_t count = vq->shape.sizes[1];
    double sum = 0;
    for (uint64_t j = 0; j < count; j++) sum += (double)leaves[j * vq->shape.dim + i];
    return (float)(sum / (double)count);
}

static tsr_status open_cells(struct vq *vq, struct hclam_search *search, tsr_error *err) {
    const uint64_t cells = vq->shape.sizes[0], dim = vq->shape.dim;
    float *means = vq->host->alloc(vq->host, cells * dim * sizeof *means);
    if (!means) return vq_no_memory(vq, err);
    for (uint64_t i = 0; i < cells * dim; i++) means[i] = cell_mean(vq, i / dim, i % dim);
    tsr_status status = vq->kmeans->codebook_create(vq->host, means, cells, dim, &search->cells, err);
    vq->host->free(vq->host, means);
    return status;
}

tsr_status hclam_open(struct vq *vq, tsr_error *err) {
    struct hclam_search *search = vq->host->alloc(vq->host, sizeof *search);
    if (!search) return vq_no_memory(vq, err);
    memset(search, 0, sizeof *search);
    vq->search = search;
    tsr_status status = open_cells(vq, search, err);
    for (uint64_t c = 0; c < vq->shape.sizes[0] && status == TSR_OK; c++) {
        status = vq->kmeans->codebook_create(vq->host, hclam_leaves(vq, c), vq->shape.sizes[1], vq->shape.dim,
                                             &search->leaves[c], err);
    }
    return status;
}

void hclam_close(struct vq *vq) {
    struct hclam_search *search = vq->search;
    if (!search) return;
    vq->kmeans->codebook_destroy(vq->host, search->cells);
    for (uint64_t c = 0; c < HCLAM_SIZE_MAX; c++) vq->kmeans->codebook_destroy(vq->host, search->leaves[c]);
    vq->host->free(vq->host, search);
    vq->search = NULL;
}

uint64_t hclam_search_bytes(const struct vq *vq, uint64_t count) {
    (void)vq, (void)count;
    return 64; /* nothing, but no request is empty */
}

void hclam_search(const struct vq *vq, const struct vq_query *query, void *scratch) {
    const struct hclam_search *search = vq->search;
    const float base = 0;
    tsr_candidate cells[HCLAM_BRANCHES_MAX], leaf;
    (void)scratch;
    for (uint64_t v = 0; v < query->count; v++) {
        const float *x = query->vectors + v * vq->shape.dim;
        const float *weights = query->weights ? query->weights + v * query->weight_stride : NULL;
        const uint64_t found = vq->kmeans->best(search->cells, x, weights, &base, 1, vq->settings.effort, cells);
        float least = 0;
        for (uint64_t b = 0; b < found; b++) {
            vq->kmeans->best(search->leaves[cells[b].word], x, weights, &base, 1, 1, &leaf);
            if (b > 0 && !(leaf.score < least)) continue;
            least = leaf.score;
            query->indices[v] = (uint16_t)cells[b].word;
            query->indices[query->stride + v] = (uint16_t)leaf.word;
        }
    }
}

void hclam_reconstruct(const struct vq *vq, const uint16_t *indices, uint64_t stride, uint64_t count, uint32_t streams,
                       float *out) {
    const uint64_t dim = vq->shape.dim;
    (void)streams;
    for (uint64_t v = 0; v < count; v++) {
        const float *leaf = hclam_leaves(vq, indices[v]) + indices[stride + v] * dim;
        memcpy(out + v * dim, leaf, (size_t)dim * sizeof *out);
    }
}
