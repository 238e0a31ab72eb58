/* SPDX-License-Identifier: Apache-2.0
 *
 * Header first, then each tensor by itself, then all of them together: the data of the tensors must tile the room
 * behind the header exactly, without gap, overlap or rest. Once safetensors_open has returned TSR_OK, every offset and
 * size lies inside the file and rows of numbers need no further checks. The only allocations sized by the file are the
 * header (at most the file, at most 100 MB) and what the parser makes of it. */
#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

#include <base/alloc.h>
#include <base/bytes.h>
#include <base/checked.h>
#include <base/str.h>

#include "dtype.h"
#include "json.h"

#define LENGTH_BYTES 8
#define METADATA_KEY "__metadata__"

#define U64(x) ((unsigned long long)(x))

static tsr_status read_header(struct safetensors *st, tsr_error *err) {
    const struct fs_file *file = &st->file;
    uint8_t prefix[LENGTH_BYTES];
    if (file->size < LENGTH_BYTES) {
        return tsr_fail(err, TSR_E_INPUT, "%s: has %llu bytes, a safetensors file has at least 8", file->path,
                        U64(file->size));
    }
    tsr_status status = fs_read_at(file, 0, prefix, sizeof prefix, err);
    if (status != TSR_OK) return status;
    uint64_t length = load_le(prefix, LENGTH_BYTES);
    if (length > SAFETENSORS_HEADER_MAX) {
        return tsr_fail(err, TSR_E_INPUT, "%s: header length is %llu, at most %d is allowed (not a safetensors file?)",
                        file->path, U64(length), SAFETENSORS_HEADER_MAX);
    }
    if (length > file->size - LENGTH_BYTES) {
        return tsr_fail(err, TSR_E_INPUT, "%s: header length is %llu, but only %llu bytes follow", file->path,
                        U64(length), U64(file->size - LENGTH_BYTES));
    }
    st->header_bytes = LENGTH_BYTES + length;
    st->header = mem_alloc((size_t)st->header_bytes + 1);
    if (!st->header) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory for the header", file->path);
    st->header[st->header_bytes] = '\0';
    return fs_read_at(file, 0, st->header, st->header_bytes, err);
}

static tsr_status parse_header(struct safetensors *st, tsr_error *err) {
    const char *text = st->header + LENGTH_BYTES;
    size_t length = (size_t)st->header_bytes - LENGTH_BYTES;
    if (length == 0 || text[0] != '{') {
        return tsr_fail(err, TSR_E_INPUT, "%s: header does not begin with \"{\"", st->file.path);
    }
    struct str subject = {0};
    str_add_format(&subject, "%s: header", st->file.path);
    tsr_status status = subject.failed ? tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", st->file.path)
                                       : json_parse(text, length, subject.text, &st->root, err);
    str_clear(&subject);
    return status;
}

static tsr_status check_metadata(const struct safetensors *st, const json_t *metadata, tsr_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) {
        return tsr_fail(err, TSR_E_INPUT, "%s: " METADATA_KEY " is not an object", st->file.path);
    }
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value) {
        if (json_is_string(value)) continue;
        return tsr_fail(err, TSR_E_INPUT, "%s: " METADATA_KEY " \"%s\" is not a string", st->file.path, key);
    }
    return TSR_OK;
}

/* Where a tensor's parser stands: for messages. */
struct tensor_at {
    const char *path;
    const char *name;
};

static tsr_status tensor_fail(const struct tensor_at *at, tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": %s", at->path, at->name, what);
}

static bool read_natural(const json_t *value, uint64_t *number) {
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *number = (uint64_t)json_integer_value(value);
    return true;
}

static tsr_status read_shape(const struct tensor_at *at, const json_t *shape, struct safetensors_entry *entry,
                             tsr_error *err) {
    if (!shape) return tensor_fail(at, err, "has no \"shape\"");
    if (!json_is_array(shape)) return tensor_fail(at, err, "\"shape\" is not a list");
    entry->rank = json_array_size(shape);
    if (entry->rank > TSR_RANK_MAX) {
        return tsr_fail(err, TSR_E_LIMIT, "%s: tensor \"%s\": has rank %llu, at most %d is supported", at->path,
                        at->name, U64(entry->rank), TSR_RANK_MAX);
    }
    for (uint64_t i = 0; i < entry->rank; i++) {
        if (!read_natural(json_array_get(shape, (size_t)i), &entry->shape[i])) {
            return tensor_fail(at, err, "\"shape\" holds something other than whole numbers from 0 on");
        }
    }
    return TSR_OK;
}

/* Offsets are relative to the end of the header, which the caller adds. */
static tsr_status read_offsets(const struct tensor_at *at, const json_t *offsets, uint64_t room,
                               struct safetensors_entry *entry, tsr_error *err) {
    uint64_t begin, end;
    if (!offsets) return tensor_fail(at, err, "has no \"data_offsets\"");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !read_natural(json_array_get(offsets, 0), &begin) ||
        !read_natural(json_array_get(offsets, 1), &end)) {
        return tensor_fail(at, err, "\"data_offsets\" is not a pair of whole numbers from 0 on");
    }
    if (end < begin) {
        return tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": data offsets %llu to %llu are reversed", at->path,
                        at->name, U64(begin), U64(end));
    }
    if (end > room) {
        return tsr_fail(err, TSR_E_INPUT,
                        "%s: tensor \"%s\": data ends at %llu, but the file has only %llu bytes of data", at->path,
                        at->name, U64(end), U64(room));
    }
    entry->offset = begin;
    entry->bytes = end - begin;
    return TSR_OK;
}

/* The product of the extents in bits must be the size in the file. The product without the zeros has to fit too, so
 * that nobody who multiplies some of the extents later can overflow. */
static tsr_status check_size(const struct tensor_at *at, const struct safetensors_entry *entry, tsr_error *err) {
    uint64_t bits = dtype_bits(entry->dtype);
    uint64_t total = bits ? bits : 8;
    bool empty = false;
    for (uint64_t i = 0; i < entry->rank; i++) {
        uint64_t extent = entry->shape[i];
        empty |= extent == 0;
        if (extent && !checked_mul(total, extent, &total)) {
            return tensor_fail(at, err, "the product of its shape exceeds 64 bits");
        }
    }
    if (entry->dtype == TSR_DTYPE_OPAQUE) return TSR_OK;
    if (empty) total = 0;
    if (total % 8) return tensor_fail(at, err, "an odd number of 4-bit elements does not fill whole bytes");
    if (total / 8 == entry->bytes) return TSR_OK;
    return tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": dtype %s and shape need %llu bytes, data offsets give %llu",
                    at->path, at->name, entry->dtype_name, U64(total / 8), U64(entry->bytes));
}

static tsr_status read_tensor(const struct safetensors *st, const char *name, const json_t *object,
                              struct safetensors_entry *entry, tsr_error *err) {
    struct tensor_at at = {st->file.path, name};
    if (!json_is_object(object)) return tensor_fail(&at, err, "is not an object");
    const json_t *dtype = json_object_get(object, "dtype");
    if (!dtype) return tensor_fail(&at, err, "has no \"dtype\"");
    if (!json_is_string(dtype)) return tensor_fail(&at, err, "\"dtype\" is not a string");
    *entry = (struct safetensors_entry){.name = name, .dtype_name = json_string_value(dtype)};
    entry->dtype = dtype_from_name(entry->dtype_name);
    tsr_status status = read_shape(&at, json_object_get(object, "shape"), entry, err);
    if (status != TSR_OK) return status;
    status = read_offsets(&at, json_object_get(object, "data_offsets"), st->file.size - st->header_bytes, entry, err);
    if (status != TSR_OK) return status;
    entry->offset += st->header_bytes;
    return check_size(&at, entry, err);
}

static int compare_place(const void *a, const void *b) {
    const struct safetensors_entry *left = a, *right = b;
    if (left->offset != right->offset) return left->offset < right->offset ? -1 : 1;
    if (left->bytes != right->bytes) return left->bytes < right->bytes ? -1 : 1;
    return strcmp(left->name, right->name);
}

static int compare_name(const void *a, const void *b) {
    const struct safetensors_entry *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

/* Tensors in order of place must follow each other without gap or overlap to the end of the file. */
static tsr_status check_tiling(const struct safetensors *st, tsr_error *err) {
    uint64_t end = st->header_bytes;
    for (uint64_t i = 0; i < st->count; i++) {
        const struct safetensors_entry *entry = &st->entries[i];
        if (entry->offset != end) {
            return tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": data begins at %llu, %s %llu", st->file.path,
                            entry->name, U64(entry->offset - st->header_bytes),
                            entry->offset < end ? "overlapping the tensor that ends at" : "leaving a gap behind",
                            U64(end - st->header_bytes));
        }
        end += entry->bytes;
    }
    if (end != st->file.size) {
        return tsr_fail(err, TSR_E_INPUT, "%s: %llu bytes stand behind the last tensor", st->file.path,
                        U64(st->file.size - end));
    }
    return TSR_OK;
}

static tsr_status read_tensors(struct safetensors *st, tsr_error *err) {
    const char *name;
    json_t *object;
    uint64_t slots = json_object_size(st->root);
    st->entries = mem_alloc_array(slots, sizeof *st->entries);
    st->by_name = mem_alloc_array(slots, sizeof *st->by_name);
    if (!st->entries || !st->by_name) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", st->file.path);
    json_object_foreach(st->root, name, object) {
        bool is_metadata = !strcmp(name, METADATA_KEY);
        tsr_status status =
            is_metadata ? check_metadata(st, object, err) : read_tensor(st, name, object, &st->entries[st->count], err);
        if (status != TSR_OK) return status;
        st->count += !is_metadata;
    }
    if (st->count == 0) return TSR_OK;
    qsort(st->entries, (size_t)st->count, sizeof *st->entries, compare_place);
    for (uint64_t i = 0; i < st->count; i++) st->by_name[i] = &st->entries[i];
    qsort(st->by_name, (size_t)st->count, sizeof *st->by_name, compare_name);
    return TSR_OK;
}

tsr_status safetensors_open(const char *path, struct safetensors *st, tsr_error *err) {
    tsr_status status = fs_open(path, &st->file, err);
    if (status == TSR_OK) status = read_header(st, err);
    if (status == TSR_OK) status = parse_header(st, err);
    if (status == TSR_OK) status = read_tensors(st, err);
    if (status == TSR_OK) status = check_tiling(st, err);
    return status;
}

void safetensors_close(struct safetensors *st) {
    mem_free(st->by_name);
    mem_free(st->entries);
    json_decref(st->root);
    mem_free(st->header);
    fs_close(&st->file);
    *st = (struct safetensors){0};
}

const char *safetensors_metadata(const struct safetensors *st, const char *key) {
    return json_string_value(json_object_get(json_object_get(st->root, METADATA_KEY), key));
}

const struct safetensors_entry *safetensors_find(const struct safetensors *st, const char *name) {
    const struct safetensors_entry wanted = {.name = name}, *key = &wanted;
    if (st->count == 0) return NULL;
    const struct safetensors_entry **found =
        bsearch(&key, st->by_name, (size_t)st->count, sizeof *st->by_name, compare_name);
    return found ? *found : NULL;
}
