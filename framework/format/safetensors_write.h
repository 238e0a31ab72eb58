/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes plain .safetensors files, whole or not at all. The same parts give the same bytes. Knows nothing of what the
 * tensors mean; compressed files are container_write's. */
#ifndef FORMAT_SAFETENSORS_WRITE_H
#define FORMAT_SAFETENSORS_WRITE_H

#include <base/fs.h>
#include <tessera/tensor.h>

/* A tensor to write; strings and memory are borrowed. Its bytes come from memory, or else from a range of a file. */
struct safetensors_part {
    const char *name;
    int32_t dtype;
    uint64_t rank;
    uint64_t shape[TSR_RANK_MAX];
    const void *memory;
    const struct fs_file *file;
    uint64_t offset; /* in the file */
};

struct safetensors_pair {
    const char *key, *text;
};

/* Tensors stand in the order given, metadata too. Written beside `path` and renamed over it. TSR_E_ARGUMENT for a name
 * that comes twice. */
tsr_status safetensors_write(const char *path, const struct safetensors_part *parts, uint64_t count,
                             const struct safetensors_pair *metadata, uint64_t pair_count, tsr_error *err);
/* Bytes of a tensor's data; false when they do not fit 64 bits, or for a dtype of unknown width. [any] */
bool safetensors_part_bytes(const struct safetensors_part *part, uint64_t *bytes);

#endif
