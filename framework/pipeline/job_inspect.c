/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect: what is in a checkpoint. Of a raw one roles come from the role files and duplicates from the bytes; of a
 * compressed one both stand in its manifest. */
#include "job.h"
#include "layout.h"

#include <base/alloc.h>
#include <format/json.h>
#include <policy/model_type.h>
#include <policy/role.h>
#include <reading/facts.h>
#include <reading/lanes.h>
#include <reading/members.h>
#include <reading/meter.h>
#include <reading/stored.h>
#include <stdlib.h>
#include <string.h>

/* One tensor, whatever kind of checkpoint it is in. */
struct inspected {
    const char *name, *file, *dtype_name, *role, *regime, *component, *rule, *index;
    const uint64_t *shape;
    uint64_t rank, bytes, stride;
    int64_t layer, alias_of;
    struct digest digest;
};

struct inspecting {
    const char *model;
    const struct job_paths *paths;
    const struct env *env;
    struct arena arena;
    struct checkpoint checkpoint;
    struct stored stored;
    bool compressed;
    const char *model_type, *role_set;
    struct inspected *tensors;
    uint64_t count;
    struct meter meter;
    tsr_error *err;
};

static tsr_status no_memory(const struct inspecting *in) {
    return tsr_fail(in->err, TSR_E_NOMEM, "%s: out of memory", in->model);
}

/* ---- raw ---- */

static tsr_status take_raw(struct inspecting *in, struct role_set *roles, uint64_t index) {
    const struct checkpoint_tensor *tensor = &in->checkpoint.tensors[index];
    const struct safetensors_entry *entry = tensor->entry;
    struct role_assignment role;
    tsr_status st = role_assign(roles, tensor->name, entry->rank, entry->shape, &role, in->err);
    if (st != TSR_OK) return st;
    struct inspected *out = &in->tensors[index];
    *out = (struct inspected){.name = tensor->name,
                              .file = in->checkpoint.files[tensor->file].name,
                              .dtype_name = entry->dtype_name,
                              .role = role.role,
                              .regime = regime_name(role.regime),
                              .component = role.component,
                              .shape = entry->shape,
                              .rank = entry->rank,
                              .bytes = entry->bytes,
                              .stride = role.stride,
                              .layer = role.layer,
                              .alias_of = -1};
    if (!role.file) return TSR_OK;
    out->rule = arena_format(&in->arena, "%s:%u", role.file, role.line);
    return out->rule ? TSR_OK : no_memory(in);
}

static tsr_status digest_tensor(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct inspecting *in = ctx;
    const struct checkpoint_tensor *tensor = &in->checkpoint.tensors[index];
    (void)worker;
    tsr_status st = meter_check_cancel(in->env, err);
    if (st == TSR_OK) {
        st = facts_of_range(&in->checkpoint.files[tensor->file].st.file, tensor->entry->offset, tensor->entry->bytes,
                            &in->tensors[index].digest, err);
    }
    if (st == TSR_OK) meter_add(&in->meter, tensor->name, tensor->entry->bytes);
    return st;
}

static int compare_digests(const void *a, const void *b) {
    const struct inspected *const *x = a, *const *y = b;
    int order = memcmp((*x)->digest.bytes, (*y)->digest.bytes, DIGEST_BYTES);
    return order ? order : *x < *y ? -1 : *x > *y;
}

/* Equal bytes are duplicates of the first tensor that has them; empty tensors are not. */
static tsr_status find_duplicates(struct inspecting *in) {
    struct inspected **sorted = mem_alloc_array(in->count, sizeof *sorted);
    uint64_t *bytes = mem_alloc_array(in->count, sizeof *bytes), total = 0;
    tsr_status st = sorted && bytes ? TSR_OK : no_memory(in);
    for (uint64_t i = 0; st == TSR_OK && i < in->count; i++) {
        sorted[i] = &in->tensors[i];
        total += bytes[i] = in->tensors[i].bytes;
    }
    if (st == TSR_OK) {
        meter_begin(&in->meter, in->env, "digest", total, in->count);
        st = lanes_run(in->env, bytes, in->count, digest_tensor, in, in->err);
        meter_end(&in->meter);
    }
    if (st == TSR_OK && in->count) qsort(sorted, (size_t)in->count, sizeof *sorted, compare_digests);
    for (uint64_t i = 1, first = 0; st == TSR_OK && i < in->count; i++) {
        bool equal = sorted[i]->bytes && sorted[i]->bytes == sorted[first]->bytes &&
                     digest_equal(&sorted[i]->digest, &sorted[first]->digest);
        if (equal) {
            sorted[i]->alias_of = sorted[first] - in->tensors;
        } else {
            first = i;
        }
    }
    mem_free(sorted);
    mem_free(bytes);
    return st;
}

static tsr_status inspect_raw(struct inspecting *in) {
    struct role_set *roles = NULL;
    in->count = in->checkpoint.tensor_count;
    in->tensors = arena_alloc(&in->arena, in->count + 1, sizeof *in->tensors);
    if (!in->tensors) return no_memory(in);
    tsr_status st = model_type_read(&in->checkpoint, &in->arena, &in->model_type, in->err);
    if (st == TSR_OK) {
        st = role_find("auto", in->model_type, in->paths->role_folders, in->paths->role_folder_count, in->env,
                       &in->arena, &roles, in->err);
    }
    if (st == TSR_OK) in->role_set = role_set_name(roles);
    for (uint64_t i = 0; st == TSR_OK && i < in->count; i++) st = take_raw(in, roles, i);
    return st == TSR_OK ? find_duplicates(in) : st;
}

/* ---- compressed ---- */

static tsr_status inspect_stored(struct inspecting *in) {
    checkpoint_close(&in->checkpoint);
    tsr_status st = stored_open(in->model, &in->stored, in->err);
    if (st != TSR_OK) return st;
    in->compressed = true;
    in->count = in->stored.tensor_count;
    in->tensors = arena_alloc(&in->arena, in->count + 1, sizeof *in->tensors);
    if (!in->tensors) return no_memory(in);
    for (uint64_t i = 0; i < in->count; i++) {
        const struct stored_tensor *tensor = &in->stored.tensors[i];
        in->tensors[i] = (struct inspected){.name = tensor->name,
                                            .file = in->stored.sources[tensor->source].name,
                                            .dtype_name = tensor->dtype_name,
                                            .role = tensor->role,
                                            .regime = tensor->regime,
                                            .index = tensor->index_codec,
                                            .shape = tensor->shape,
                                            .rank = tensor->rank,
                                            .bytes = tensor->bytes,
                                            .layer = -1,
                                            .alias_of = tensor->alias_of};
    }
    return TSR_OK;
}

/* ---- result ---- */

static const struct checkpoint *opened(const struct inspecting *in) {
    return in->compressed ? &in->stored.checkpoint : &in->checkpoint;
}

static void add_files(struct members *whole, const struct checkpoint *checkpoint) {
    struct members files = members_list(), extras = members_list();
    for (uint64_t i = 0; i < checkpoint->file_count; i++) {
        struct members file = members_object();
        members_text(&file, "name", checkpoint->files[i].name);
        members_count(&file, "bytes", checkpoint->files[i].st.file.size);
        members_count(&file, "tensors", checkpoint->files[i].st.count);
        members_append(&files, &file);
    }
    for (uint64_t i = 0; i < checkpoint->extra_count; i++) {
        struct members extra = members_object();
        members_text(&extra, "name", checkpoint->extras[i].name);
        members_count(&extra, "bytes", checkpoint->extras[i].bytes);
        members_append(&extras, &extra);
    }
    members_nest(whole, "files", &files);
    members_nest(whole, "extras", &extras);
}

static void add_tensor(struct members *list, const struct inspecting *in, const struct inspected *tensor) {
    struct members member = members_object();
    members_text(&member, "name", tensor->name);
    members_text(&member, "file", tensor->file);
    members_text(&member, "dtype", tensor->dtype_name);
    members_shape(&member, "shape", tensor->shape, tensor->rank);
    members_count(&member, "bytes", tensor->bytes);
    members_text(&member, "role", tensor->role);
    members_text(&member, "component", tensor->component);
    members_text(&member, "regime", tensor->regime);
    members_set(&member, "layer", tensor->layer < 0 ? json_null() : json_integer(tensor->layer));
    members_set(&member, "stride", tensor->stride ? json_integer((json_int_t)tensor->stride) : json_null());
    members_text(&member, "rule", tensor->rule);
    if (tensor->index) members_text(&member, "index", tensor->index);
    members_text(&member, "alias_of", tensor->alias_of < 0 ? NULL : in->tensors[tensor->alias_of].name);
    members_append(list, &member);
}

/* Adds a tensor to the sums kept under `name`. */
static void add_sum(struct members *sums, const char *name, uint64_t bytes) {
    json_t *sum = json_object_get(sums->value, name);
    uint64_t tensors = sum ? (uint64_t)json_integer_value(json_object_get(sum, "tensors")) : 0;
    uint64_t before = sum ? (uint64_t)json_integer_value(json_object_get(sum, "bytes")) : 0;
    struct members fresh = members_object();
    members_count(&fresh, "tensors", tensors + 1);
    members_count(&fresh, "bytes", before + bytes);
    members_nest(sums, name, &fresh);
}

static uint64_t weights_of(const struct inspected *tensor) {
    uint64_t weights = 1;
    for (uint64_t i = 0; i < tensor->rank; i++) weights *= tensor->shape[i];
    return weights;
}

static void add_totals(struct members *whole, const struct inspecting *in) {
    struct members totals = members_object(), dtypes = members_object(), roles = members_object();
    uint64_t bytes = 0, unique = 0, weights = 0, unknown = 0;
    for (uint64_t i = 0; i < in->count; i++) {
        const struct inspected *tensor = &in->tensors[i];
        bytes += tensor->bytes;
        if (tensor->alias_of < 0) unique += tensor->bytes;
        weights += weights_of(tensor);
        unknown += !strcmp(tensor->role, "unknown");
        add_sum(&dtypes, tensor->dtype_name, tensor->bytes);
        add_sum(&roles, tensor->role, tensor->bytes);
    }
    members_count(&totals, "tensors", in->count);
    members_count(&totals, "bytes", bytes);
    members_count(&totals, "unique_bytes", unique);
    members_count(&totals, "weights", weights);
    members_count(&totals, "unknown", unknown);
    members_nest(&totals, "dtypes", &dtypes);
    members_nest(&totals, "roles_used", &roles);
    members_nest(whole, "totals", &totals);
}

static tsr_status make_result(const struct inspecting *in, json_t **result) {
    struct members whole = members_object(), tensors = members_list();
    members_text(&whole, "model", in->model);
    members_bool(&whole, "compressed", in->compressed);
    members_text(&whole, "model_type", in->model_type);
    members_text(&whole, "roles", in->role_set);
    add_files(&whole, opened(in));
    for (uint64_t i = 0; i < in->count; i++) add_tensor(&tensors, in, &in->tensors[i]);
    members_nest(&whole, "tensors", &tensors);
    add_totals(&whole, in);
    return members_finish(&whole, result, in->err);
}

tsr_status job_inspect(const char *model, const struct job_paths *paths, const struct env *env, json_t **result,
                       tsr_error *err) {
    struct inspecting in = {.model = model, .paths = paths, .env = env, .err = err};
    tsr_status st = checkpoint_open(model, &in.checkpoint, err);
    if (st == TSR_OK) st = stored_is(&in.checkpoint) ? inspect_stored(&in) : inspect_raw(&in);
    if (st == TSR_OK) st = make_result(&in, result);
    stored_close(&in.stored);
    checkpoint_close(&in.checkpoint);
    arena_clear(&in.arena);
    return st;
}
