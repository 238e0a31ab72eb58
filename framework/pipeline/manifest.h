/* SPDX-License-Identifier: Apache-2.0
 *
 * The manifest: what stands in an output besides the payloads, enough to give back every source file byte for byte.
 * docs/format.md documents its members.
 *
 *   {"tessera": "0.1",
 *    "sources": [{"name", "prefix", "bytes", "header_bytes", "digest",
 *                 "tensors": [{"name", "dtype", "shape", "bytes", "digest", "role", "regime", "exact",
 * "alias_of"}...]}...], "extras": [{"name", "bytes", "digest", "kept"}...]}
 *
 * Tensors stand in the order of their bytes in the source file, without gaps, so that their offsets follow; names are
 * those in the file, before which the full name has `prefix` (the folder of a nested checkpoint). `exact` says that
 * decoding gives the source bytes. `alias_of` is null or the full name (folder in front) of the tensor whose payload
 * holds the same bytes. `kept` is "copy" (the same file in the output), "blob" (the tensor tessera.file/NAME) or
 * "none", with digest null. */
#ifndef PIPELINE_MANIFEST_H
#define PIPELINE_MANIFEST_H

#include "layout.h"

#include <reading/members.h>

/* Digests of the source's files, as far as they are kept. */
struct source_facts {
    struct digest *files;  /* [checkpoint->file_count] */
    struct digest *extras; /* [checkpoint->extra_count] */
};

/* Reads all source files once. Arena memory. */
tsr_status source_facts_make(const struct checkpoint *checkpoint, const struct layout *layout, const struct env *env,
                             struct arena *arena, struct source_facts *facts, tsr_error *err);

/* Compact text, mem_free. */
tsr_status manifest_make(const struct checkpoint *checkpoint, const struct plan *plan, const struct layout *layout,
                         const struct source_facts *facts, char **text, tsr_error *err);

const char *manifest_kept_name(enum layout_kept kept);

#endif
