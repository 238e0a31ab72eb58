/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything in a manifest follows from source and plan, so it is the same on every machine. */
#include "manifest.h"

#include <base/alloc.h>
#include <format/container.h>
#include <format/json.h>
#include <reading/facts.h>
#include <reading/lanes.h>
#include <reading/meter.h>
#include <string.h>

/* ---- digests of the source ---- */

struct digesting {
    const struct checkpoint *checkpoint;
    const struct layout *layout;
    struct source_facts *facts;
    struct meter meter;
};

static tsr_status digest_extra(struct digesting *digesting, uint64_t index, tsr_error *err) {
    const struct checkpoint_extra *extra = &digesting->checkpoint->extras[index];
    uint64_t bytes;
    if (digesting->layout->kept[index] == LAYOUT_NONE) return TSR_OK;
    char *path = fs_join(digesting->checkpoint->root, extra->name);
    if (!path) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", extra->name);
    tsr_status st = facts_of_path(path, &bytes, &digesting->facts->extras[index], err);
    if (st == TSR_OK && bytes != extra->bytes) {
        st = tsr_fail(err, TSR_E_INPUT, "%s: the file changed while it was read", path);
    }
    mem_free(path);
    return st;
}

static tsr_status digest_one(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct digesting *digesting = ctx;
    (void)worker;
    tsr_status st = meter_check_cancel(digesting->meter.env, err);
    if (st != TSR_OK) return st;
    if (index >= digesting->checkpoint->file_count) {
        return digest_extra(digesting, index - digesting->checkpoint->file_count, err);
    }
    const struct checkpoint_file *file = &digesting->checkpoint->files[index];
    st = facts_of_file(&file->st.file, &digesting->facts->files[index], err);
    if (st == TSR_OK) meter_add(&digesting->meter, file->name, file->st.file.size);
    return st;
}

tsr_status source_facts_make(const struct checkpoint *checkpoint, const struct layout *layout, const struct env *env,
                             struct arena *arena, struct source_facts *facts, tsr_error *err) {
    struct digesting digesting = {.checkpoint = checkpoint, .layout = layout, .facts = facts};
    uint64_t count = checkpoint->file_count + checkpoint->extra_count, total = 0;
    uint64_t *bytes = arena_alloc(arena, count, sizeof *bytes);
    facts->files = arena_alloc(arena, checkpoint->file_count, sizeof *facts->files);
    facts->extras = arena_alloc(arena, checkpoint->extra_count + 1, sizeof *facts->extras);
    if (!bytes || !facts->files || !facts->extras)
        return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", checkpoint->root);
    for (uint64_t i = 0; i < checkpoint->file_count; i++) total += bytes[i] = checkpoint->files[i].st.file.size;
    meter_begin(&digesting.meter, env, "digest", total, checkpoint->file_count);
    tsr_status st = lanes_run(env, bytes, count, digest_one, &digesting, err);
    meter_end(&digesting.meter);
    return st;
}

/* ---- the text ---- */

static bool decodes_exactly(const struct plan *plan, const struct plan_entry *entry) {
    return plan_entry_is_exact(entry->alias_of >= 0 ? &plan->entries[entry->alias_of] : entry);
}

static void add_tensor(struct members *list, const struct plan *plan, const struct plan_entry *entry) {
    const struct safetensors_entry *source = entry->source->entry;
    struct members tensor = members_object();
    members_text(&tensor, "name", source->name);
    members_text(&tensor, "dtype", source->dtype_name);
    members_shape(&tensor, "shape", source->shape, source->rank);
    members_count(&tensor, "bytes", source->bytes);
    members_digest(&tensor, "digest", &entry->digest);
    members_text(&tensor, "role", entry->role.role);
    members_text(&tensor, "regime", regime_name(entry->regime));
    members_bool(&tensor, "exact", decodes_exactly(plan, entry));
    if (entry->alias_of < 0 && entry->more_count) members_count(&tensor, "stages", 1 + entry->more_count);
    if (entry->alias_of < 0 && entry->index) members_text(&tensor, "index", entry->index->codec->id);
    members_text(&tensor, "alias_of", entry->alias_of < 0 ? NULL : plan->entries[entry->alias_of].source->name);
    members_append(list, &tensor);
}

static void add_source(struct members *list, const struct checkpoint_file *file, const struct digest *digest,
                       struct members *tensors) {
    struct members source = members_object();
    members_text(&source, "name", file->name);
    members_text(&source, "prefix", file->prefix);
    members_count(&source, "bytes", file->st.file.size);
    members_count(&source, "header_bytes", file->st.header_bytes);
    members_digest(&source, "digest", digest);
    members_nest(&source, "tensors", tensors);
    members_append(list, &source);
}

const char *manifest_kept_name(enum layout_kept kept) {
    static const char *const names[] = {"copy", "blob", "none"};
    return names[kept];
}

static void add_extra(struct members *list, const struct checkpoint_extra *extra, enum layout_kept kept,
                      const struct digest *digest) {
    struct members member = members_object();
    members_text(&member, "name", extra->name);
    members_count(&member, "bytes", extra->bytes);
    if (kept == LAYOUT_NONE) {
        members_text(&member, "digest", NULL);
    } else {
        members_digest(&member, "digest", digest);
    }
    members_text(&member, "kept", manifest_kept_name(kept));
    members_append(list, &member);
}

tsr_status manifest_make(const struct checkpoint *checkpoint, const struct plan *plan, const struct layout *layout,
                         const struct source_facts *facts, char **text, tsr_error *err) {
    struct members manifest = members_object(), sources = members_list(), extras = members_list();
    members_text(&manifest, "tessera", CONTAINER_VERSION_TEXT);
    for (uint64_t i = 0, entry = 0; i < checkpoint->file_count; i++) {
        struct members tensors = members_list();
        for (; entry < plan->count && plan->entries[entry].source->file == i; entry++) {
            add_tensor(&tensors, plan, &plan->entries[entry]);
        }
        add_source(&sources, &checkpoint->files[i], &facts->files[i], &tensors);
    }
    for (uint64_t i = 0; i < checkpoint->extra_count; i++) {
        add_extra(&extras, &checkpoint->extras[i], layout->kept[i], &facts->extras[i]);
    }
    members_nest(&manifest, "sources", &sources);
    members_nest(&manifest, "extras", &extras);
    json_t *value = NULL;
    tsr_status st = members_finish(&manifest, &value, err);
    *text = st == TSR_OK ? json_to_text(value, 0) : NULL;
    json_decref(value);
    if (st == TSR_OK && !*text) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for the manifest");
    return st;
}
