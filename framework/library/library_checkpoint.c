/* SPDX-License-Identifier: Apache-2.0
 *
 * An open checkpoint is a reader and its library. What stands in it never changes, so questions about it need no turn; reading
 * does. */
#include "library.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <format/dtype.h>
#include <reading/reader_rows.h>
#include <stdlib.h>
#include <string.h>

struct tsr_checkpoint {
    tsr_library *library;
    struct reader reader;
    uint64_t *by_name; /* [count], indices sorted by name */
};

/* ---- opening ---- */

struct named {
    const char *name;
    uint64_t index;
};

static int compare_named(const void *a, const void *b) {
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static tsr_status sort_names(tsr_checkpoint *checkpoint, const char *path, tsr_error *err) {
    uint64_t count = reader_count(&checkpoint->reader);
    struct named *names = mem_alloc_array(count, sizeof *names);
    checkpoint->by_name = mem_alloc_array(count, sizeof *checkpoint->by_name);
    tsr_status st = names && checkpoint->by_name ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    if (st == TSR_OK && count) {
        for (uint64_t i = 0; i < count; i++) names[i] = (struct named){reader_tensor(&checkpoint->reader, i).name, i};
        qsort(names, (size_t)count, sizeof *names, compare_named);
        for (uint64_t i = 0; i < count; i++) checkpoint->by_name[i] = names[i].index;
    }
    mem_free(names);
    return st;
}

/* Plugins are loaded only where something has to be decoded. */
static tsr_status open_reader(tsr_checkpoint *checkpoint, const char *path, tsr_error *err) {
    struct reader *reader = &checkpoint->reader;
    tsr_status st = reader_open(path, NULL, library_env(checkpoint->library), reader, err);
    if (st == TSR_OK && reader->compressed) st = library_registry(checkpoint->library, &reader->registry, err);
    return st == TSR_OK ? sort_names(checkpoint, path, err) : st;
}

tsr_status tsr_checkpoint_open(tsr_library *library, const char *path, tsr_checkpoint **checkpoint, tsr_error *err) {
    tsr_checkpoint *made = mem_alloc_zero(1, sizeof *made);
    if (!made) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    made->library = library;
    struct library_call call = library_begin(library);
    tsr_status st = library_end(&call, open_reader(made, path, err));
    if (st == TSR_OK) {
        *checkpoint = made;
    } else {
        tsr_checkpoint_close(made);
    }
    return st;
}

void tsr_checkpoint_close(tsr_checkpoint *checkpoint) {
    if (!checkpoint) return;
    reader_close(&checkpoint->reader);
    mem_free(checkpoint->by_name);
    mem_free(checkpoint);
}

/* ---- what is in it ---- */

int32_t tsr_checkpoint_is_compressed(const tsr_checkpoint *checkpoint) {
    return checkpoint->reader.compressed;
}

uint64_t tsr_checkpoint_count(const tsr_checkpoint *checkpoint) {
    return reader_count(&checkpoint->reader);
}

tsr_status tsr_checkpoint_find(const tsr_checkpoint *checkpoint, const char *name, uint64_t *index, tsr_error *err) {
    uint64_t low = 0, high = reader_count(&checkpoint->reader);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2, at = checkpoint->by_name[middle];
        int order = strcmp(reader_tensor(&checkpoint->reader, at).name, name);
        if (order == 0) {
            *index = at;
            return TSR_OK;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return tsr_fail(err, TSR_E_INPUT, "there is no tensor \"%s\"", name);
}

/* What only a compressed checkpoint knows. */
static void add_stored(const struct stored *stored, uint64_t index, tsr_tensor_info *info) {
    const struct stored_tensor *tensor = &stored->tensors[index];
    info->role = tensor->role;
    info->alias_of = tensor->alias_name;
    info->stored_bytes = tensor->alias_name ? 0 : stored_payload_bytes(tensor);
    info->exact = stored_decodes_exactly(stored, tensor);
}

tsr_status tsr_checkpoint_tensor(const tsr_checkpoint *checkpoint, uint64_t index, tsr_tensor_info *info,
                                 tsr_error *err) {
    const struct reader *reader = &checkpoint->reader;
    uint64_t size = info->struct_size;
    if (index >= reader_count(reader)) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tensor %llu: there are %llu", (unsigned long long)index,
                        (unsigned long long)reader_count(reader));
    }
    if (size < sizeof size) return tsr_fail(err, TSR_E_ARGUMENT, "tsr_tensor_info: struct_size is %llu", (unsigned long long)size);
    struct reader_tensor tensor = reader_tensor(reader, index);
    struct reader_cut cut = reader_cut(&tensor);
    tsr_tensor_info full = {.struct_size = size,
                            .name = tensor.name,
                            .dtype_name = tensor.dtype_name,
                            .rank = tensor.rank,
                            .bytes = tensor.bytes,
                            .rows = cut.rows,
                            .row_bytes = cut.row_bytes,
                            .f32_bytes = cut.f32_bytes,
                            .stored_bytes = tensor.bytes,
                            .dtype = dtype_from_name(tensor.dtype_name),
                            .exact = 1};
    for (uint64_t i = 0; i < tensor.rank; i++) full.shape[i] = tensor.shape[i];
    if (reader->compressed) add_stored(&reader->stored, index, &full);
    memcpy(info, &full, min_u64(size, sizeof full));
    return TSR_OK;
}

/* ---- reading ---- */

static tsr_status take_read(const void *given, struct reader_want *want, tsr_error *err) {
    tsr_read read;
    tsr_status st = library_take(&read, sizeof read, given, "tsr_read", err);
    if (st != TSR_OK) return st;
    if (read.form != TSR_FORM_SOURCE && read.form != TSR_FORM_F32) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tsr_read: form %d, expected TSR_FORM_SOURCE or TSR_FORM_F32", (int)read.form);
    }
    *want = (struct reader_want){.tensor = read.tensor,
                                 .first_row = read.first_row,
                                 .row_count = read.row_count,
                                 .widen = read.form == TSR_FORM_F32,
                                 .dst = read.dst,
                                 .dst_bytes = read.dst_bytes};
    return TSR_OK;
}

/* Elements of `reads` are as large as the caller says. */
tsr_status tsr_checkpoint_read(tsr_checkpoint *checkpoint, const tsr_read *reads, uint64_t count, tsr_error *err) {
    if (!count) return TSR_OK;
    struct reader_want *wants = mem_alloc_array(count, sizeof *wants);
    tsr_status st = wants ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu reads", (unsigned long long)count);
    const uint8_t *first = (const uint8_t *)reads;
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        st = take_read(first ? first + i * reads->struct_size : NULL, &wants[i], err);
    }
    if (st == TSR_OK) {
        struct library_call call = library_begin(checkpoint->library);
        st = library_end(&call, reader_rows(&checkpoint->reader, wants, count, err));
    }
    mem_free(wants);
    return st;
}
