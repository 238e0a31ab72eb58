/* SPDX-License-Identifier: Apache-2.0
 *
 * A model as users have it: one .safetensors file, or a folder with model.safetensors or with shards and an index,
 * subfolders included (speech_tokenizer/). Gives one list of tensors over all files. A folder is read by its index if
 * there is one, else model.safetensors, else the only .safetensors in it: never by a glob. A subfolder is part of the
 * model's tensors if it has an index or a model.safetensors. Folders whose name begins with a dot (.git, .cache) do not
 * belong to a model; links to files are followed, links to folders refused. */
#ifndef FORMAT_CHECKPOINT_H
#define FORMAT_CHECKPOINT_H

#include "safetensors.h"

#include <base/arena.h>

struct checkpoint_file {
    const char *name;   /* relative to the folder: "model-00001-of-00002.safetensors" */
    const char *prefix; /* in front of its tensors' names: "", or "speech_tokenizer/" for a nested checkpoint */
    struct safetensors st;
};

struct checkpoint_tensor {
    const char *name; /* as in its file; for nested checkpoints with the folder in front: "speech_tokenizer/decoder.w" */
    uint64_t file;    /* into checkpoint.files */
    const struct safetensors_entry *entry;
};

/* A file that is not a shard: config.json, tokenizer.json, index ... */
struct checkpoint_extra {
    const char *name; /* relative to the folder */
    uint64_t bytes;
};

struct checkpoint {
    struct arena arena;
    const char *root;              /* folder of the model (of the file, for a single file) */
    bool single_file;              /* opened by the name of one .safetensors file: there are no extras */
    struct checkpoint_file *files; /* those of the root, then of subfolders, by name */
    uint64_t file_count;
    struct checkpoint_tensor *tensors;        /* files in order, by offset within a file */
    const struct checkpoint_tensor **by_name; /* [tensor_count], sorted by bytes */
    uint64_t tensor_count;
    struct checkpoint_extra *extras; /* by name; folder input only */
    uint64_t extra_count;
};

/* Zero-initialise `checkpoint`; close in any case. TSR_E_INPUT for an index that names absent shards or tensors, shards
 * with the same tensor twice, tensors missing from the index. */
tsr_status checkpoint_open(const char *path, struct checkpoint *checkpoint, tsr_error *err);
void checkpoint_close(struct checkpoint *checkpoint);
const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name);
/* Bytes offset..offset+size-1 of a tensor's data. [any] */
tsr_status checkpoint_read(const struct checkpoint *checkpoint, const struct checkpoint_tensor *tensor, uint64_t offset,
                           void *dst, uint64_t size, tsr_error *err);

#endif
