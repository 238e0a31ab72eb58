/* SPDX-License-Identifier: Apache-2.0
 *
 * rvq: residual vector quantisation. What it adds to the vector quantisers' common part. */
#ifndef RVQ_H
#define RVQ_H

#include "rvq_bitstream.h"
#include "vq.h"

#include <tessera/ext/matvec.h>

enum { RVQ_BEAM_MAX = 64 };

extern const struct vq_kind RVQ_KIND;
extern const tsr_matvec RVQ_MATVEC;

/* First word of a stage. */
static inline float *rvq_stage(const struct vq *vq, uint32_t stage) {
    float *words = vq->words;
    for (uint32_t s = 0; s < stage; s++) words += vq->shape.sizes[s] * vq->shape.dim;
    return words;
}

/* The codebooks of the stages in the form in which they are searched: vq->search. */
struct rvq_search {
    tsr_codebook *stages[VQ_STREAMS_MAX];
};

/* Members of RVQ_KIND (tessera's vq.h). */
tsr_status rvq_train(struct vq *vq, const struct vq_sample *sample, tsr_error *err);
tsr_status rvq_open(struct vq *vq, tsr_error *err);
void rvq_close(struct vq *vq);
uint64_t rvq_search_bytes(const struct vq *vq, uint64_t count);
void rvq_search(const struct vq *vq, const struct vq_query *query, void *scratch);
void rvq_reconstruct(const struct vq *vq, const uint16_t *indices, uint64_t stride, uint64_t count, uint32_t streams,
                     float *out);

#endif
