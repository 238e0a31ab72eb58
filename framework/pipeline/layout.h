/* SPDX-License-Identifier: Apache-2.0
 *
 * Which output file holds which tensors, under which names, and what becomes of the files that are no shards. Decided
 * from sizes alone. The output is split as the source, or by a largest shard size, each folder of a nested checkpoint
 * for itself:
 *
 *   as the source     every source file keeps its name; a folder with an index gets one of the same name
 *   by size           model.safetensors, or model-00001-of-0000N.safetensors and model.safetensors.index.json
 *
 * The first file carries the manifest, the source headers and the originals of changed small files as blobs, and the
 * dictionaries unless they have a file of their own, DICTIONARY_NAME. */
#ifndef PIPELINE_LAYOUT_H
#define PIPELINE_LAYOUT_H

#include "encode.h"

#define EXTRA_BYTES_MAX (UINT64_C(16) << 20) /* larger files beside the shards are named, not copied */

#define DICTIONARY_NAME "model-dictionaries.safetensors"
#define RECEIPT_NAME "tessera.json"
#define RUN_NAME "tessera.run.json"
#define CONFIG_NAME "config.json"

struct layout_file {
    const char *name; /* relative to OUT */
    const char *prefix;
    uint64_t first, count; /* into layout.order */
};

struct layout_index {
    const char *name; /* relative to OUT */
    const char *prefix;
};

enum layout_kept {
    LAYOUT_COPY, /* as it is */
    LAYOUT_BLOB, /* the original is a blob; the output has a changed file of that name, or none */
    LAYOUT_NONE  /* not kept */
};

struct layout {
    struct arena arena;
    struct layout_file *files;
    uint64_t file_count;
    uint64_t *order; /* plan entries that are no aliases, file by file */
    uint64_t dictionary_file; /* which file holds the dictionaries: one of its own where the root folder has an index */
    struct layout_index *indexes;
    uint64_t index_count;
    enum layout_kept *kept; /* [checkpoint->extra_count] */
};

/* Zero-initialise; layout_close in any case. TSR_E_UNSUPPORTED for a file whose name is not UTF-8. */
tsr_status layout_make(const struct checkpoint *checkpoint, const struct plan *plan, const struct parts *parts,
                       uint64_t max_shard_bytes, const struct env *env, struct layout *layout, tsr_error *err);
void layout_close(struct layout *layout);

/* True when this extra is a config.json beside shards. [any] */
bool layout_is_config(const struct checkpoint *checkpoint, const char *name);
/* Name without its folder's prefix. [any] */
const char *layout_local_name(const struct plan_entry *entry);

#endif
