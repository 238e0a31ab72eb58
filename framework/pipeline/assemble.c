/* SPDX-License-Identifier: Apache-2.0
 *
 * The first file begins with what is needed to make sense of the rest: manifest, headers of the source files, originals
 * of small files that the output has changed. Then come the payloads, in source order. */
#include "assemble.h"

#include <base/alloc.h>
#include <format/container_write.h>
#include <format/json.h>
#include <reading/meter.h>
#include <string.h>

/* What one container file will hold. */
struct shard {
    struct container_part *parts;
    uint64_t count;
};

struct assembling {
    const struct assembly *in;
    struct arena *arena;
    const struct source_facts *facts;
    struct shard *shards; /* [layout->file_count] */
    void **blobs;         /* of the first file, to be freed */
    uint64_t blob_count;
    tsr_error *err;
};

static tsr_status no_memory(const struct assembling *a) {
    return tsr_fail(a->err, TSR_E_NOMEM, "%s: out of memory", a->in->work->staged);
}

/* ---- the configs ---- */

/* The text of config.json with our quantization_config, or NULL in *text when it is no JSON object. */
static tsr_status changed_config(const char *path, char **text, tsr_error *err) {
    char *original = NULL;
    uint64_t size = 0;
    json_t *config = NULL;
    *text = NULL;
    tsr_status st = fs_read_whole(path, EXTRA_BYTES_MAX, &original, &size, err);
    if (st != TSR_OK) return st;
    st = json_parse(original, (size_t)size, path, &config, err);
    mem_free(original);
    if (st == TSR_OK && json_is_object(config)) {
        struct members ours = members_object(), whole = {json_incref(config), false};
        members_text(&ours, "quant_method", "tessera");
        members_text(&ours, "format", CONTAINER_VERSION_TEXT);
        json_t *before = json_object_get(config, "quantization_config");
        if (before) members_set(&ours, "source", json_incref(before));
        members_nest(&whole, "quantization_config", &ours);
        *text = whole.failed ? NULL : json_to_text(config, 1);
        json_decref(whole.value);
        if (!*text) st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    }
    json_decref(config);
    return st == TSR_E_INPUT ? TSR_OK : st;
}

static tsr_status write_small(const struct assembling *a, const char *name, const char *text) {
    struct fs_output output = {0};
    char *path = NULL;
    tsr_status st = work_path(a->in->work->staged, name, &path, a->err);
    if (st == TSR_OK) st = fs_create(path, &output, a->err);
    if (st == TSR_OK) st = fs_write(&output, text, strlen(text), a->err);
    if (st == TSR_OK) st = fs_write(&output, "\n", 1, a->err);
    if (st == TSR_OK) st = fs_sync(&output, a->err);
    if (st == TSR_OK) st = fs_finish(&output, a->err);
    fs_abandon(&output);
    mem_free(path);
    return st;
}

static tsr_status write_configs(struct assembling *a) {
    const struct checkpoint *checkpoint = a->in->checkpoint;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < checkpoint->extra_count && st == TSR_OK; i++) {
        const char *name = checkpoint->extras[i].name;
        if (a->in->layout->kept[i] != LAYOUT_BLOB || !layout_is_config(checkpoint, name)) continue;
        char *path = fs_join(checkpoint->root, name), *text = NULL;
        st = path ? changed_config(path, &text, a->err) : no_memory(a);
        if (st == TSR_OK && !text) {
            env_log(a->in->env, TSR_LOG_WARNING, "%s: is no JSON object, copied as it is", path);
            a->in->layout->kept[i] = LAYOUT_COPY;
        } else if (st == TSR_OK) {
            st = write_small(a, name, text);
        }
        mem_free(text);
        mem_free(path);
    }
    return st;
}

static tsr_status copy_extras(const struct assembling *a) {
    const struct checkpoint *checkpoint = a->in->checkpoint;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < checkpoint->extra_count && st == TSR_OK; i++) {
        if (a->in->layout->kept[i] != LAYOUT_COPY) continue;
        struct fs_file from = {0};
        struct fs_output to = {0};
        char *source = fs_join(checkpoint->root, checkpoint->extras[i].name), *path = NULL;
        st = source ? fs_open(source, &from, a->err) : no_memory(a);
        if (st == TSR_OK) st = work_path(a->in->work->staged, checkpoint->extras[i].name, &path, a->err);
        if (st == TSR_OK) st = fs_create(path, &to, a->err);
        if (st == TSR_OK) st = fs_append_range(&to, &from, 0, from.size, a->err);
        if (st == TSR_OK) st = fs_sync(&to, a->err);
        if (st == TSR_OK) st = fs_finish(&to, a->err);
        fs_abandon(&to);
        fs_close(&from);
        mem_free(path);
        mem_free(source);
    }
    return st;
}

/* ---- blobs ---- */

/* Appends a blob of these bytes to a shard. */
static tsr_status add_blob(struct assembling *a, uint64_t file, const char *name, const void *bytes, uint64_t size) {
    struct shard *shard = &a->shards[file];
    void **blob = &a->blobs[a->blob_count];
    uint64_t blob_bytes = 0;
    if (!name) return no_memory(a);
    tsr_status st = blob_make(bytes, size, blob, &blob_bytes, a->err);
    if (st != TSR_OK) return st;
    a->blob_count++;
    shard->parts[shard->count++] = (struct container_part){.name = name, .bytes = blob_bytes, .memory = *blob};
    return TSR_OK;
}

static tsr_status add_original(struct assembling *a, const char *name) {
    char *bytes = NULL, *path = fs_join(a->in->checkpoint->root, name);
    uint64_t size = 0;
    tsr_status st = path ? fs_read_whole(path, EXTRA_BYTES_MAX, &bytes, &size, a->err) : no_memory(a);
    if (st == TSR_OK) st = add_blob(a, 0, arena_format(a->arena, CONTAINER_FILE_OF "%s", name), bytes, size);
    mem_free(bytes);
    mem_free(path);
    return st;
}

static tsr_status add_dictionaries(struct assembling *a) {
    const struct plan *plan = a->in->plan;
    tsr_status st = TSR_OK;
    for (uint64_t g = 0; g < plan->group_count && st == TSR_OK; g++) {
        const struct plan_group *group = &plan->groups[g];
        bool twice = false; /* equal ones are one */
        char hex[DIGEST_HEX];
        for (uint64_t i = 0; i < g; i++) {
            twice = twice || (plan->groups[i].dictionary && digest_equal(&plan->groups[i].digest, &group->digest));
        }
        if (!group->dictionary || twice) continue;
        const char *name = arena_format(a->arena, CONTAINER_DICTIONARY "%s", digest_to_hex(&group->digest, hex));
        st = add_blob(a, a->in->layout->dictionary_file, name, group->dictionary, group->bytes);
    }
    return st;
}

static tsr_status add_blobs(struct assembling *a) {
    const struct checkpoint *checkpoint = a->in->checkpoint;
    char *manifest = NULL;
    tsr_status st = manifest_make(checkpoint, a->in->plan, a->in->layout, a->facts, &manifest, a->err);
    if (st == TSR_OK) st = add_blob(a, 0, CONTAINER_MANIFEST, manifest, strlen(manifest));
    mem_free(manifest);
    for (uint64_t i = 0; i < checkpoint->file_count && st == TSR_OK; i++) {
        const struct checkpoint_file *file = &checkpoint->files[i];
        st = add_blob(a, 0, arena_format(a->arena, CONTAINER_HEADER_OF "%s", file->name), file->st.header,
                      file->st.header_bytes);
    }
    for (uint64_t i = 0; i < checkpoint->extra_count && st == TSR_OK; i++) {
        if (a->in->layout->kept[i] == LAYOUT_BLOB) st = add_original(a, checkpoint->extras[i].name);
    }
    return st == TSR_OK ? add_dictionaries(a) : st;
}

/* ---- shards ---- */

static tsr_status allocate(struct assembling *a) {
    const struct layout *layout = a->in->layout;
    uint64_t groups = a->in->plan->group_count;
    uint64_t blobs = 1 + a->in->checkpoint->file_count + a->in->checkpoint->extra_count + groups;
    a->shards = arena_alloc(a->arena, layout->file_count, sizeof *a->shards);
    a->blobs = arena_alloc(a->arena, blobs, sizeof *a->blobs);
    if (!a->shards || !a->blobs) return no_memory(a);
    for (uint64_t i = 0; i < layout->file_count; i++) {
        uint64_t room = layout->files[i].count * PART_PAYLOADS_MAX + (i == 0 ? blobs : groups);
        a->shards[i].parts = arena_alloc(a->arena, room + 1, sizeof *a->shards[i].parts);
        if (!a->shards[i].parts) return no_memory(a);
    }
    return TSR_OK;
}

/* Of payload `index` of a part. */
static const char *payload_name(struct assembling *a, const struct plan_entry *entry, uint64_t index) {
    const char *name = layout_local_name(entry);
    if (index == 0) return name;
    if (index > entry->more_count) return arena_format(a->arena, CONTAINER_INDEX "%s", name);
    return arena_format(a->arena, CONTAINER_STAGE "%llu/%s", (unsigned long long)index, name);
}

/* The payloads of one tensor: stage after stage, then its search index. */
static tsr_status add_payload(struct assembling *a, struct shard *shard, uint64_t index) {
    const struct plan_entry *entry = &a->in->plan->entries[index];
    const struct part *part = &a->in->parts->items[index];
    for (uint64_t s = 0; s < part_payloads(entry); s++) {
        const char *name = payload_name(a, entry, s);
        uint64_t begin = s ? part->ends[s - 1] : 0;
        if (!name) return no_memory(a);
        shard->parts[shard->count++] = (struct container_part){
            .name = name,
            .bytes = part->ends[s] - begin,
            .part_path = part->path,
            .part_offset = begin,
            .part_bytes = part->bytes};
    }
    return TSR_OK;
}

static tsr_status add_payloads(struct assembling *a) {
    const struct layout *layout = a->in->layout;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < layout->file_count; i++) {
        for (uint64_t j = 0; j < layout->files[i].count && st == TSR_OK; j++) {
            st = add_payload(a, &a->shards[i], layout->order[layout->files[i].first + j]);
        }
    }
    return st;
}

static uint64_t shard_bytes(const struct shard *shard) {
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < shard->count; i++) bytes += shard->parts[i].bytes;
    return bytes;
}

static tsr_status write_shards(struct assembling *a) {
    const struct layout *layout = a->in->layout;
    struct meter meter;
    uint64_t total = 0;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < layout->file_count; i++) total += shard_bytes(&a->shards[i]);
    meter_begin(&meter, a->in->env, "assemble", total, layout->file_count);
    for (uint64_t i = 0; i < layout->file_count && st == TSR_OK; i++) {
        struct digest header;
        char *path = NULL;
        st = meter_check_cancel(a->in->env, a->err);
        if (st == TSR_OK) st = work_path(a->in->work->staged, layout->files[i].name, &path, a->err);
        if (st == TSR_OK) st = container_write(path, a->shards[i].parts, a->shards[i].count, &header, a->err);
        if (st == TSR_OK) meter_add(&meter, layout->files[i].name, shard_bytes(&a->shards[i]));
        mem_free(path);
    }
    meter_end(&meter);
    return st;
}

/* ---- indexes ---- */

static tsr_status write_index(struct assembling *a, const struct layout_index *index) {
    const struct layout *layout = a->in->layout;
    struct members whole = members_object(), metadata = members_object(), map = members_object();
    uint64_t total = 0;
    for (uint64_t i = 0; i < layout->file_count; i++) {
        if (strcmp(layout->files[i].prefix, index->prefix) != 0) continue;
        total += shard_bytes(&a->shards[i]);
        for (uint64_t j = 0; j < a->shards[i].count; j++) {
            members_text(&map, a->shards[i].parts[j].name, layout->files[i].name + strlen(index->prefix));
        }
    }
    members_count(&metadata, "total_size", total);
    members_nest(&whole, "metadata", &metadata);
    members_nest(&whole, "weight_map", &map);
    json_t *value = NULL;
    tsr_status st = members_finish(&whole, &value, a->err);
    char *text = st == TSR_OK ? json_to_text(value, 1) : NULL;
    if (st == TSR_OK) st = text ? write_small(a, index->name, text) : no_memory(a);
    mem_free(text);
    json_decref(value);
    return st;
}

static tsr_status write_all(struct assembling *a) {
    tsr_status st = allocate(a);
    if (st == TSR_OK) st = add_blobs(a);
    if (st == TSR_OK) st = add_payloads(a);
    if (st == TSR_OK) st = write_shards(a);
    for (uint64_t i = 0; i < a->in->layout->index_count && st == TSR_OK; i++) {
        st = write_index(a, &a->in->layout->indexes[i]);
    }
    return st == TSR_OK ? copy_extras(a) : st;
}

tsr_status assemble(const struct assembly *assembly, struct arena *arena, struct source_facts *facts, tsr_error *err) {
    struct assembling a = {.in = assembly, .arena = arena, .facts = facts, .err = err};
    tsr_status st = work_clear_staged(assembly->work, err);
    if (st == TSR_OK) st = write_configs(&a);
    if (st == TSR_OK) {
        st = source_facts_make(assembly->checkpoint, assembly->layout, assembly->env, arena, facts, err);
    }
    if (st == TSR_OK) st = write_all(&a);
    for (uint64_t i = 0; i < a.blob_count; i++) mem_free(a.blobs[i]);
    return st;
}
