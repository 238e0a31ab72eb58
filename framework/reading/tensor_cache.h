/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors of a raw or compressed checkpoint as dense bytes in their source dtype and order. Raw ones are mapped; compressed
 * ones are decoded when asked for and kept until the budget is needed for others (most recently used first), so that
 * inference from a compressed checkpoint never needs the whole decoded model in memory. One thread at a time. */
#ifndef READING_TENSOR_CACHE_H
#define READING_TENSOR_CACHE_H

#include "reader.h"

struct tensor_cache;

/* `budget_bytes` bounds what is kept decoded; a pinned tensor larger than it is held all the same, alone. `reader` must
 * outlive the cache; its raw files are mapped. */
tsr_status tensor_cache_create(struct reader *reader, uint64_t budget_bytes, const struct env *env,
                               struct tensor_cache **cache, tsr_error *err);
void tensor_cache_destroy(struct tensor_cache *cache);

/* Another budget from here on. [instance] */
void tensor_cache_limit(struct tensor_cache *cache, uint64_t budget_bytes);

/* Bytes of tensor `index`, valid until unpinned. Not from inside a pool task. [instance] */
tsr_status tensor_cache_pin(struct tensor_cache *cache, uint64_t index, const uint8_t **data, tsr_error *err);
void tensor_cache_unpin(struct tensor_cache *cache, uint64_t index);

/* Copies `size` bytes at `offset` of tensor `index`, decoding at most the tiles that hold them. [instance] */
tsr_status tensor_cache_read(struct tensor_cache *cache, uint64_t index, uint64_t offset, uint64_t size, void *dst,
                             tsr_error *err);

/* A decoder over the storage of tensor `index` of a compressed checkpoint; stays closed on a raw one. Close in any case. */
tsr_status tensor_cache_decoder(struct tensor_cache *cache, uint64_t index, struct decoder *decoder, tsr_error *err);

/* Largest number of bytes that were decoded at one time. */
uint64_t tensor_cache_peak(const struct tensor_cache *cache);

#endif
