/* SPDX-License-Identifier: Apache-2.0
 *
 * The manifest's checksum guards against accidents, not against lies: every name, size and reference in it is checked
 * against the files before it is used. */
#include "stored.h"

#include "members.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/error.h>
#include <base/str.h>
#include <format/container_read.h>
#include <format/dtype.h>
#include <format/json.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST_BYTES_MAX (UINT64_C(1) << 28)

struct opening {
    struct stored *stored;
    const char *root;
    tsr_error *err;
};

static tsr_status no_memory(const struct opening *opening) {
    return tsr_fail(opening->err, TSR_E_NOMEM, "%s: out of memory", opening->root);
}

static tsr_status corrupt(const struct opening *opening, const char *subject, const char *what) {
    return tsr_fail(opening->err, TSR_E_CORRUPT, "%s: " CONTAINER_MANIFEST ": %s: %s", opening->root, subject, what);
}

bool stored_is(const struct checkpoint *checkpoint) {
    for (uint64_t i = 0; i < checkpoint->file_count; i++) {
        if (container_is(&checkpoint->files[i].st)) return true;
    }
    return false;
}

/* ---- sources and tensors ---- */

static tsr_status read_shape(const struct opening *opening, const json_t *member, struct stored_tensor *tensor,
                             bool *bad) {
    const json_t *shape = member_list(member, "shape", bad);
    tensor->rank = json_array_size(shape);
    if (tensor->rank > TSR_RANK_MAX) return corrupt(opening, tensor->name, "has too many extents");
    for (uint64_t i = 0; i < tensor->rank; i++) {
        const json_t *extent = json_array_get(shape, (size_t)i);
        if (!json_is_integer(extent) || json_integer_value(extent) < 0) *bad = true;
        tensor->shape[i] = (uint64_t)json_integer_value(extent);
    }
    return TSR_OK;
}

/* Who reads it makes room by the shape. */
static bool shape_fits(const struct stored_tensor *tensor) {
    int32_t dtype = dtype_from_name(tensor->dtype_name);
    uint64_t bits = dtype_bits(dtype), bytes;
    if (dtype == TSR_DTYPE_OPAQUE) return true;
    for (uint64_t i = 0; i < tensor->rank; i++) {
        if (!checked_mul(bits, tensor->shape[i], &bits)) return false;
    }
    return checked_mul(tensor->bytes, 8, &bytes) && bits == bytes;
}

/* One tensor of source file `source`, which begins with the folder prefix `prefix`. */
static tsr_status read_tensor(struct opening *opening, const json_t *member, const char *prefix,
                              struct stored_tensor *tensor) {
    bool bad = false;
    tensor->name = arena_format(&opening->stored->arena, "%s%s", prefix, member_text(member, "name", &bad));
    if (!tensor->name) return no_memory(opening);
    tensor->local_name = tensor->name + strlen(prefix);
    tensor->stage_count = 1;
    if (json_object_get(member, "stages")) tensor->stage_count = member_count(member, "stages", &bad);
    if (tensor->stage_count < 1 || tensor->stage_count > DECODER_STAGES_MAX) {
        return corrupt(opening, tensor->name, "has an impossible number of stages");
    }
    if (json_object_get(member, "index")) tensor->index_codec = member_text(member, "index", &bad);
    tensor->dtype_name = member_text(member, "dtype", &bad);
    tensor->role = member_text(member, "role", &bad);
    tensor->regime = member_text(member, "regime", &bad);
    tensor->bytes = member_count(member, "bytes", &bad);
    tensor->digest = member_digest(member, "digest", &bad);
    tensor->exact = member_bool(member, "exact", &bad);
    tensor->alias_of = -1;
    tensor->alias_name = json_string_value(json_object_get(member, "alias_of"));
    tsr_status st = read_shape(opening, member, tensor, &bad);
    if (st == TSR_OK && bad) st = corrupt(opening, tensor->name, "a member is missing or of another kind");
    if (st == TSR_OK && !shape_fits(tensor)) st = corrupt(opening, tensor->name, "shape and size do not agree");
    return st;
}

static tsr_status read_source(struct opening *opening, const json_t *member, struct stored_source *source,
                              uint64_t index) {
    struct stored *stored = opening->stored;
    bool bad = false;
    source->name = member_text(member, "name", &bad);
    source->bytes = member_count(member, "bytes", &bad);
    source->header_bytes = member_count(member, "header_bytes", &bad);
    source->digest = member_digest(member, "digest", &bad);
    const char *prefix = member_text(member, "prefix", &bad);
    const json_t *tensors = member_list(member, "tensors", &bad);
    if (bad || !fs_is_inside(source->name)) return corrupt(opening, source->name, "is no valid source file");
    uint64_t offset = source->header_bytes;
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        struct stored_tensor *tensor = &stored->tensors[stored->tensor_count++];
        tsr_status st = read_tensor(opening, json_array_get(tensors, i), prefix, tensor);
        if (st != TSR_OK) return st;
        tensor->source = index;
        tensor->offset = offset;
        if (!checked_add(offset, tensor->bytes, &offset)) return corrupt(opening, tensor->name, "is too large");
    }
    return offset == source->bytes ? TSR_OK : corrupt(opening, source->name, "its tensors do not fill it");
}

static tsr_status read_sources(struct opening *opening) {
    struct stored *stored = opening->stored;
    bool bad = false;
    const json_t *sources = member_list(stored->manifest, "sources", &bad);
    uint64_t count = 0;
    if (bad) return corrupt(opening, "sources", "is no list");
    for (size_t i = 0; i < json_array_size(sources); i++) {
        count += json_array_size(json_object_get(json_array_get(sources, i), "tensors"));
    }
    stored->source_count = json_array_size(sources);
    stored->sources = arena_alloc(&stored->arena, stored->source_count + 1, sizeof *stored->sources);
    stored->tensors = arena_alloc(&stored->arena, count + 1, sizeof *stored->tensors);
    if (!stored->sources || !stored->tensors) return no_memory(opening);
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < stored->source_count && st == TSR_OK; i++) {
        st = read_source(opening, json_array_get(sources, (size_t)i), &stored->sources[i], i);
    }
    return st;
}

/* ---- where the payloads are ---- */

static int compare_names(const void *a, const void *b) {
    const struct stored_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* The payload whose name has `before` in front of the tensor's own; `missing` says what it is when there is none. */
static tsr_status find_place(struct opening *opening, const struct stored_tensor *tensor, const char *before,
                             const char *missing, struct decoder_place *place) {
    const struct stored *stored = opening->stored;
    struct str name = {0};
    str_add(&name, tensor->name, (size_t)(tensor->local_name - tensor->name));
    str_add_format(&name, "%s%s", before, tensor->local_name);
    bool failed = name.failed;
    const struct checkpoint_tensor *found = failed ? NULL : checkpoint_find(&stored->checkpoint, name.text);
    str_clear(&name);
    if (failed) return no_memory(opening);
    if (!found) return corrupt(opening, tensor->name, missing);
    *place = (struct decoder_place){&stored->checkpoint.files[found->file].st, found->entry};
    return TSR_OK;
}

static tsr_status find_payload(struct opening *opening, struct stored_tensor *tensor) {
    tsr_status st = find_place(opening, tensor, "", "has no payload", &tensor->places[0]);
    for (uint64_t i = 1; i < tensor->stage_count && st == TSR_OK; i++) {
        char before[sizeof CONTAINER_STAGE + 24];
        snprintf(before, sizeof before, CONTAINER_STAGE "%" PRIu64 "/", i);
        st = find_place(opening, tensor, before, "a stage of it has no payload", &tensor->places[i]);
    }
    if (st == TSR_OK && tensor->index_codec) {
        st = find_place(opening, tensor, CONTAINER_INDEX, "its index has no payload", &tensor->index_place);
    }
    return st;
}

/* An alias takes the payload of its target, which must hold as many bytes and be no alias itself. */
static tsr_status resolve_alias(struct opening *opening, struct stored_tensor *tensor, struct stored_tensor **by_name) {
    const struct stored *stored = opening->stored;
    const struct stored_tensor wanted = {.name = tensor->alias_name}, *key = &wanted;
    struct stored_tensor **found = bsearch(&key, by_name, (size_t)stored->tensor_count, sizeof *by_name, compare_names);
    if (!found || (*found)->alias_name) return corrupt(opening, tensor->name, "its alias leads nowhere");
    if ((*found)->bytes != tensor->bytes || !digest_equal(&(*found)->digest, &tensor->digest)) {
        return corrupt(opening, tensor->name, "differs from the tensor it is an alias of");
    }
    tensor->alias_of = *found - stored->tensors;
    tensor->stage_count = (*found)->stage_count;
    memcpy(tensor->places, (*found)->places, sizeof tensor->places);
    tensor->index_codec = (*found)->index_codec;
    tensor->index_place = (*found)->index_place;
    return TSR_OK;
}

static tsr_status find_payloads(struct opening *opening) {
    struct stored *stored = opening->stored;
    struct stored_tensor **by_name = mem_alloc_array(stored->tensor_count, sizeof *by_name);
    tsr_status st = by_name ? TSR_OK : no_memory(opening);
    for (uint64_t i = 0; st == TSR_OK && i < stored->tensor_count; i++) {
        by_name[i] = &stored->tensors[i];
        if (!stored->tensors[i].alias_name) st = find_payload(opening, &stored->tensors[i]);
    }
    if (st == TSR_OK) qsort(by_name, (size_t)stored->tensor_count, sizeof *by_name, compare_names);
    for (uint64_t i = 0; st == TSR_OK && i < stored->tensor_count; i++) {
        if (stored->tensors[i].alias_name) st = resolve_alias(opening, &stored->tensors[i], by_name);
    }
    mem_free(by_name);
    return st;
}

static tsr_status read_dictionaries(struct opening *opening) {
    struct stored *stored = opening->stored;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < stored->checkpoint.tensor_count && st == TSR_OK; i++) {
        const struct checkpoint_tensor *tensor = &stored->checkpoint.tensors[i];
        if (!dictionaries_is(tensor->entry->name)) continue;
        st = dictionaries_add(&stored->dictionaries, &stored->checkpoint.files[tensor->file].st, tensor->entry,
                              opening->err);
    }
    return st;
}

/* ---- extras ---- */

static tsr_status read_extra(const struct opening *opening, const json_t *member, struct stored_extra *extra) {
    bool bad = false;
    extra->name = member_text(member, "name", &bad);
    extra->bytes = member_count(member, "bytes", &bad);
    const char *kept = member_text(member, "kept", &bad);
    extra->kept = !strcmp(kept, "copy") ? STORED_COPY : !strcmp(kept, "blob") ? STORED_BLOB : STORED_NONE;
    if (extra->kept != STORED_NONE) extra->digest = member_digest(member, "digest", &bad);
    if (bad || !fs_is_inside(extra->name)) return corrupt(opening, extra->name, "is no valid file");
    return TSR_OK;
}

static tsr_status read_extras(struct opening *opening) {
    struct stored *stored = opening->stored;
    bool bad = false;
    const json_t *extras = member_list(stored->manifest, "extras", &bad);
    if (bad) return corrupt(opening, "extras", "is no list");
    stored->extra_count = json_array_size(extras);
    stored->extras = arena_alloc(&stored->arena, stored->extra_count + 1, sizeof *stored->extras);
    if (!stored->extras) return no_memory(opening);
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < stored->extra_count && st == TSR_OK; i++) {
        st = read_extra(opening, json_array_get(extras, (size_t)i), &stored->extras[i]);
    }
    return st;
}

/* ---- the whole ---- */

tsr_status stored_blob(const struct stored *stored, const char *prefix, const char *name, uint64_t limit, char **bytes,
                       uint64_t *size, tsr_error *err) {
    struct str full = {0};
    str_add_format(&full, "%s%s", prefix, name);
    if (full.failed) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", name);
    const struct checkpoint_tensor *found = checkpoint_find(&stored->checkpoint, full.text);
    tsr_status st = found ? blob_read(&stored->checkpoint.files[found->file].st, found->entry, limit, bytes, size, err)
                          : tsr_fail(err, TSR_E_CORRUPT, "%s: \"%s\" is not there", stored->checkpoint.root, full.text);
    str_clear(&full);
    return st;
}

static tsr_status read_manifest(struct opening *opening) {
    char *text = NULL;
    uint64_t size = 0;
    tsr_status st =
        stored_blob(opening->stored, CONTAINER_MANIFEST, "", MANIFEST_BYTES_MAX, &text, &size, opening->err);
    if (st == TSR_OK) {
        st = json_parse(text, (size_t)size, CONTAINER_MANIFEST, &opening->stored->manifest, opening->err);
        if (st == TSR_E_INPUT) st = error_context(opening->err, TSR_E_CORRUPT, "%s", opening->root);
    }
    mem_free(text);
    return st;
}

tsr_status stored_open(const char *path, struct stored *stored, tsr_error *err) {
    struct opening opening = {stored, path, err};
    tsr_status st = checkpoint_open(path, &stored->checkpoint, err);
    if (st != TSR_OK) return st;
    if (!stored_is(&stored->checkpoint)) {
        return tsr_fail(err, TSR_E_INPUT, "%s: is not a compressed checkpoint", path);
    }
    for (uint64_t i = 0; i < stored->checkpoint.file_count && st == TSR_OK; i++) {
        st = container_check(&stored->checkpoint.files[i].st, err);
    }
    if (st == TSR_OK) st = read_manifest(&opening);
    if (st == TSR_OK) st = read_sources(&opening);
    if (st == TSR_OK) st = find_payloads(&opening);
    if (st == TSR_OK) st = read_dictionaries(&opening);
    return st == TSR_OK ? read_extras(&opening) : st;
}

struct decoder_input stored_input(const struct stored *stored, const struct stored_tensor *tensor) {
    uint64_t count = tensor->stage_count;
    if (stored->stage_limit && stored->stage_limit < count) count = stored->stage_limit;
    return (struct decoder_input){tensor->places, count, &stored->dictionaries, stored->codec_level};
}

/* A progressive codec is lossy, so it can stand inside of an exact stack, where its level matters as well. */
bool stored_decodes_exactly(const struct stored *stored, const struct stored_tensor *tensor) {
    bool whole = !stored->stage_limit || stored->stage_limit >= tensor->stage_count;
    return tensor->exact && whole && (!stored->codec_level || tensor->stage_count == 1);
}

uint64_t stored_payload_bytes(const struct stored_tensor *tensor) {
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < tensor->stage_count; i++) bytes += tensor->places[i].entry->bytes;
    if (tensor->index_codec) bytes += tensor->index_place.entry->bytes;
    return bytes;
}

void stored_close(struct stored *stored) {
    json_decref(stored->manifest);
    dictionaries_clear(&stored->dictionaries);
    checkpoint_close(&stored->checkpoint);
    arena_clear(&stored->arena);
    *stored = (struct stored){0};
}
