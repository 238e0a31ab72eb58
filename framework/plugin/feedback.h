/* SPDX-License-Identifier: Apache-2.0
 *
 * Error feedback around any codec with ext/block.h: what a block of columns leaves over is made up for by the columns
 * that are quantised after it, so that the error of the products, tr(E H E^T) for second moments H of the inputs, is small
 * rather than that of the weights. Only encoding knows of it. */
#ifndef PLUGIN_FEEDBACK_H
#define PLUGIN_FEEDBACK_H

#include "coder.h"

struct feedback;

/* False where the codec `self` has no blocks with its parameters, or tiles are pieces of rows. */
bool feedback_possible(const struct coder_job *job, void *self, const struct tile_grid *grid);

/* For the prepared encoder `self`. *feedback is NULL where the codec has no blocks, or tiles are pieces of rows.
 * job->feedback->damping gets what was needed. */
tsr_status feedback_open(const struct coder_job *job, void *self, const struct tile_grid *grid,
                         struct feedback **feedback, tsr_error *err);
void feedback_close(struct feedback *feedback);
/* In place of the codec's encode. What stands in x[rows][columns] is lost. [worker] */
tsr_status feedback_encode(const struct feedback *feedback, const tsr_tile *tile, float *x, void *dst,
                           uint64_t capacity, uint64_t *written, tsr_error *err);

#endif
