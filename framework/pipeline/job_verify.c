/* SPDX-License-Identifier: Apache-2.0
 *
 * verify: every byte of an output is covered twice, by the digest of its file in the receipt and by the checksums
 * inside the container, and every tile is decoded. The checksums inside say which tensor is damaged; the digest of the
 * file catches what lies between them. Damage is collected, not stopped at. */
#include "job.h"
#include "layout.h"
#include "seal.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/str.h>
#include <reading/decoder.h>
#include <reading/facts.h>
#include <reading/lanes.h>
#include <reading/members.h>
#include <reading/meter.h>
#include <reading/stored.h>
#include <stdatomic.h>
#include <string.h>

#define BLOB_BYTES_MAX (UINT64_C(1) << 28)

/* One file of the output. */
struct verified_file {
    const char *name;
    bool container;
    bool listed; /* by the receipt, so bytes and digest are known */
    uint64_t bytes;
    struct digest digest;
    bool intact; /* its digest is the receipt's */
    bool blamed; /* something in it was found damaged */
    struct safetensors st;
};

/* One tensor of a container file, and what was found. */
struct verified_item {
    uint64_t file;
    const struct safetensors_entry *entry;
    uint64_t tiles;
    tsr_status status;
    tsr_error error;
    atomic_uint_least64_t metered; /* stored bytes that progress has counted, on any worker */
};

struct verifying {
    const char *root;
    const struct registry *registry;
    const struct env *env;
    struct arena arena;
    json_t *receipt;      /* owns names */
    bool bare;            /* there is no file of that name */
    struct fs_list found; /* owns names when there is no receipt */
    struct verified_file *files;
    uint64_t file_count;
    struct verified_item *items;
    uint64_t item_count, tiles, bytes;
    struct meter meter;
    struct members damage;
    uint64_t damage_count;
    char first[TSR_ERROR_TEXT]; /* the first damage, as a message */
    tsr_error *err;
    struct dictionaries dictionaries;
};

static tsr_status no_memory(const struct verifying *v) {
    return tsr_fail(v->err, TSR_E_NOMEM, "%s: out of memory", v->root);
}

/* ---- damage ---- */

static void blame(struct verifying *v, const char *file, const char *tensor, const char *what) {
    struct members entry = members_object();
    members_text(&entry, "file", file);
    members_text(&entry, "tensor", tensor);
    members_text(&entry, "what", text_is_utf8(what, strlen(what)) ? what : "damaged");
    members_append(&v->damage, &entry);
    if (v->damage_count++ == 0) {
        (void)snprintf(v->first, sizeof v->first, "%.80s: %.60s: %.90s", file, tensor ? tensor : "header", what);
    }
}

/* True when a status tells of the system or of a missing plugin, not of the bytes. */
static bool is_trouble(const struct verified_file *file, tsr_status status) {
    switch (status) {
    case TSR_E_NOMEM:
    case TSR_E_IO:
    case TSR_E_CANCELLED:
    case TSR_E_PLUGIN:
        return true;
    case TSR_E_UNSUPPORTED:
        return file->intact;
    default:
        return false;
    }
}

/* Damage becomes a line of the list, trouble ends the job. */
static tsr_status judge(struct verifying *v, struct verified_file *file, const char *tensor, tsr_status status,
                        const tsr_error *error) {
    if (status == TSR_OK) return TSR_OK;
    if (is_trouble(file, status)) {
        if (v->err) *v->err = *error;
        return status;
    }
    file->blamed = true;
    blame(v, file->name, tensor, error->message);
    return TSR_OK;
}

/* ---- which files ---- */

static tsr_status list_by_receipt(struct verifying *v) {
    bool bad = false;
    const json_t *files = member_list(v->receipt, "files", &bad);
    v->files = arena_alloc(&v->arena, json_array_size(files) + 1, sizeof *v->files);
    if (!v->files) return no_memory(v);
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *member = json_array_get(files, i);
        struct verified_file *file = &v->files[v->file_count++];
        file->name = member_text(member, "name", &bad);
        file->container = !strcmp(member_text(member, "kind", &bad), "container");
        file->bytes = member_count(member, "bytes", &bad);
        file->digest = member_digest(member, "digest", &bad);
        file->listed = true;
        if (!fs_is_inside(file->name)) bad = true;
    }
    return bad ? tsr_fail(v->err, TSR_E_CORRUPT, "%s: " RECEIPT_NAME ": its list of files cannot be read", v->root)
               : TSR_OK;
}

/* Without a receipt: what says of itself that it is a container. */
static tsr_status list_by_folder(struct verifying *v) {
    tsr_status st = fs_list(v->root, true, &v->found, v->err);
    if (st != TSR_OK) return st;
    v->files = arena_alloc(&v->arena, v->found.count + 1, sizeof *v->files);
    if (!v->files) return no_memory(v);
    for (uint64_t i = 0; i < v->found.count; i++) {
        if (!text_ends_with(v->found.names[i], ".safetensors")) continue;
        v->files[v->file_count++] = (struct verified_file){.name = v->found.names[i], .container = true};
    }
    return TSR_OK;
}

static tsr_status read_receipt(struct verifying *v) {
    tsr_error why = {0};
    char *path = fs_join(v->root, RECEIPT_NAME), *run = fs_join(v->root, RUN_NAME);
    tsr_status st = path && run ? seal_read(path, &v->receipt, NULL, &why) : no_memory(v);
    struct verified_file receipt = {.name = RECEIPT_NAME}, facts = {.name = RUN_NAME};
    if (path && run) {
        v->bare = st != TSR_OK && fs_kind_of(path) == FS_ABSENT;
        st = judge(v, &receipt, NULL, st, &why);
        if (st == TSR_OK) st = v->receipt ? list_by_receipt(v) : list_by_folder(v);
    }
    if (st == TSR_OK && fs_kind_of(run) != FS_ABSENT) {
        json_t *ignored = NULL;
        tsr_status sealed = seal_read(run, &ignored, NULL, &why);
        json_decref(ignored);
        st = judge(v, &facts, NULL, sealed, &why);
    }
    mem_free(path);
    mem_free(run);
    return st;
}

/* ---- files ---- */

static tsr_status check_listed(struct verified_file *file, const char *path, tsr_error *err) {
    uint64_t bytes = 0;
    struct digest digest;
    if (!file->listed) return TSR_OK;
    tsr_status st = facts_of_path(path, &bytes, &digest, err);
    if (st != TSR_OK) return st;
    file->intact = bytes == file->bytes && digest_equal(&digest, &file->digest);
    if (file->container || file->intact) return TSR_OK;
    return tsr_fail(err, TSR_E_CORRUPT, "%s: differs from what the receipt says", path);
}

static tsr_status open_container(struct verified_file *file, const char *path, tsr_error *err) {
    if (!file->container) return TSR_OK;
    tsr_status st = safetensors_open(path, &file->st, err);
    if (st != TSR_OK) return st;
    if (!file->listed && !container_is(&file->st)) {
        file->container = false;
        return TSR_OK;
    }
    return container_check(&file->st, err);
}

static tsr_status check_file(struct verifying *v, struct verified_file *file) {
    tsr_error why = {0};
    char *path = fs_join(v->root, file->name);
    if (!path) return no_memory(v);
    tsr_status found = check_listed(file, path, &why);
    if (found == TSR_OK) found = open_container(file, path, &why);
    tsr_status st = judge(v, file, NULL, found, &why);
    if (found != TSR_OK) safetensors_close(&file->st);
    mem_free(path);
    return st;
}

/* Without a receipt and without a container, there is nothing of ours to be damaged. */
static tsr_status check_files(struct verifying *v) {
    bool any = false;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; st == TSR_OK && i < v->file_count; i++) st = check_file(v, &v->files[i]);
    for (uint64_t i = 0; i < v->file_count; i++) any = any || v->files[i].container;
    if (st != TSR_OK || any || !v->bare) return st;
    return tsr_fail(v->err, TSR_E_INPUT, "%s: is not a compressed checkpoint", v->root);
}

/* ---- tensors ---- */

struct checking {
    struct verifying *all;
    struct verified_item *item;
};

/* Progress counts what is stored: the total of the decoded bytes is known only at the end. */
static tsr_status count_tile(void *ctx, const struct decoder *decoder, const tsr_tile *tile, void *bytes, void *scratch,
                             tsr_error *err) {
    const struct checking *checking = ctx;
    uint64_t stored = decoder->payload.tiles[tile->index].bytes;
    (void)bytes;
    (void)scratch;
    (void)err;
    atomic_fetch_add(&checking->item->metered, stored);
    meter_add(&checking->all->meter, NULL, stored);
    return TSR_OK;
}

static tsr_status check_blob(const struct safetensors *st, const struct safetensors_entry *entry, tsr_error *err) {
    char *bytes = NULL;
    uint64_t size;
    tsr_status status = blob_read(st, entry, BLOB_BYTES_MAX, &bytes, &size, err);
    mem_free(bytes);
    return status;
}

/* A correction means something behind its base only; alone, its checksums are what can be checked. */
static tsr_status check_correction(const struct verified_file *file, struct verified_item *item) {
    struct payload payload = {0};
    tsr_status st = payload_open(&file->st, item->entry, &payload, &item->error);
    for (uint64_t i = 0; st == TSR_OK && i < payload.head.tile_count; i++) {
        void *bytes = mem_alloc(payload.tiles[i].bytes);
        st = bytes ? payload_read_tile(&payload, i, bytes, &item->error)
                   : tsr_fail(&item->error, TSR_E_NOMEM, "tensor \"%s\": out of memory", item->entry->name);
        mem_free(bytes);
    }
    item->tiles = payload.head.tile_count;
    payload_close(&payload);
    return st;
}

/* Indexes too: their addresses must lie in their tree. */
static tsr_status check_payload(struct verifying *v, const struct verified_file *file, struct verified_item *item) {
    struct decoder_place place = {&file->st, item->entry};
    struct decoder_input input = {&place, 1, &v->dictionaries, 0};
    struct decoder decoder = {0};
    struct checking checking = {v, item};
    tsr_status st = decoder_open(&input, v->registry, v->env, &decoder, &item->error);
    if (st == TSR_OK) st = decoder_each(&decoder, count_tile, &checking, &item->error);
    item->tiles = decoder.grid.count;
    decoder_close(&decoder);
    return st;
}

static tsr_status check_item(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct verifying *v = ctx;
    struct verified_item *item = &v->items[index];
    struct verified_file *file = &v->files[item->file];
    (void)worker;
    bool is_index = text_starts_with(item->entry->name, CONTAINER_INDEX);
    if (text_starts_with(item->entry->name, CONTAINER_STAGE)) {
        item->status = check_correction(file, item);
    } else if (!is_index && text_starts_with(item->entry->name, CONTAINER_PREFIX)) {
        item->status = check_blob(&file->st, item->entry, &item->error);
    } else {
        item->status = check_payload(v, file, item);
    }
    meter_add(&v->meter, item->entry->name, item->entry->bytes - min_u64(atomic_load(&item->metered), item->entry->bytes));
    if (!is_trouble(file, item->status)) return TSR_OK;
    if (err) *err = item->error;
    return item->status;
}

static tsr_status list_items(struct verifying *v, uint64_t **bytes) {
    for (uint64_t i = 0; i < v->file_count; i++) {
        if (v->files[i].container) v->item_count += v->files[i].st.count;
    }
    v->items = arena_alloc(&v->arena, v->item_count + 1, sizeof *v->items);
    *bytes = arena_alloc(&v->arena, v->item_count + 1, sizeof **bytes);
    if (!v->items || !*bytes) return no_memory(v);
    uint64_t at = 0;
    for (uint64_t i = 0; i < v->file_count; i++) {
        for (uint64_t j = 0; v->files[i].container && j < v->files[i].st.count; j++, at++) {
            v->items[at] = (struct verified_item){.file = i, .entry = &v->files[i].st.entries[j]};
            (*bytes)[at] = v->files[i].st.entries[j].bytes;
            v->bytes += (*bytes)[at];
        }
    }
    return TSR_OK;
}

/* One that is damaged is blamed by its own item, and by those that need it. */
static void read_dictionaries(struct verifying *v) {
    tsr_error ignored;
    for (uint64_t i = 0; i < v->item_count; i++) {
        const struct verified_item *item = &v->items[i];
        if (!dictionaries_is(item->entry->name)) continue;
        (void)dictionaries_add(&v->dictionaries, &v->files[item->file].st, item->entry, &ignored);
    }
}

static tsr_status check_items(struct verifying *v) {
    uint64_t *bytes = NULL;
    tsr_status st = list_items(v, &bytes);
    if (st != TSR_OK) return st;
    read_dictionaries(v);
    meter_begin(&v->meter, v->env, "verify", v->bytes, v->item_count);
    st = lanes_run(v->env, bytes, v->item_count, check_item, v, v->err);
    meter_end(&v->meter);
    for (uint64_t i = 0; st == TSR_OK && i < v->item_count; i++) {
        struct verified_item *item = &v->items[i];
        v->tiles += item->tiles;
        st = judge(v, &v->files[item->file], item->entry->name, item->status, &item->error);
    }
    return st;
}

/* What no checksum inside a container covers, and how the files belong together. */
static tsr_status check_whole(struct verifying *v) {
    for (uint64_t i = 0; i < v->file_count; i++) {
        struct verified_file *file = &v->files[i];
        if (!file->container || !file->listed || file->intact || file->blamed) continue;
        file->blamed = true;
        blame(v, file->name, NULL, "differs from what the receipt says");
    }
    if (v->damage_count) return TSR_OK;
    struct stored stored = {0};
    tsr_error why = {0};
    struct verified_file whole = {.name = ".", .intact = true};
    tsr_status st = judge(v, &whole, NULL, stored_open(v->root, &stored, &why), &why);
    stored_close(&stored);
    return st;
}

static tsr_status make_result(struct verifying *v, json_t **result) {
    struct members whole = members_object();
    uint64_t containers = 0, tensors = 0;
    for (uint64_t i = 0; i < v->file_count; i++) containers += v->files[i].container;
    for (uint64_t i = 0; i < v->item_count; i++)
        tensors += !text_starts_with(v->items[i].entry->name, CONTAINER_PREFIX);
    members_bool(&whole, "ok", v->damage_count == 0);
    members_count(&whole, "files", v->receipt ? v->file_count : containers);
    members_count(&whole, "tensors", tensors);
    members_count(&whole, "tiles", v->tiles);
    members_count(&whole, "bytes", v->bytes);
    members_nest(&whole, "damage", &v->damage);
    v->damage = (struct members){0};
    tsr_status st = members_finish(&whole, result, v->err);
    if (st != TSR_OK || v->damage_count == 0) return st;
    return tsr_fail(v->err, TSR_E_CORRUPT, "%s: %s%s", v->root, v->first, v->damage_count > 1 ? " (and more)" : "");
}

tsr_status job_verify(const char *output, const struct registry *registry, const struct env *env, json_t **result,
                      tsr_error *err) {
    struct verifying v = {.root = output, .registry = registry, .env = env, .err = err};
    if (fs_kind_of(output) != FS_FOLDER) {
        return tsr_fail(err, TSR_E_INPUT, "%s: is no folder, expected a compressed checkpoint", output);
    }
    v.damage = members_list();
    tsr_status st = read_receipt(&v);
    if (st == TSR_OK) st = check_files(&v);
    if (st == TSR_OK) st = check_items(&v);
    if (st == TSR_OK) st = check_whole(&v);
    if (st == TSR_OK) st = make_result(&v, result);
    json_decref(v.damage.value);
    dictionaries_clear(&v.dictionaries);
    for (uint64_t i = 0; i < v.file_count; i++) safetensors_close(&v.files[i].st);
    fs_list_clear(&v.found);
    json_decref(v.receipt);
    arena_clear(&v.arena);
    return st;
}
