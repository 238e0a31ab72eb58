/* SPDX-License-Identifier: Apache-2.0
 *
 * One job cut into n shares that need not know of each other: each process plans the whole, encodes its own tensors and
 * publishes them as a folder beside OUT; the merge takes all n folders over as parts and goes on as any run does, so
 * its output is that of one process.
 *
 *   OUT.shard-2-of-4/shard.json       which parts, for which job (sealed)
 *   OUT.shard-2-of-4/parts/KEY.part */
#ifndef PIPELINE_SHARD_H
#define PIPELINE_SHARD_H

#include "encode.h"

#include <jansson.h>

#define SHARD_NAME "shard.json"
#define SHARDS_MAX 10000

/* From 1 to count; count 0: the job is not cut. */
struct shard {
    uint64_t index, count;
};

/* "2/4". TSR_E_CONFIG. [any] */
tsr_status shard_parse(const char *text, struct shard *shard, tsr_error *err);
/* "OUT.shard-2-of-4" in fresh memory (mem_free), or NULL. [any] */
char *shard_folder(const char *output, const struct shard *shard);

/* Takes from the wishes what is other shards' share. Between parts_open and parts_encode. */
tsr_status shard_select(const struct plan *plan, const struct shard *shard, struct parts *parts, tsr_error *err);
/* Fills the staged folder with the encoded share; *manifest is what shard.json says. */
tsr_status shard_stage(const struct plan *plan, const struct shard *shard, const struct work *work,
                       const struct parts *parts, json_t **manifest, tsr_error *err);

/* Takes over the parts of all `count` shards of `output`, each read and found whole. TSR_E_INPUT or TSR_E_CORRUPT names a
 * shard that is missing, there twice, damaged, or of another job. */
tsr_status shard_merge(const char *output, uint64_t count, const struct plan *plan, const struct work *work,
                       struct journal *journal, const struct env *env, struct parts *parts, tsr_error *err);
/* Removes them. */
tsr_status shard_remove(const char *output, uint64_t count, tsr_error *err);

#endif
