/* SPDX-License-Identifier: Apache-2.0
 *
 * Shares are dealt from sizes alone, the largest tensor first to whoever has least, so every process deals the same. The
 * identity of a job is the digest of its parts' keys, which cover source bytes, codecs, parameters and plugins. */
#include "shard.h"

#include "seal.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/pool.h>
#include <base/str.h>
#include <inttypes.h>
#include <pthread.h>
#include <reading/facts.h>
#include <reading/members.h>
#include <stdlib.h>
#include <string.h>
#include <tessera/version.h>

#define SHARD_VERSION "1"

tsr_status shard_parse(const char *text, struct shard *shard, tsr_error *err) {
    int used = 0;
    if (strspn(text, "0123456789/") == strlen(text) &&
        sscanf(text, "%" SCNu64 "/%" SCNu64 "%n", &shard->index, &shard->count, &used) == 2 && !text[used] &&
        shard->index >= 1 && shard->index <= shard->count && shard->count <= SHARDS_MAX) {
        return TSR_OK;
    }
    return tsr_fail(err, TSR_E_CONFIG, "--shard: \"%.40s\" is not a share such as 2/4 (at most %d shards)", text,
                    SHARDS_MAX);
}

char *shard_folder(const char *output, const struct shard *shard) {
    struct str text = {0};
    size_t length = strlen(output);
    while (length > 1 && output[length - 1] == '/') length--;
    str_add(&text, output, length);
    str_add_format(&text, ".shard-%" PRIu64 "-of-%" PRIu64, shard->index, shard->count);
    if (text.failed) str_clear(&text);
    return text.text;
}

/* ---- dealing ---- */

struct dealt {
    uint64_t bytes, index;
};

static int larger_first(const void *a, const void *b) {
    const struct dealt *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The shard that has least, the first of equals. */
static uint64_t least(const uint64_t *load, uint64_t count) {
    uint64_t found = 0;
    for (uint64_t i = 1; i < count; i++) {
        if (load[i] < load[found]) found = i;
    }
    return found;
}

/* owner[plan->count]: shard of each tensor, from 1; 0 for aliases. A tensor costs a little even when it is empty. */
static tsr_status deal(const struct plan *plan, uint64_t count, uint64_t **owner, tsr_error *err) {
    struct dealt *order = mem_alloc_array(plan->count + 1, sizeof *order);
    uint64_t *load = mem_alloc_zero(count, sizeof *load), used = 0;
    *owner = mem_alloc_zero(plan->count + 1, sizeof **owner);
    bool short_of_memory = !order || !load || !*owner;
    for (uint64_t i = 0; i < plan->count && !short_of_memory; i++) {
        if (plan->entries[i].alias_of < 0) order[used++] = (struct dealt){plan->entries[i].source->entry->bytes, i};
    }
    if (used) qsort(order, (size_t)used, sizeof *order, larger_first);
    for (uint64_t i = 0; i < used; i++) {
        uint64_t to = least(load, count);
        load[to] += order[i].bytes + 4096;
        (*owner)[order[i].index] = to + 1;
    }
    mem_free(order);
    mem_free(load);
    return short_of_memory ? tsr_fail(err, TSR_E_NOMEM, "out of memory for the shares of a job") : TSR_OK;
}

tsr_status shard_select(const struct plan *plan, const struct shard *shard, struct parts *parts, tsr_error *err) {
    uint64_t *owner = NULL;
    tsr_status st = deal(plan, shard->count, &owner, err);
    for (uint64_t i = 0; i < plan->count && st == TSR_OK; i++) {
        if (owner[i] != shard->index) parts->items[i].path = NULL;
    }
    mem_free(owner);
    return st;
}

/* ---- what a shard says of itself ---- */

static struct digest job_digest(const struct plan *plan, const struct parts *parts) {
    struct str keys = {0};
    for (uint64_t i = 0; i < plan->count; i++) str_add_format(&keys, "%s\n", parts->items[i].key);
    struct digest digest = digest_of(keys.text ? keys.text : "", keys.length);
    if (keys.failed) digest = (struct digest){{0}};
    str_clear(&keys);
    return digest;
}

static void add_part(struct members *list, const struct plan_entry *entry, const struct part *part) {
    struct members member = members_object();
    members_text(&member, "name", entry->source->name);
    members_text(&member, "key", part->key);
    members_count(&member, "source_bytes", entry->source->entry->bytes);
    members_count(&member, "bytes", part->bytes);
    members_digest(&member, "digest", &part->payload);
    members_append(list, &member);
}

static tsr_status make_manifest(const struct plan *plan, const struct shard *shard, const struct parts *parts,
                                json_t **manifest, tsr_error *err) {
    struct members whole = members_object(), list = members_list();
    struct digest job = job_digest(plan, parts);
    uint64_t tensors = 0;
    for (uint64_t i = 0; i < plan->count; i++) tensors += plan->entries[i].alias_of < 0;
    members_text(&whole, "tessera_shard", SHARD_VERSION);
    members_text(&whole, "version", TSR_VERSION);
    members_count(&whole, "shard", shard->index);
    members_count(&whole, "of", shard->count);
    members_digest(&whole, "job", &job);
    members_count(&whole, "tensors", tensors);
    for (uint64_t i = 0; i < plan->count; i++) {
        if (parts->items[i].path) add_part(&list, &plan->entries[i], &parts->items[i]);
    }
    members_nest(&whole, "parts", &list);
    return members_finish(&whole, manifest, err);
}

tsr_status shard_stage(const struct plan *plan, const struct shard *shard, const struct work *work,
                       const struct parts *parts, json_t **manifest, tsr_error *err) {
    char *folder = NULL, *path = NULL, hex[DIGEST_HEX];
    tsr_status st = work_clear_staged(work, err);
    if (st == TSR_OK) st = work_path(work->staged, "parts/" SHARD_NAME, &path, err);
    if (st == TSR_OK) folder = mem_dup_bytes(path, strlen(path) - strlen("/" SHARD_NAME));
    if (st == TSR_OK && !folder) st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", work->staged);
    for (uint64_t i = 0; i < plan->count && st == TSR_OK; i++) {
        const struct part *part = &parts->items[i];
        char *to = part->path ? fs_join(folder, fs_base_name(part->path)) : NULL;
        if (part->path) st = to ? fs_share(part->path, to, err) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", folder);
        mem_free(to);
    }
    if (st == TSR_OK) st = make_manifest(plan, shard, parts, manifest, err);
    mem_free(path);
    path = st == TSR_OK ? fs_join(work->staged, SHARD_NAME) : NULL;
    if (st == TSR_OK) st = path ? seal_write(path, *manifest, hex, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory");
    mem_free(path);
    mem_free(folder);
    return st;
}

/* ---- merging ---- */

struct merging {
    const char *output;
    const struct plan *plan;
    const struct work *work;
    struct journal *journal;
    struct parts *parts;
    uint64_t count;
    uint64_t *owner;
    char **folders;   /* [count] */
    json_t **manifests; /* [count] */
    struct digest job;
    pthread_mutex_t journal_lock;
};

static tsr_status check_identity(const struct merging *merging, uint64_t index, tsr_error *err) {
    const json_t *manifest = merging->manifests[index];
    const char *folder = merging->folders[index];
    bool bad = false;
    char theirs[DIGEST_HEX], ours[DIGEST_HEX];
    const char *version = member_text(manifest, "tessera_shard", &bad);
    uint64_t shard = member_count(manifest, "shard", &bad), of = member_count(manifest, "of", &bad);
    struct digest job = member_digest(manifest, "job", &bad);
    if (bad || strcmp(version, SHARD_VERSION)) {
        return tsr_fail(err, TSR_E_INPUT, "%s: %s is not that of a shard", folder, SHARD_NAME);
    }
    if (!digest_equal(&job, &merging->job)) {
        return tsr_fail(err, TSR_E_INPUT, "%s: is a shard of another job (%s), this one is %s: model, config or plugins differ",
                        folder, digest_to_hex(&job, theirs), digest_to_hex(&merging->job, ours));
    }
    if (of != merging->count) {
        return tsr_fail(err, TSR_E_INPUT, "%s: is one of %" PRIu64 " shards, expected one of %" PRIu64, folder, of,
                        merging->count);
    }
    if (shard == index + 1) return TSR_OK;
    return tsr_fail(err, TSR_E_INPUT, "%s: holds shard %" PRIu64 "/%" PRIu64 ", which is there twice; shard %" PRIu64
                    "/%" PRIu64 " is missing", folder, shard, of, index + 1, of);
}

static tsr_status open_shard(struct merging *merging, uint64_t index, tsr_error *err) {
    struct shard shard = {index + 1, merging->count};
    merging->folders[index] = shard_folder(merging->output, &shard);
    char *path = merging->folders[index] ? fs_join(merging->folders[index], SHARD_NAME) : NULL;
    tsr_status st = path ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", merging->output);
    if (st == TSR_OK && fs_kind_of(path) != FS_FILE) {
        st = tsr_fail(err, TSR_E_INPUT, "%s: shard %" PRIu64 "/%" PRIu64 " is missing, %s is not there", merging->output,
                      shard.index, shard.count, path);
    }
    if (st == TSR_OK) st = seal_read(path, &merging->manifests[index], NULL, err);
    if (st == TSR_OK) st = check_identity(merging, index, err);
    mem_free(path);
    return st;
}

/* What the tensor's shard says of the part with that key, or NULL. */
static const json_t *find_part(const struct merging *merging, uint64_t entry) {
    bool bad = false;
    const json_t *list = member_list(merging->manifests[merging->owner[entry] - 1], "parts", &bad);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *part = json_array_get(list, i);
        if (!strcmp(member_text(part, "key", &bad), merging->parts->items[entry].key)) return part;
    }
    return NULL;
}

/* Links the part into the work folder and reads it there. */
static tsr_status take_part(const struct merging *merging, const char *folder, const json_t *stated, uint64_t entry,
                            struct journal_part *record, tsr_error *err) {
    const char *tensor = merging->plan->entries[entry].source->name;
    struct part *part = &merging->parts->items[entry];
    struct str from = {0};
    bool bad = false;
    uint64_t bytes = member_count(stated, "bytes", &bad);
    struct digest digest = member_digest(stated, "digest", &bad);
    str_add_format(&from, "%s/parts/%s.part", folder, part->key);
    tsr_status st = from.failed ? tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", folder) : TSR_OK;
    if (st == TSR_OK && fs_kind_of(from.text) != FS_FILE) {
        st = tsr_fail(err, TSR_E_INPUT, "%s: the part of tensor \"%s\" is missing", folder, tensor);
    }
    if (st == TSR_OK) st = fs_share(from.text, part->path, err);
    if (st == TSR_OK) st = facts_of_path(part->path, &record->bytes, &record->payload, err);
    if (st == TSR_OK && (bad || bytes != record->bytes || !digest_equal(&digest, &record->payload))) {
        st = tsr_fail(err, TSR_E_CORRUPT, "%s: the part of tensor \"%s\" is damaged, encode this shard again", folder, tensor);
    }
    str_clear(&from);
    return st;
}

static tsr_status merge_one(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct merging *merging = ctx;
    struct part *part = &merging->parts->items[index];
    (void)worker;
    if (!part->path || part->done) return TSR_OK;
    const char *folder = merging->folders[merging->owner[index] - 1];
    const json_t *stated = find_part(merging, index);
    if (!stated) {
        return tsr_fail(err, TSR_E_INPUT, "%s: does not hold tensor \"%s\"", folder,
                        merging->plan->entries[index].source->name);
    }
    struct journal_part record = {.source = merging->plan->entries[index].digest};
    memcpy(record.key, part->key, DIGEST_HEX);
    tsr_status st = take_part(merging, folder, stated, index, &record, err);
    if (st != TSR_OK) return st;
    pthread_mutex_lock(&merging->journal_lock);
    st = journal_add_part(merging->journal, &record, err);
    pthread_mutex_unlock(&merging->journal_lock);
    part->bytes = record.bytes;
    part->payload = record.payload;
    part->done = st == TSR_OK;
    return st;
}

static tsr_status open_shards(struct merging *merging, tsr_error *err) {
    merging->folders = mem_alloc_zero(merging->count, sizeof *merging->folders);
    merging->manifests = mem_alloc_zero(merging->count, sizeof *merging->manifests);
    if (!merging->folders || !merging->manifests) {
        return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", merging->output);
    }
    merging->job = job_digest(merging->plan, merging->parts);
    tsr_status st = deal(merging->plan, merging->count, &merging->owner, err);
    for (uint64_t i = 0; i < merging->count && st == TSR_OK; i++) st = open_shard(merging, i, err);
    return st;
}

tsr_status shard_merge(const char *output, uint64_t count, const struct plan *plan, const struct work *work,
                       struct journal *journal, const struct env *env, struct parts *parts, tsr_error *err) {
    struct merging merging = {.output = output, .plan = plan, .work = work, .journal = journal, .parts = parts,
                              .count = count};
    pthread_mutex_init(&merging.journal_lock, NULL);
    tsr_status st = open_shards(&merging, err);
    if (st == TSR_OK) st = pool_for(env->pool, plan->count, merge_one, &merging, err);
    if (st == TSR_OK) st = fs_sync_folder(work->parts, err);
    for (uint64_t i = 0; i < count; i++) {
        if (merging.folders) mem_free(merging.folders[i]);
        if (merging.manifests) json_decref(merging.manifests[i]);
    }
    mem_free(merging.folders);
    mem_free(merging.manifests);
    mem_free(merging.owner);
    pthread_mutex_destroy(&merging.journal_lock);
    return st;
}

tsr_status shard_remove(const char *output, uint64_t count, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        char *folder = shard_folder(output, &(struct shard){i + 1, count});
        st = folder ? fs_remove_tree(folder, err) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", output);
        mem_free(folder);
    }
    return st;
}
