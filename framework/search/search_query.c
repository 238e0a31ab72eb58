/* SPDX-License-Identifier: Apache-2.0
 *
 * A file whose name holds a colon is found first: only if there is none of that name, what stands behind the last colon
 * is a tensor. */
#include "search_query.h"

#include <base/alloc.h>
#include <base/str.h>
#include <format/dtype.h>
#include <format/safetensors.h>
#include <string.h>

/* Splits text in place: *tensor is NULL when it names a file alone. */
static void split(char *text, const char **tensor) {
    char *colon = strrchr(text, ':');
    *tensor = NULL;
    if (!colon || fs_kind_of(text) != FS_ABSENT) return;
    *colon = '\0';
    *tensor = colon + 1;
}

static tsr_status find_tensor(const struct safetensors *st, const char *name, const struct safetensors_entry **entry,
                              tsr_error *err) {
    *entry = name ? safetensors_find(st, name) : st->count == 1 ? &st->entries[0] : NULL;
    if (*entry) return TSR_OK;
    if (name) return tsr_fail(err, TSR_E_INPUT, "%s: has no tensor \"%s\"", st->file.path, name);
    return tsr_fail(err, TSR_E_INPUT, "%s: has %llu tensors, expected one (or FILE:TENSOR)", st->file.path,
                    (unsigned long long)st->count);
}

static tsr_status check_entry(const struct safetensors *st, const struct safetensors_entry *entry, uint64_t columns,
                              tsr_error *err) {
    uint64_t last = entry->rank ? entry->shape[entry->rank - 1] : 1;
    if (!dtype_is_float(entry->dtype)) {
        return tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": queries of %s, expected F32, F16 or BF16", st->file.path,
                        entry->name, entry->dtype_name);
    }
    if (last == columns && columns) return TSR_OK;
    return tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": queries of %llu values, expected %llu", st->file.path,
                    entry->name, (unsigned long long)last, (unsigned long long)columns);
}

static tsr_status read_entry(const struct safetensors *st, const struct safetensors_entry *entry,
                             struct search_queries *queries, tsr_error *err) {
    uint64_t width = dtype_bits(entry->dtype) / 8, values = entry->bytes / width;
    uint8_t *bytes = mem_alloc_aligned(entry->bytes + 1);
    queries->count = values / queries->columns;
    queries->x = mem_alloc_array(values + 1, sizeof *queries->x);
    tsr_status status = bytes && queries->x
                            ? fs_read_at(&st->file, entry->offset, bytes, entry->bytes, err)
                            : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory for queries", st->file.path);
    if (status == TSR_OK) dtype_to_f32(entry->dtype, bytes, values, queries->x);
    if (status == TSR_OK && !dtype_all_finite(queries->x, values)) {
        status = tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": a query holds NaN or Inf", st->file.path, entry->name);
    }
    mem_free(bytes);
    return status;
}

tsr_status search_queries_read(const char *text, uint64_t columns, struct search_queries *queries, tsr_error *err) {
    struct safetensors st = {0};
    const struct safetensors_entry *entry = NULL;
    const char *tensor;
    char *path = mem_dup_text(text);
    if (!path) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", text);
    split(path, &tensor);
    queries->columns = columns;
    tsr_status status = safetensors_open(path, &st, err);
    if (status == TSR_OK) status = find_tensor(&st, tensor, &entry, err);
    if (status == TSR_OK) status = check_entry(&st, entry, columns, err);
    if (status == TSR_OK) status = read_entry(&st, entry, queries, err);
    safetensors_close(&st);
    mem_free(path);
    return status;
}

void search_queries_clear(struct search_queries *queries) {
    mem_free(queries->x);
    *queries = (struct search_queries){0};
}
