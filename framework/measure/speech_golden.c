/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a golden file whole (they are small) and adds up differences. */
#include "speech_golden.h"

#include <base/alloc.h>
#include <base/bytes.h>
#include <math.h>
#include <string.h>

static tsr_status read_tensor(const struct safetensors *st, const struct safetensors_entry *entry,
                              struct golden_tensor *tensor, tsr_error *err) {
    if (entry->dtype != TSR_DTYPE_F32 && entry->dtype != TSR_DTYPE_I32) {
        return tsr_fail(err, TSR_E_INPUT, "%s: tensor \"%s\": expected F32 or I32", st->file.path, entry->name);
    }
    *tensor = (struct golden_tensor){.entry = entry, .count = entry->bytes / 4, .exact = entry->dtype == TSR_DTYPE_I32};
    tensor->values = mem_alloc(entry->bytes);
    if (!tensor->values) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", st->file.path);
    tsr_status status = fs_read_at(&st->file, entry->offset, tensor->values, entry->bytes, err);
    for (uint64_t i = 0; status == TSR_OK && i < tensor->count; i++) {
        int32_t number;
        memcpy(&number, &tensor->values[i], sizeof number);
        if (tensor->exact) tensor->values[i] = (float)number;
        if (isfinite(tensor->values[i])) tensor->largest = fmax(tensor->largest, fabs((double)tensor->values[i]));
    }
    return status;
}

tsr_status golden_open(const char *path, struct golden_file *file, tsr_error *err) {
    tsr_status st = safetensors_open(path, &file->st, err);
    if (st != TSR_OK) return st;
    file->tensors = mem_alloc_zero(file->st.count, sizeof *file->tensors);
    if (!file->tensors) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    for (uint64_t i = 0; i < file->st.count && st == TSR_OK; i++) {
        st = read_tensor(&file->st, &file->st.entries[i], &file->tensors[i], err);
    }
    return st;
}

void golden_close(struct golden_file *file) {
    for (uint64_t i = 0; file->tensors && i < file->st.count; i++) mem_free(file->tensors[i].values);
    mem_free(file->tensors);
    safetensors_close(&file->st);
    *file = (struct golden_file){0};
}

struct golden_tensor *golden_find(const struct golden_file *file, const char *group, const char *name) {
    char whole[200];
    (void)snprintf(whole, sizeof whole, "%s.%s", group, name);
    const struct safetensors_entry *entry = safetensors_find(&file->st, whole);
    return entry ? &file->tensors[entry - file->st.entries] : NULL;
}

tsr_status golden_ids(const struct golden_tensor *tensor, uint32_t **ids, tsr_error *err) {
    *ids = mem_alloc_array(tensor->count, sizeof **ids);
    if (!*ids) return tsr_fail(err, TSR_E_NOMEM, "out of memory for codes");
    for (uint64_t i = 0; i < tensor->count; i++) {
        float value = tensor->values[i];
        if (!(tensor->exact && value >= 0)) {
            return tsr_fail(err, TSR_E_INPUT, "tensor \"%s\": expected I32 from 0 up", tensor->entry->name);
        }
        (*ids)[i] = (uint32_t)value;
    }
    return TSR_OK;
}

static void compare_one(struct golden_tensor *tensor, float ours, uint64_t at) {
    if (at >= tensor->count) {
        tensor->worst = INFINITY;
        tensor->wrong++;
        return;
    }
    float golden = tensor->values[at];
    tensor->seen++;
    tensor->wrong += ours != golden;
    if (ours == golden && isinf(golden)) return; /* both suppressed */
    double difference = fabs((double)ours - (double)golden);
    if (!(difference <= tensor->worst)) tensor->worst = isnan(difference) ? INFINITY : difference;
    tensor->dot += (double)ours * (double)golden;
    tensor->norm_ours += (double)ours * (double)ours;
    tensor->norm_golden += (double)golden * (double)golden;
}

void golden_compare(struct golden_tensor *tensor, uint64_t first, const float *values, uint64_t rows, uint64_t columns,
                    bool turned) {
    uint64_t all_rows = columns ? tensor->count / columns : 0;
    for (uint64_t r = 0; r < rows; r++) {
        for (uint64_t c = 0; c < columns; c++) {
            bool outside = first + r >= all_rows;
            uint64_t at = turned ? c * all_rows + first + r : (first + r) * columns + c;
            compare_one(tensor, values[r * columns + c], outside ? UINT64_MAX : at);
        }
    }
}

double golden_cosine(const struct golden_tensor *tensor) {
    double norms = sqrt(tensor->norm_ours) * sqrt(tensor->norm_golden);
    return norms > 0 ? tensor->dot / norms : tensor->worst > 0 ? 0 : 1;
}
