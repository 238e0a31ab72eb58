/* SPDX-License-Identifier: Apache-2.0
 *
 * A pass is good when its job is ours and its data have the digest that the header names: whatever else is there was cut off
 * or belongs to others. */
#include "calibrate_parts.h"

#include <base/alloc.h>
#include <reading/facts.h>
#include <string.h>

#define KEY_JOB "job"
#define KEY_DIGEST "digest"

tsr_status gathered_init(struct gathered *list, uint64_t capacity, tsr_error *err) {
    list->parts = mem_alloc_zero(capacity, sizeof *list->parts);
    list->capacity = capacity;
    return list->parts ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a list of statistics");
}

void gathered_clear(struct gathered *list) {
    mem_free(list->parts);
    arena_clear(&list->arena);
    *list = (struct gathered){0};
}

static struct safetensors_part *next_part(struct gathered *list, const char *name, const char *suffix, tsr_error *err) {
    char *full = arena_format(&list->arena, "%s%s", name, suffix);
    if (!full || list->count == list->capacity) {
        (void)tsr_fail(err, TSR_E_NOMEM, "out of memory for the name of a statistic");
        return NULL;
    }
    list->parts[list->count].name = full;
    return &list->parts[list->count++];
}

tsr_status gathered_add(struct gathered *list, const char *name, const char *suffix, int32_t dtype, uint64_t rank,
                        uint64_t extent, const void *memory, tsr_error *err) {
    struct safetensors_part *part = next_part(list, name, suffix, err);
    if (!part) return TSR_E_NOMEM;
    part->dtype = dtype;
    part->rank = rank;
    part->memory = memory;
    for (uint64_t i = 0; i < rank; i++) part->shape[i] = extent;
    return TSR_OK;
}

tsr_status gathered_link(struct gathered *list, const struct safetensors *files, uint64_t file_count, const char *name,
                      const char *suffix, tsr_error *err) {
    struct safetensors_part *part = next_part(list, name, suffix, err);
    if (!part) return TSR_E_NOMEM;
    for (uint64_t i = 0; i < file_count; i++) {
        const struct safetensors_entry *entry = safetensors_find(&files[i], part->name);
        if (!entry) continue;
        part->dtype = entry->dtype;
        part->rank = entry->rank;
        part->file = &files[i].file;
        part->offset = entry->offset;
        memcpy(part->shape, entry->shape, sizeof part->shape);
        return TSR_OK;
    }
    list->count--;
    return TSR_OK;
}

static tsr_status digest_parts(const struct gathered *list, char hex[DIGEST_HEX], tsr_error *err) {
    struct digest_state *state = digest_create();
    if (!state) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a digest");
    for (uint64_t i = 0; i < list->count; i++) {
        uint64_t bytes = 0;
        (void)safetensors_part_bytes(&list->parts[i], &bytes);
        digest_add(state, list->parts[i].memory, bytes);
    }
    struct digest digest = digest_end(state);
    digest_destroy(state);
    (void)digest_to_hex(&digest, hex);
    return TSR_OK;
}

tsr_status gathered_seal(const struct gathered *list, const char *path, const char *job, tsr_error *err) {
    char digest[DIGEST_HEX];
    tsr_status st = digest_parts(list, digest, err);
    if (st != TSR_OK) return st;
    const struct safetensors_pair metadata[] = {{KEY_JOB, job}, {KEY_DIGEST, digest}};
    return safetensors_write(path, list->parts, list->count, metadata, 2, err);
}

static tsr_status check_seal(const struct safetensors *file, const char *job, bool *good, tsr_error *err) {
    const char *theirs = safetensors_metadata(file, KEY_JOB), *hex = safetensors_metadata(file, KEY_DIGEST);
    struct digest found, expected;
    *good = theirs && !strcmp(theirs, job) && hex && digest_from_hex(hex, &expected);
    if (!*good) return TSR_OK;
    tsr_status st = facts_of_range(&file->file, file->header_bytes, file->file.size - file->header_bytes, &found, err);
    *good = st == TSR_OK && digest_equal(&found, &expected);
    return st;
}

/* A file that is none, cut off or of others is as good as absent; short memory and a failing disk are not. */
tsr_status gathered_open(const char *path, const char *job, struct safetensors *file, bool *found, tsr_error *err) {
    *found = false;
    if (fs_kind_of(path) != FS_FILE) return TSR_OK;
    tsr_status st = safetensors_open(path, file, err);
    if (st == TSR_OK) st = check_seal(file, job, found, err);
    if (!*found) {
        safetensors_close(file);
        *file = (struct safetensors){0};
    }
    return st == TSR_E_INPUT || st == TSR_E_CORRUPT ? TSR_OK : st;
}
