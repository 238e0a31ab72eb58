/* SPDX-License-Identifier: Apache-2.0
 *
 * A part of a tensor that stands for all of it, as a small matrix in memory. Private to plan*.c. */
#ifndef POLICY_PLAN_SAMPLE_H
#define POLICY_PLAN_SAMPLE_H

#include "plan_parts.h"

#include <plugin/coder.h>

struct sample {
    bool whole;
    uint64_t rows, columns; /* of the sample */
    uint64_t stands_for;    /* weights of the tensor that it represents */
    uint32_t bits;          /* an element */
    uint64_t shape[TSR_RANK_MAX];
    tsr_tensor tensor;      /* the sample as a codec sees it */
    uint8_t *bytes;         /* [rows][columns] in the source dtype, owned */
    float *row_weight;      /* [rows], owned; NULL where the entry has none */
};

/* The whole tensor as a codec sees it. Lives as long as the entry. */
tsr_tensor sample_tensor_of(const struct plan_entry *entry);

/* Bytes of an entry's tensor, for a coder_source with one of these as its ctx; ends early when cancelled. [any] */
struct sample_source {
    const struct planner *planner;
    const struct plan_entry *entry;
};
tsr_status sample_source_read(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err);

/* The inner part: about 2^20 weights in evenly spread blocks of rows, cut so that the codec's tiles are full; all of a
 * tensor that is not much larger. The edges: the first and the last 2^19 weights as they are, nothing where the inner part
 * is everything. */
enum sample_part { SAMPLE_INNER, SAMPLE_EDGES };

/* Zero-initialise `sample`; sample_clear in any case. [any] */
tsr_status sample_read(const struct planner *planner, const struct plan_entry *entry, const tsr_codec *codec,
                       enum sample_part part, struct sample *sample, tsr_error *err);
void sample_clear(struct sample *sample);

/* One row as F32; float dtypes only. */
void sample_row(const struct sample *sample, const uint8_t *bytes, uint64_t row, float *values);

/* The smallest D at `bits` a weight by the Gaussian bound and by water-filling over the sample's rows, an estimate. With
 * `all_bounds` also below the entropy-power bound: what is lower than this no code can be asked for. */
tsr_status sample_bound(const struct sample *sample, double bits, bool all_bounds, double *error, tsr_error *err);

#endif
