/* SPDX-License-Identifier: Apache-2.0
 *
 * Equal tensors are stored once. A digest finds candidates; bytes decide, since XXH3 is no security hash. */
#include <stdlib.h>
#include <string.h>

#include <base/alloc.h>
#include <base/checked.h>
#include <base/error.h>
#include <base/pool.h>

#include "plan_parts.h"

#define CHUNK_BYTES (UINT64_C(1) << 20)

struct pair {
    uint64_t entry, candidate; /* candidate < entry */
    bool equal;
};

struct search {
    struct planner *planner;
    struct pair *pairs;
    uint64_t pair_count;
};

static const struct safetensors_entry *stored(const struct planner *planner, uint64_t index) {
    return planner->plan->entries[index].source->entry;
}

static tsr_status read_chunk(const struct planner *planner, uint64_t index, uint64_t at, uint64_t size, void *dst,
                             tsr_error *err) {
    if (env_cancelled(planner->env)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    return checkpoint_read(planner->checkpoint, planner->plan->entries[index].source, at, dst, size, err);
}

static tsr_status digest_entry(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct planner *planner = ctx;
    (void)worker;
    uint64_t bytes = stored(planner, index)->bytes;
    uint8_t *chunk = mem_alloc_aligned(CHUNK_BYTES);
    struct digest_state *digest = digest_create();
    tsr_status st = chunk && digest ? TSR_OK : plan_no_memory(err);
    for (uint64_t at = 0; at < bytes && !st; at += CHUNK_BYTES) {
        uint64_t size = min_u64(CHUNK_BYTES, bytes - at);
        st = read_chunk(planner, index, at, size, chunk, err);
        if (!st) digest_add(digest, chunk, size);
    }
    if (!st) planner->plan->entries[index].digest = digest_end(digest);
    digest_destroy(digest);
    mem_free(chunk);
    return st;
}

static tsr_status compare_pair(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct search *search = ctx;
    struct pair *pair = &search->pairs[index];
    (void)worker;
    uint64_t bytes = stored(search->planner, pair->entry)->bytes;
    uint8_t *chunks = mem_alloc_aligned(2 * CHUNK_BYTES);
    tsr_status st = chunks ? TSR_OK : plan_no_memory(err);
    pair->equal = true;
    for (uint64_t at = 0; at < bytes && pair->equal && !st; at += CHUNK_BYTES) {
        uint64_t size = min_u64(CHUNK_BYTES, bytes - at);
        st = read_chunk(search->planner, pair->entry, at, size, chunks, err);
        if (!st) st = read_chunk(search->planner, pair->candidate, at, size, chunks + CHUNK_BYTES, err);
        if (!st) pair->equal = !memcmp(chunks, chunks + CHUNK_BYTES, size);
    }
    mem_free(chunks);
    return st;
}

struct keyed {
    struct digest digest;
    uint64_t index;
};

static int compare_keyed(const void *a, const void *b) {
    const struct keyed *left = a, *right = b;
    int order = memcmp(left->digest.bytes, right->digest.bytes, DIGEST_BYTES);
    return order ? order : (left->index > right->index) - (left->index < right->index);
}

static bool same_form(const struct safetensors_entry *a, const struct safetensors_entry *b) {
    return a->dtype == b->dtype && a->bytes == b->bytes && a->rank == b->rank &&
           !strcmp(a->dtype_name, b->dtype_name) && !memcmp(a->shape, b->shape, a->rank * sizeof a->shape[0]);
}

/* Pairs each entry with the first of the same digest, dtype and shape. Empty tensors save nothing and stay alone. */
static void collect_pairs(struct search *search, const struct keyed *keyed, uint64_t count) {
    for (uint64_t i = 0, run = 0; i < count; i++) {
        const struct safetensors_entry *entry = stored(search->planner, keyed[i].index);
        if (!digest_equal(&keyed[run].digest, &keyed[i].digest)) run = i;
        uint64_t first = run;
        while (first < i && !same_form(entry, stored(search->planner, keyed[first].index))) first++;
        if (first == i || entry->bytes == 0) continue;
        search->pairs[search->pair_count++] = (struct pair){keyed[i].index, keyed[first].index, false};
    }
}

static tsr_status pair_up(struct search *search, tsr_error *err) {
    const struct plan *plan = search->planner->plan;
    struct keyed *keyed = mem_alloc_array(plan->count, sizeof *keyed);
    search->pairs = mem_alloc_array(plan->count, sizeof *search->pairs);
    tsr_status st = keyed && search->pairs ? TSR_OK : plan_no_memory(err);
    if (!st) {
        for (uint64_t i = 0; i < plan->count; i++) keyed[i] = (struct keyed){plan->entries[i].digest, i};
        qsort(keyed, plan->count, sizeof *keyed, compare_keyed);
        collect_pairs(search, keyed, plan->count);
    }
    mem_free(keyed);
    return st;
}

tsr_status plan_find_aliases(struct planner *planner, tsr_error *err) {
    struct search search = {.planner = planner};
    struct pool *pool = planner->env->pool;
    tsr_status st = pool_for(pool, planner->plan->count, digest_entry, planner, err);
    if (!st) st = pair_up(&search, err);
    if (!st) st = pool_for(pool, search.pair_count, compare_pair, &search, err);
    for (uint64_t i = 0; i < search.pair_count && !st; i++) {
        const struct pair *pair = &search.pairs[i];
        if (!pair->equal) continue;
        planner->plan->entries[pair->entry].alias_of = (int64_t)pair->candidate;
        planner->facts[pair->entry].owner = pair->candidate;
    }
    mem_free(search.pairs);
    return st;
}
