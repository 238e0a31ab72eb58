/* SPDX-License-Identifier: Apache-2.0
 *
 * The weights table that a model plugin sees, over a raw checkpoint: tensors stay mapped in their stored dtype. One table
 * serves one model at a time. */
#ifndef PIPELINE_MODEL_WEIGHTS_H
#define PIPELINE_MODEL_WEIGHTS_H

#include <base/env.h>
#include <format/checkpoint.h>
#include <tessera/model.h>

struct model_weights;

/* Maps the files of `checkpoint`, which must outlive the table. */
tsr_status model_weights_create(struct checkpoint *checkpoint, const struct env *env, struct model_weights **weights,
                                tsr_error *err);
void model_weights_destroy(struct model_weights *weights);
const tsr_weights *model_weights_table(const struct model_weights *weights);

#endif
