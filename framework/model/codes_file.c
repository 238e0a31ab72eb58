/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads and writes codes; a shape or value that the model cannot mean is told with its place. */
#include "codes_file.h"

#include <base/alloc.h>
#include <base/bytes.h>
#include <format/safetensors.h>
#include <format/safetensors_write.h>

#define FRAMES_MAX (UINT64_C(1) << 24)

static tsr_status check_entry(const char *path, const struct safetensors_entry *entry, const tsr_speech_info *info,
                              tsr_error *err) {
    if (!entry) return tsr_fail(err, TSR_E_INPUT, "%s: has no tensor \"codes\"", path);
    if (entry->dtype != TSR_DTYPE_I32 && entry->dtype != TSR_DTYPE_I64) {
        return tsr_fail(err, TSR_E_INPUT, "%s: codes: dtype %s, expected I32 or I64", path, entry->dtype_name);
    }
    if (entry->rank != 2 || entry->shape[1] != info->groups) {
        return tsr_fail(err, TSR_E_INPUT, "%s: codes: %llu codes a frame, the model has %llu", path,
                        (unsigned long long)(entry->rank == 2 ? entry->shape[1] : entry->rank), (unsigned long long)info->groups);
    }
    if (entry->shape[0] >= 1 && entry->shape[0] <= FRAMES_MAX) return TSR_OK;
    return tsr_fail(err, TSR_E_INPUT, "%s: codes: %llu frames", path, (unsigned long long)entry->shape[0]);
}

static tsr_status convert(const char *path, const struct safetensors_entry *entry, const tsr_speech_info *info,
                          const uint8_t *bytes, uint32_t *codes, tsr_error *err) {
    unsigned size = entry->dtype == TSR_DTYPE_I64 ? 8 : 4;
    for (uint64_t i = 0; i < entry->shape[0] * info->groups; i++) {
        uint64_t code = load_le(bytes + i * size, size);
        if (code >= info->codebook) {
            return tsr_fail(err, TSR_E_INPUT, "%s: codes: frame %llu, group %llu: %lld is outside of 0..%llu", path,
                            (unsigned long long)(i / info->groups), (unsigned long long)(i % info->groups),
                            size == 4 ? (long long)(int32_t)(uint32_t)code : (long long)code, (unsigned long long)info->codebook - 1);
        }
        codes[i] = (uint32_t)code;
    }
    return TSR_OK;
}

tsr_status codes_file_read(const char *path, const tsr_speech_info *info, uint32_t **codes, uint64_t *frames, tsr_error *err) {
    struct safetensors file = {0};
    uint8_t *bytes = NULL;
    *codes = NULL;
    tsr_status st = safetensors_open(path, &file, err);
    const struct safetensors_entry *entry = st == TSR_OK ? safetensors_find(&file, "codes") : NULL;
    if (st == TSR_OK) st = check_entry(path, entry, info, err);
    if (st == TSR_OK) {
        *frames = entry->shape[0];
        bytes = mem_alloc(entry->bytes);
        *codes = mem_alloc_array(*frames, info->groups * sizeof **codes);
        if (!bytes || !*codes) st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    }
    if (st == TSR_OK) st = fs_read_at(&file.file, entry->offset, bytes, entry->bytes, err);
    if (st == TSR_OK) st = convert(path, entry, info, bytes, *codes, err);
    mem_free(bytes);
    safetensors_close(&file);
    return st;
}

tsr_status codes_file_write(const char *path, const tsr_speech_info *info, const uint32_t *codes, uint64_t frames,
                            tsr_error *err) {
    struct safetensors_part part = {.name = "codes", .dtype = TSR_DTYPE_I32, .rank = 2};
    part.shape[0] = frames;
    part.shape[1] = info->groups;
    part.memory = codes;
    return safetensors_write(path, &part, 1, NULL, 0, err);
}
