/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of one folder stand together in a checkpoint, so a folder is a range of files and, since tensors are sorted by
 * file, a range of plan entries. */
#include "layout.h"

#include <base/str.h>
#include <inttypes.h>
#include <string.h>

#define INDEX_SUFFIX ".safetensors.index.json"
#define MAIN_INDEX "model.safetensors.index.json"
#define MAIN_FILE "model.safetensors"

/* What is being laid out; `entry` walks over the plan. */
struct laying {
    const struct checkpoint *checkpoint;
    const struct plan *plan;
    const struct parts *parts;
    uint64_t max_shard_bytes;
    struct layout *layout;
    uint64_t placed; /* entries in layout->order */
    tsr_error *err;
};

static tsr_status no_memory(const struct laying *laying) {
    return tsr_fail(laying->err, TSR_E_NOMEM, "%s: out of memory", laying->checkpoint->root);
}

const char *layout_local_name(const struct plan_entry *entry) {
    return entry->source->entry->name;
}

/* ---- shards ---- */

static void place(struct laying *laying, uint64_t entry) {
    struct layout *layout = laying->layout;
    layout->order[laying->placed++] = entry;
    layout->files[layout->file_count - 1].count++;
}

static struct layout_file *add_file(struct laying *laying, const char *name, const char *prefix) {
    struct layout_file *file = &laying->layout->files[laying->layout->file_count++];
    *file = (struct layout_file){.name = name, .prefix = prefix, .first = laying->placed};
    return file;
}

static void lay_as_source(struct laying *laying, uint64_t first_file, uint64_t end_file) {
    const struct checkpoint *checkpoint = laying->checkpoint;
    uint64_t entry = 0;
    for (uint64_t f = first_file; f < end_file; f++) {
        add_file(laying, checkpoint->files[f].name, checkpoint->files[f].prefix);
        for (entry = 0; entry < laying->plan->count; entry++) {
            const struct plan_entry *planned = &laying->plan->entries[entry];
            if (planned->source->file == f && planned->alias_of < 0) place(laying, entry);
        }
    }
}

static tsr_status name_by_size(struct laying *laying, uint64_t first, const char *prefix) {
    struct layout *layout = laying->layout;
    uint64_t count = layout->file_count - first;
    for (uint64_t i = 0; i < count; i++) {
        layout->files[first + i].name =
            count == 1 ? arena_format(&layout->arena, "%s" MAIN_FILE, prefix)
                       : arena_format(&layout->arena, "%smodel-%05" PRIu64 "-of-%05" PRIu64 ".safetensors", prefix,
                                      i + 1, count);
        if (!layout->files[first + i].name) return no_memory(laying);
    }
    return TSR_OK;
}

/* A tensor larger than the limit gets a file of its own. */
static tsr_status lay_by_size(struct laying *laying, uint64_t first_file, uint64_t end_file) {
    const char *prefix = laying->checkpoint->files[first_file].prefix;
    uint64_t first = laying->layout->file_count, bytes = 0;
    struct layout_file *file = add_file(laying, NULL, prefix);
    for (uint64_t i = 0; i < laying->plan->count; i++) {
        const struct plan_entry *entry = &laying->plan->entries[i];
        if (entry->alias_of >= 0 || entry->source->file < first_file || entry->source->file >= end_file) continue;
        uint64_t size = laying->parts->items[i].bytes;
        if (file->count && (size > laying->max_shard_bytes || bytes > laying->max_shard_bytes - size)) {
            file = add_file(laying, NULL, prefix);
            bytes = 0;
        }
        place(laying, i);
        bytes += size;
    }
    return name_by_size(laying, first, prefix);
}

/* ---- indexes ---- */

/* The index by which the source folder was read, or NULL. */
static const char *source_index(const struct checkpoint *checkpoint, const char *prefix) {
    const char *found = NULL;
    for (uint64_t i = 0; i < checkpoint->extra_count; i++) {
        const char *name = checkpoint->extras[i].name;
        if (!text_starts_with(name, prefix) || strchr(name + strlen(prefix), '/')) continue;
        if (!text_ends_with(name, INDEX_SUFFIX)) continue;
        if (!found || !strcmp(name + strlen(prefix), MAIN_INDEX)) found = name;
    }
    return found;
}

static tsr_status lay_index(struct laying *laying, uint64_t first_output, const char *prefix) {
    struct layout *layout = laying->layout;
    const char *name = laying->max_shard_bytes ? NULL : source_index(laying->checkpoint, prefix);
    if (!name && layout->file_count - first_output < 2) return TSR_OK;
    if (!name) name = arena_format(&layout->arena, "%s" MAIN_INDEX, prefix);
    if (!name) return no_memory(laying);
    layout->indexes[layout->index_count++] = (struct layout_index){name, prefix};
    return TSR_OK;
}

static tsr_status lay_folder(struct laying *laying, uint64_t first_file, uint64_t end_file) {
    uint64_t first_output = laying->layout->file_count;
    tsr_status st = TSR_OK;
    if (laying->max_shard_bytes) {
        st = lay_by_size(laying, first_file, end_file);
    } else {
        lay_as_source(laying, first_file, end_file);
    }
    return st == TSR_OK ? lay_index(laying, first_output, laying->checkpoint->files[first_file].prefix) : st;
}

/* ---- dictionaries ---- */

static bool has_dictionaries(const struct plan *plan) {
    for (uint64_t g = 0; g < plan->group_count; g++) {
        if (plan->groups[g].dictionary) return true;
    }
    return false;
}

/* Without an index nobody would look for another file in the root folder. */
static void lay_dictionaries(struct laying *laying) {
    struct layout *layout = laying->layout;
    bool indexed = layout->index_count && !*layout->indexes[0].prefix;
    if (!has_dictionaries(laying->plan) || !indexed) return;
    for (uint64_t i = 0; i < layout->file_count; i++) {
        if (!strcmp(layout->files[i].name, DICTIONARY_NAME)) return;
    }
    layout->dictionary_file = layout->file_count;
    add_file(laying, DICTIONARY_NAME, "");
}

/* ---- extras ---- */

bool layout_is_config(const struct checkpoint *checkpoint, const char *name) {
    for (uint64_t i = 0; i < checkpoint->file_count; i++) {
        const char *prefix = checkpoint->files[i].prefix;
        if (text_starts_with(name, prefix) && !strcmp(name + strlen(prefix), CONFIG_NAME)) return true;
    }
    return false;
}

static bool is_source_index(const struct checkpoint *checkpoint, const char *name) {
    for (uint64_t i = 0; i < checkpoint->file_count; i++) {
        const char *index = source_index(checkpoint, checkpoint->files[i].prefix);
        if (index && !strcmp(index, name)) return true;
    }
    return false;
}

/* True when an output file of ours has that name. */
static bool is_taken(const struct layout *layout, const char *name) {
    if (!strcmp(name, RECEIPT_NAME) || !strcmp(name, RUN_NAME)) return true;
    for (uint64_t i = 0; i < layout->file_count; i++) {
        if (!strcmp(layout->files[i].name, name)) return true;
    }
    for (uint64_t i = 0; i < layout->index_count; i++) {
        if (!strcmp(layout->indexes[i].name, name)) return true;
    }
    return false;
}

static enum layout_kept keep_extra(struct laying *laying, const struct checkpoint_extra *extra, const struct env *env) {
    char size[32];
    if (extra->bytes > EXTRA_BYTES_MAX) {
        env_log(env, TSR_LOG_WARNING, "%s: %s is larger than %s, not copied", extra->name,
                text_bytes(extra->bytes, size, sizeof size), "16 MiB");
        return LAYOUT_NONE;
    }
    if (layout_is_config(laying->checkpoint, extra->name) || is_source_index(laying->checkpoint, extra->name)) {
        return LAYOUT_BLOB;
    }
    if (is_taken(laying->layout, extra->name)) {
        env_log(env, TSR_LOG_WARNING, "%s: the output has a file of that name, not copied", extra->name);
        return LAYOUT_NONE;
    }
    return LAYOUT_COPY;
}

/* ---- the whole ---- */

static tsr_status check_names(const struct laying *laying) {
    const struct checkpoint *checkpoint = laying->checkpoint;
    for (uint64_t i = 0; i < checkpoint->extra_count; i++) {
        const char *name = checkpoint->extras[i].name;
        if (text_is_utf8(name, strlen(name))) continue;
        return tsr_fail(laying->err, TSR_E_UNSUPPORTED, "%s/%s: the file's name is not UTF-8", checkpoint->root, name);
    }
    return TSR_OK;
}

static tsr_status allocate(struct laying *laying) {
    struct layout *layout = laying->layout;
    uint64_t most = laying->plan->count + laying->checkpoint->file_count + 1;
    layout->files = arena_alloc(&layout->arena, most, sizeof *layout->files);
    layout->order = arena_alloc(&layout->arena, most, sizeof *layout->order);
    layout->indexes = arena_alloc(&layout->arena, laying->checkpoint->file_count, sizeof *layout->indexes);
    layout->kept = arena_alloc(&layout->arena, laying->checkpoint->extra_count + 1, sizeof *layout->kept);
    return layout->files && layout->order && layout->indexes && layout->kept ? TSR_OK : no_memory(laying);
}

tsr_status layout_make(const struct checkpoint *checkpoint, const struct plan *plan, const struct parts *parts,
                       uint64_t max_shard_bytes, const struct env *env, struct layout *layout, tsr_error *err) {
    struct laying laying = {checkpoint, plan, parts, max_shard_bytes, layout, 0, err};
    tsr_status st = check_names(&laying);
    if (st == TSR_OK) st = allocate(&laying);
    for (uint64_t first = 0, end; st == TSR_OK && first < checkpoint->file_count; first = end) {
        end = first + 1;
        while (end < checkpoint->file_count &&
               !strcmp(checkpoint->files[end].prefix, checkpoint->files[first].prefix)) {
            end++;
        }
        st = lay_folder(&laying, first, end);
    }
    if (st == TSR_OK) lay_dictionaries(&laying);
    for (uint64_t i = 0; st == TSR_OK && i < checkpoint->extra_count; i++) {
        layout->kept[i] = keep_extra(&laying, &checkpoint->extras[i], env);
    }
    return st;
}

void layout_close(struct layout *layout) {
    arena_clear(&layout->arena);
    *layout = (struct layout){0};
}
