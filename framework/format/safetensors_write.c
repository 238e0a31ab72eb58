/* SPDX-License-Identifier: Apache-2.0
 *
 * Header from the parts, padded with spaces to a multiple of 8 as the reference implementation does it, then the data. */
#include "safetensors_write.h"

#include <jansson.h>
#include <string.h>

#include <base/alloc.h>
#include <base/checked.h>
#include <base/str.h>

#include "dtype.h"
#include "json.h"
#include "safetensors.h"

#define HEADER_ALIGNMENT 8
#define LENGTH_BYTES 8
#define U64(x) ((unsigned long long)(x))

bool safetensors_part_bytes(const struct safetensors_part *part, uint64_t *bytes) {
    uint64_t bits = dtype_bits(part->dtype);
    if (!bits || part->rank > TSR_RANK_MAX) return false;
    for (uint64_t i = 0; i < part->rank; i++) {
        if (!checked_mul(bits, part->shape[i], &bits)) return false;
    }
    *bytes = bits / 8;
    return bits % 8 == 0 && *bytes <= INT64_MAX;
}

static json_t *shape_json(const struct safetensors_part *part) {
    json_t *shape = json_array();
    for (uint64_t i = 0; i < part->rank && shape; i++) {
        if (!json_array_append_new(shape, json_integer((json_int_t)part->shape[i]))) continue;
        json_decref(shape);
        return NULL;
    }
    return shape;
}

static tsr_status add_part(json_t *root, const struct safetensors_part *part, uint64_t *at, tsr_error *err) {
    uint64_t bytes, end;
    if (!safetensors_part_bytes(part, &bytes) || !checked_add(*at, bytes, &end) || end > INT64_MAX) {
        return tsr_fail(err, TSR_E_LIMIT, "tensor \"%s\": the file would exceed 2^63 bytes", part->name);
    }
    if (json_object_get(root, part->name)) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tensor \"%s\": is written twice", part->name);
    }
    json_t *tensor = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(part->dtype), "shape", shape_json(part),
                               "data_offsets", (json_int_t)*at, (json_int_t)end);
    if (!tensor || json_object_set_new(root, part->name, tensor)) {
        return tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory for the header", part->name);
    }
    *at = end;
    return TSR_OK;
}

static tsr_status add_metadata(json_t *root, const struct safetensors_pair *pairs, uint64_t count, tsr_error *err) {
    json_t *metadata = json_object();
    bool good = metadata != NULL;
    for (uint64_t i = 0; i < count && good; i++) {
        good = !json_object_set_new(metadata, pairs[i].key, json_string(pairs[i].text));
    }
    if (json_object_set_new(root, "__metadata__", metadata)) good = false;
    return good ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "header: out of memory");
}

static tsr_status make_header(const struct safetensors_part *parts, uint64_t count, const struct safetensors_pair *pairs,
                              uint64_t pair_count, struct str *header, tsr_error *err) {
    json_t *root = json_object();
    char *text = NULL;
    uint64_t at = 0;
    tsr_status st = root ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "header: out of memory");
    if (st == TSR_OK && pair_count) st = add_metadata(root, pairs, pair_count, err);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) st = add_part(root, &parts[i], &at, err);
    if (st == TSR_OK && !(text = json_to_text(root, 0))) st = tsr_fail(err, TSR_E_NOMEM, "header: out of memory");
    if (st == TSR_OK) {
        uint64_t length = strlen(text), padded = ceil_div(length, HEADER_ALIGNMENT) * HEADER_ALIGNMENT;
        str_add_le(header, padded, LENGTH_BYTES);
        str_add(header, text, (size_t)length);
        for (uint64_t i = length; i < padded; i++) str_add_text(header, " ");
        if (padded > SAFETENSORS_HEADER_MAX) {
            st = tsr_fail(err, TSR_E_LIMIT, "header: would have %llu bytes, at most %d are allowed", U64(padded),
                          SAFETENSORS_HEADER_MAX);
        } else if (header->failed) {
            st = tsr_fail(err, TSR_E_NOMEM, "header: out of memory");
        }
    }
    mem_free(text);
    json_decref(root);
    return st;
}

static tsr_status append_part(struct fs_output *output, const struct safetensors_part *part, tsr_error *err) {
    uint64_t bytes = 0;
    (void)safetensors_part_bytes(part, &bytes);
    if (bytes == 0) return TSR_OK;
    if (part->memory) return fs_write(output, part->memory, bytes, err);
    return fs_append_range(output, part->file, part->offset, bytes, err);
}

tsr_status safetensors_write(const char *path, const struct safetensors_part *parts, uint64_t count,
                             const struct safetensors_pair *metadata, uint64_t pair_count, tsr_error *err) {
    struct str header = {0}, beside = {0};
    struct fs_output output = {0};
    str_add_format(&beside, "%s.new", path);
    tsr_status st = make_header(parts, count, metadata, pair_count, &header, err);
    if (st != TSR_OK) goto done;
    st = beside.failed ? tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path) : fs_create(beside.text, &output, err);
    if (st != TSR_OK) goto done;
    st = fs_write(&output, header.text, header.length, err);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) st = append_part(&output, &parts[i], err);
    if (st == TSR_OK) st = fs_sync(&output, err);
    if (st == TSR_OK) st = fs_finish(&output, err);
    if (st == TSR_OK) st = fs_rename(beside.text, path, err);
    if (st != TSR_OK) {
        fs_abandon(&output);
        (void)fs_remove(beside.text, NULL);
    }
done:
    str_clear(&header);
    str_clear(&beside);
    return st;
}
