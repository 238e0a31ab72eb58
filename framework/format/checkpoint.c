/* SPDX-License-Identifier: Apache-2.0
 *
 * From a path to one list of tensors. A model may have parts in subfolders, each with a model.safetensors or an index
 * of its own; the steps are: find the parts, open their files, check each index against its files, list the tensors,
 * list the other files. Everything is sorted by bytes, so that nothing depends on the file system. */
#include "checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include <base/alloc.h>
#include <base/checked.h>
#include <base/str.h>

#include "json.h"

#define SUFFIX ".safetensors"
#define INDEX_SUFFIX ".safetensors.index.json"
#define MAIN_NAME "model.safetensors"
#define MAIN_INDEX "model.safetensors.index.json"
#define INDEX_BYTES_MAX SAFETENSORS_HEADER_MAX
#define LISTED_MAX 4 /* names in a message */

/* What checkpoint_open carries from step to step. */
struct opening {
    struct checkpoint *checkpoint;
    struct fs_list below; /* all files below the root */
    tsr_error *err;
};

static tsr_status no_memory(const struct opening *opening) {
    return tsr_fail(opening->err, TSR_E_NOMEM, "%s: out of memory", opening->checkpoint->root);
}

/* ---- names ---- */

static char *dup_text(struct checkpoint *checkpoint, const char *text) {
    return arena_dup(&checkpoint->arena, text, strlen(text));
}

/* Folder of a relative name with its slash, "" for the root. Arena memory, NULL when that is short. */
static char *folder_of(struct checkpoint *checkpoint, const char *name) {
    return arena_dup(&checkpoint->arena, name, (size_t)(fs_base_name(name) - name));
}

static bool in_hidden_folder(const char *name) {
    for (const char *slash; (slash = strchr(name, '/')); name = slash + 1) {
        if (name[0] == '.') return true;
    }
    return false;
}

/* The name inside its part when `name` stands directly in the folder `prefix`, else NULL. */
static const char *directly_in(const char *name, const char *prefix) {
    if (!text_starts_with(name, prefix)) return NULL;
    name += strlen(prefix);
    return strchr(name, '/') ? NULL : name;
}

static int compare_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* ---- opening the files of a part ---- */

static const struct checkpoint_file *find_file(const struct checkpoint *checkpoint, uint64_t first, const char *name) {
    for (uint64_t i = first; i < checkpoint->file_count; i++) {
        if (!strcmp(checkpoint->files[i].name, name)) return &checkpoint->files[i];
    }
    return NULL;
}

static tsr_status add_file(struct opening *opening, const char *prefix, const char *name_in_part) {
    struct checkpoint *checkpoint = opening->checkpoint;
    uint64_t count = checkpoint->file_count;
    if ((count & (count - 1)) == 0) {
        struct checkpoint_file *files = mem_resize(checkpoint->files, count ? count * 2 : 1, sizeof *files);
        if (!files) return no_memory(opening);
        checkpoint->files = files;
    }
    const char *name = arena_format(&checkpoint->arena, "%s%s", prefix, name_in_part);
    char *path = name ? fs_join(checkpoint->root, name) : NULL;
    if (!path) return no_memory(opening);
    checkpoint->files[count] = (struct checkpoint_file){.name = name, .prefix = prefix};
    checkpoint->file_count = count + 1;
    tsr_status st = safetensors_open(path, &checkpoint->files[count].st, opening->err);
    mem_free(path);
    return st;
}

/* ---- an index ---- */

/* An index being read: weight_map maps tensor names to shard names. */
struct index {
    const char *name; /* relative to the root */
    const char *prefix;
    json_t *root;
    const json_t *weight_map;
    uint64_t first_file; /* its shards are the files from here on */
};

static tsr_status index_read(struct opening *opening, struct index *index) {
    char *text = NULL;
    uint64_t size = 0;
    char *path = fs_join(opening->checkpoint->root, index->name);
    if (!path) return no_memory(opening);
    tsr_status st = fs_read_whole(path, INDEX_BYTES_MAX, &text, &size, opening->err);
    if (st == TSR_OK) st = json_parse(text, (size_t)size, path, &index->root, opening->err);
    if (st == TSR_OK) {
        index->weight_map = json_object_get(index->root, "weight_map");
        if (!json_is_object(index->weight_map)) {
            st = tsr_fail(opening->err, TSR_E_INPUT, "%s: has no object \"weight_map\"", path);
        }
    }
    mem_free(text);
    mem_free(path);
    return st;
}

/* Names of the shards, sorted, each once; borrowed from the index. */
static tsr_status index_shards(const struct opening *opening, const struct index *index, const char **shards,
                               uint64_t *count) {
    const char *tensor;
    json_t *value;
    uint64_t all = 0, kept = 0;
    json_object_foreach((json_t *)(uintptr_t)index->weight_map, tensor, value) {
        const char *shard = json_string_value(value);
        if (!shard) {
            return tsr_fail(opening->err, TSR_E_INPUT, "%s: tensor \"%s\": its shard is not a string", index->name,
                            tensor);
        }
        if (!fs_is_inside(shard)) {
            return tsr_fail(opening->err, TSR_E_INPUT, "%s: tensor \"%s\": shard \"%s\" lies outside the folder",
                            index->name, tensor, shard);
        }
        shards[all++] = shard;
    }
    if (all) qsort(shards, (size_t)all, sizeof *shards, compare_text);
    for (uint64_t i = 0; i < all; i++) {
        if (kept == 0 || strcmp(shards[kept - 1], shards[i]) != 0) shards[kept++] = shards[i];
    }
    *count = kept;
    return TSR_OK;
}

static tsr_status index_open_shards(struct opening *opening, const struct index *index) {
    uint64_t count = 0;
    const char **shards = mem_alloc_array(json_object_size(index->weight_map), sizeof *shards);
    if (!shards) return no_memory(opening);
    tsr_status st = index_shards(opening, index, shards, &count);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        char *name =
            arena_format(&opening->checkpoint->arena, "%s/%s%s", opening->checkpoint->root, index->prefix, shards[i]);
        if (!name) {
            st = no_memory(opening);
        } else if (fs_kind_of(name) == FS_ABSENT) {
            st = tsr_fail(opening->err, TSR_E_INPUT, "%s: shard \"%s\" is not there", index->name, shards[i]);
        } else {
            st = add_file(opening, index->prefix, shards[i]);
        }
    }
    mem_free(shards);
    return st;
}

/* The shard of that name among those of the index. */
static const struct checkpoint_file *index_shard(const struct opening *opening, const struct index *index,
                                                 const char *shard) {
    const struct checkpoint *checkpoint = opening->checkpoint;
    uint64_t low = index->first_file, high = checkpoint->file_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = strcmp(checkpoint->files[middle].name + strlen(index->prefix), shard);
        if (order == 0) return &checkpoint->files[middle];
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* A tensor of a shard must stand in the index, and there with this shard. */
static tsr_status index_check_entry(const struct opening *opening, const struct index *index,
                                    const struct checkpoint_file *file, const char *tensor) {
    const char *said = json_string_value(json_object_get(index->weight_map, tensor));
    if (!said) {
        return tsr_fail(opening->err, TSR_E_INPUT, "%s: tensor \"%s\" of shard \"%s\" is missing", index->name, tensor,
                        file->name);
    }
    const struct checkpoint_file *other = index_shard(opening, index, said);
    if (other == file) return TSR_OK;
    if (other && safetensors_find(&other->st, tensor)) {
        return tsr_fail(opening->err, TSR_E_INPUT, "%s: tensor \"%s\" is in two shards, \"%s\" and \"%s\"", index->name,
                        tensor, file->name, other->name);
    }
    return tsr_fail(opening->err, TSR_E_INPUT, "%s: tensor \"%s\" is in shard \"%s\", not in \"%s\"", index->name,
                    tensor, file->name, said);
}

static tsr_status index_check(const struct opening *opening, const struct index *index) {
    const struct checkpoint *checkpoint = opening->checkpoint;
    const char *tensor;
    json_t *value;
    for (uint64_t i = index->first_file; i < checkpoint->file_count; i++) {
        const struct checkpoint_file *file = &checkpoint->files[i];
        for (uint64_t j = 0; j < file->st.count; j++) {
            tsr_status st = index_check_entry(opening, index, file, file->st.entries[j].name);
            if (st != TSR_OK) return st;
        }
    }
    json_object_foreach((json_t *)(uintptr_t)index->weight_map, tensor, value) {
        const struct checkpoint_file *file = index_shard(opening, index, json_string_value(value));
        if (file && safetensors_find(&file->st, tensor)) continue;
        return tsr_fail(opening->err, TSR_E_INPUT, "%s: tensor \"%s\" is not in shard \"%s\"", index->name, tensor,
                        json_string_value(value));
    }
    return TSR_OK;
}

static tsr_status add_index(struct opening *opening, const char *prefix, const char *name) {
    struct index index = {.name = name, .prefix = prefix, .first_file = opening->checkpoint->file_count};
    tsr_status st = index_read(opening, &index);
    if (st == TSR_OK) st = index_open_shards(opening, &index);
    if (st == TSR_OK) st = index_check(opening, &index);
    json_decref(index.root);
    return st;
}

/* ---- a part: the root, or a subfolder ---- */

/* What stands directly in a folder. */
struct candidates {
    const char *main_index, *main;
    uint64_t index_count, tensors_count;
    const char *indexes[LISTED_MAX]; /* the first ones */
    const char *tensors[LISTED_MAX];
};

static void look_into(const struct opening *opening, const char *prefix, struct candidates *found) {
    *found = (struct candidates){0};
    for (uint64_t i = 0; i < opening->below.count; i++) {
        const char *name = directly_in(opening->below.names[i], prefix);
        if (!name) continue;
        if (text_ends_with(name, INDEX_SUFFIX)) {
            if (!strcmp(name, MAIN_INDEX)) found->main_index = name;
            if (found->index_count < LISTED_MAX) found->indexes[found->index_count] = name;
            found->index_count++;
        } else if (text_ends_with(name, SUFFIX)) {
            if (!strcmp(name, MAIN_NAME)) found->main = name;
            if (found->tensors_count < LISTED_MAX) found->tensors[found->tensors_count] = name;
            found->tensors_count++;
        }
    }
}

static tsr_status fail_ambiguous(const struct opening *opening, const char *prefix, const char *const *names,
                                 uint64_t count, const char *expected) {
    struct str list = {0};
    for (uint64_t i = 0; i < count && i < LISTED_MAX; i++) str_add_format(&list, "%s%s", i ? ", " : "", names[i]);
    if (count > LISTED_MAX) str_add_text(&list, ", ...");
    tsr_status st = list.failed
                        ? no_memory(opening)
                        : tsr_fail(opening->err, TSR_E_INPUT, "%s/%s: has %llu (%s), expected one or %s",
                                   opening->checkpoint->root, prefix, (unsigned long long)count, list.text, expected);
    str_clear(&list);
    return st;
}

static tsr_status add_part(struct opening *opening, const char *prefix) {
    struct candidates found;
    look_into(opening, prefix, &found);
    if (!found.main_index && found.index_count > 1) {
        return fail_ambiguous(opening, prefix, found.indexes, found.index_count, MAIN_INDEX);
    }
    if (found.index_count) {
        const char *name = found.main_index ? found.main_index : found.indexes[0];
        name = arena_format(&opening->checkpoint->arena, "%s%s", prefix, name);
        return name ? add_index(opening, prefix, name) : no_memory(opening);
    }
    if (found.main) return add_file(opening, prefix, MAIN_NAME);
    if (found.tensors_count > 1) {
        return fail_ambiguous(opening, prefix, found.tensors, found.tensors_count, MAIN_NAME);
    }
    if (found.tensors_count) return add_file(opening, prefix, found.tensors[0]);
    return tsr_fail(opening->err, TSR_E_INPUT,
                    "%s: has no " MAIN_NAME ", no " MAIN_INDEX " and no other " SUFFIX " file",
                    opening->checkpoint->root);
}

/* True when the file makes its subfolder a part that was not opened yet. */
static bool begins_part(const struct opening *opening, const char *name) {
    const struct checkpoint *checkpoint = opening->checkpoint;
    const char *base = fs_base_name(name);
    if (base == name || (strcmp(base, MAIN_NAME) != 0 && !text_ends_with(base, INDEX_SUFFIX))) return false;
    for (uint64_t i = 0; i < checkpoint->file_count; i++) {
        const struct checkpoint_file *file = &checkpoint->files[i];
        if (!strcmp(file->name, name)) return false;
        if (strlen(file->prefix) == (size_t)(base - name) && text_starts_with(name, file->prefix)) return false;
    }
    return true;
}

static tsr_status add_subfolders(struct opening *opening) {
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < opening->below.count && st == TSR_OK; i++) {
        if (!begins_part(opening, opening->below.names[i])) continue;
        const char *prefix = folder_of(opening->checkpoint, opening->below.names[i]);
        st = prefix ? add_part(opening, prefix) : no_memory(opening);
    }
    return st;
}

/* ---- the list of tensors ---- */

static int compare_tensor(const void *a, const void *b) {
    const struct checkpoint_tensor *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

static tsr_status fill_tensors(struct opening *opening) {
    struct checkpoint *checkpoint = opening->checkpoint;
    struct checkpoint_tensor *tensor = checkpoint->tensors;
    for (uint64_t i = 0; i < checkpoint->file_count; i++) {
        const struct checkpoint_file *file = &checkpoint->files[i];
        for (uint64_t j = 0; j < file->st.count; j++, tensor++) {
            const struct safetensors_entry *entry = &file->st.entries[j];
            *tensor = (struct checkpoint_tensor){.name = entry->name, .file = i, .entry = entry};
            if (!file->prefix[0]) continue;
            tensor->name = arena_format(&checkpoint->arena, "%s%s", file->prefix, entry->name);
            if (!tensor->name) return no_memory(opening);
        }
    }
    return TSR_OK;
}

static tsr_status list_tensors(struct opening *opening) {
    struct checkpoint *checkpoint = opening->checkpoint;
    uint64_t count = 0;
    for (uint64_t i = 0; i < checkpoint->file_count; i++) count += checkpoint->files[i].st.count;
    checkpoint->tensors = arena_alloc(&checkpoint->arena, count, sizeof *checkpoint->tensors);
    checkpoint->by_name = arena_alloc(&checkpoint->arena, count, sizeof *checkpoint->by_name);
    if (!checkpoint->tensors || !checkpoint->by_name) return no_memory(opening);
    checkpoint->tensor_count = count;
    tsr_status st = fill_tensors(opening);
    if (st != TSR_OK) return st;
    for (uint64_t i = 0; i < count; i++) checkpoint->by_name[i] = &checkpoint->tensors[i];
    if (count) qsort(checkpoint->by_name, (size_t)count, sizeof *checkpoint->by_name, compare_tensor);
    for (uint64_t i = 1; i < count; i++) {
        const struct checkpoint_tensor *a = checkpoint->by_name[i - 1], *b = checkpoint->by_name[i];
        if (strcmp(a->name, b->name) != 0) continue;
        return tsr_fail(opening->err, TSR_E_INPUT, "%s: tensor \"%s\" is in two files, \"%s\" and \"%s\"",
                        checkpoint->root, a->name, checkpoint->files[min_u64(a->file, b->file)].name,
                        checkpoint->files[max_u64(a->file, b->file)].name);
    }
    return TSR_OK;
}

/* ---- the other files ---- */

static tsr_status look_at_extra(const struct opening *opening, struct checkpoint_extra *extra) {
    const char *problem = NULL;
    struct fs_file file = {0};
    char *path = fs_join(opening->checkpoint->root, extra->name);
    if (!path) return no_memory(opening);
    tsr_status st = TSR_OK;
    switch (fs_kind_of(path)) {
    case FS_FILE:
        st = fs_open(path, &file, opening->err);
        extra->bytes = file.size;
        fs_close(&file);
        break;
    case FS_FOLDER:
        problem = "is a link to a folder, which is not followed";
        break;
    case FS_ABSENT:
        problem = "is a link that leads nowhere or in a circle";
        break;
    case FS_OTHER:
        problem = "is neither a file nor a folder";
        break;
    }
    if (problem) st = tsr_fail(opening->err, TSR_E_INPUT, "%s: %s", path, problem);
    mem_free(path);
    return st;
}

static tsr_status list_extras(struct opening *opening) {
    struct checkpoint *checkpoint = opening->checkpoint;
    checkpoint->extras = arena_alloc(&checkpoint->arena, opening->below.count, sizeof *checkpoint->extras);
    if (!checkpoint->extras) return no_memory(opening);
    for (uint64_t i = 0; i < opening->below.count; i++) {
        if (find_file(checkpoint, 0, opening->below.names[i])) continue;
        struct checkpoint_extra *extra = &checkpoint->extras[checkpoint->extra_count];
        extra->name = dup_text(checkpoint, opening->below.names[i]);
        if (!extra->name) return no_memory(opening);
        tsr_status st = look_at_extra(opening, extra);
        if (st != TSR_OK) return st;
        checkpoint->extra_count++;
    }
    return TSR_OK;
}

/* ---- the whole ---- */

/* Lists everything below the root, without what stands in hidden folders. */
static tsr_status list_below(struct opening *opening) {
    tsr_status st = fs_list(opening->checkpoint->root, true, &opening->below, opening->err);
    uint64_t kept = 0;
    for (uint64_t i = 0; i < opening->below.count; i++) {
        char *name = opening->below.names[i];
        if (in_hidden_folder(name)) {
            mem_free(name);
        } else {
            opening->below.names[kept++] = name;
        }
    }
    opening->below.count = kept;
    return st;
}

static tsr_status open_folder(struct opening *opening) {
    tsr_status st = list_below(opening);
    if (st == TSR_OK) st = add_part(opening, "");
    if (st == TSR_OK) st = add_subfolders(opening);
    if (st == TSR_OK) st = list_tensors(opening);
    if (st == TSR_OK) st = list_extras(opening);
    fs_list_clear(&opening->below);
    return st;
}

static tsr_status open_single(struct opening *opening, const char *path) {
    struct checkpoint *checkpoint = opening->checkpoint;
    const char *base = fs_base_name(path);
    checkpoint->single_file = true;
    checkpoint->root = base == path ? "." : arena_dup(&checkpoint->arena, path, (size_t)(base - path));
    if (!checkpoint->root) return tsr_fail(opening->err, TSR_E_NOMEM, "%s: out of memory", path);
    tsr_status st = add_file(opening, "", base);
    return st == TSR_OK ? list_tensors(opening) : st;
}

tsr_status checkpoint_open(const char *path, struct checkpoint *checkpoint, tsr_error *err) {
    struct opening opening = {.checkpoint = checkpoint, .err = err};
    switch (fs_kind_of(path)) {
    case FS_FILE:
        return open_single(&opening, path);
    case FS_FOLDER:
        checkpoint->root = dup_text(checkpoint, path);
        return checkpoint->root ? open_folder(&opening) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    case FS_OTHER:
        return tsr_fail(err, TSR_E_INPUT, "%s: is neither a file nor a folder", path);
    default:
        return tsr_fail(err, TSR_E_INPUT, "%s: no such file or folder", path);
    }
}

void checkpoint_close(struct checkpoint *checkpoint) {
    for (uint64_t i = 0; i < checkpoint->file_count; i++) safetensors_close(&checkpoint->files[i].st);
    mem_free(checkpoint->files);
    arena_clear(&checkpoint->arena);
    *checkpoint = (struct checkpoint){0};
}

const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name) {
    const struct checkpoint_tensor wanted = {.name = name}, *key = &wanted;
    if (checkpoint->tensor_count == 0) return NULL;
    const struct checkpoint_tensor **found = bsearch(&key, checkpoint->by_name, (size_t)checkpoint->tensor_count,
                                                     sizeof *checkpoint->by_name, compare_tensor);
    return found ? *found : NULL;
}

tsr_status checkpoint_read(const struct checkpoint *checkpoint, const struct checkpoint_tensor *tensor, uint64_t offset,
                           void *dst, uint64_t size, tsr_error *err) {
    if (offset > tensor->entry->bytes || size > tensor->entry->bytes - offset) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tensor \"%s\": bytes %llu to %llu are outside it", tensor->name,
                        (unsigned long long)offset, (unsigned long long)(offset + size));
    }
    return fs_read_at(&checkpoint->files[tensor->file].st.file, tensor->entry->offset + offset, dst, size, err);
}
