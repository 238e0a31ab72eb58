/* SPDX-License-Identifier: Apache-2.0
 *
 * hclam: a tree of means. What it adds to the vector quantisers' common part. */
#ifndef HCLAM_H
#define HCLAM_H

#include "hclam_bitstream.h"
#include "vq.h"

enum { HCLAM_BRANCHES_MAX = 64 };

/* vq->search: the cells, by the means of their leaves, and the leaves of each. */
struct hclam_search {
    tsr_codebook *cells;
    tsr_codebook *leaves[HCLAM_SIZE_MAX];
};

static inline float *hclam_leaves(const struct vq *vq, uint64_t cell) {
    return vq->words + cell * vq->shape.sizes[1] * vq->shape.dim;
}

/* Members of the kind (vq.h). */
tsr_status hclam_train(struct vq *vq, const struct vq_sample *sample, tsr_error *err);
tsr_status hclam_open(struct vq *vq, tsr_error *err);
void hclam_close(struct vq *vq);
uint64_t hclam_search_bytes(const struct vq *vq, uint64_t count);
void hclam_search(const struct vq *vq, const struct vq_query *query, void *scratch);
void hclam_reconstruct(const struct vq *vq, const uint16_t *indices, uint64_t stride, uint64_t count, uint32_t streams,
                       float *out);

#endif
