/* SPDX-License-Identifier: Apache-2.0
 *
 * The weights table that a model plugin sees, the same over a raw and over a compressed checkpoint, so that the plugin
 * cannot know which it runs on. One table serves one model at a time. */
#ifndef MODEL_MODEL_WEIGHTS_H
#define MODEL_MODEL_WEIGHTS_H

#include "model_path.h"

#include <reading/tensor_cache.h>
#include <tessera/model.h>

struct model_weights;

/* `reader` must outlive the table. `budget_bytes` bounds what is kept decoded of a compressed checkpoint. */
tsr_status model_weights_create(struct reader *reader, uint64_t budget_bytes, const struct env *env,
                                struct model_weights **weights, tsr_error *err);
void model_weights_destroy(struct model_weights *weights);
/* Lets the tensors for which from_index[i] >= 0 come from that tensor of `from` (equal shape and dtype), the others from
 * here; NULL ends it. Both are borrowed. So a raw model can run with one role's decoded weights. */
void model_weights_overlay(struct model_weights *weights, const struct model_weights *from, const int64_t *from_index);
const tsr_weights *model_weights_table(const struct model_weights *weights);
/* Another budget from here on. */
void model_weights_limit(struct model_weights *weights, uint64_t budget_bytes);
/* AUTO unless told. */
void model_weights_choose(struct model_weights *weights, enum model_path path);
/* What products ran since the last call of this: "dense", "codec", or "codec and dense". */
const char *model_weights_path(struct model_weights *weights);
/* Memory of what was packed for products. */
uint64_t model_weights_packed(const struct model_weights *weights);
/* Largest number of bytes that were decoded at one time. */
uint64_t model_weights_peak(const struct model_weights *weights);

#endif
