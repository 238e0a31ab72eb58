/* SPDX-License-Identifier: Apache-2.0
 *
 * A compressed checkpoint opened for reading: its container files, the manifest checked against them, and one list of
 * the source's tensors with the place of each one's payload. */
#ifndef READING_STORED_H
#define READING_STORED_H

#include "decoder.h"

#include <base/digest.h>
#include <base/env.h>
#include <format/checkpoint.h>

struct stored_tensor {
    const char *name;       /* full: folder in front */
    const char *dtype_name; /* of the source */
    const char *role, *regime;
    uint64_t rank;
    uint64_t shape[TSR_RANK_MAX];
    uint64_t source; /* into stored.sources */
    uint64_t offset; /* in that file */
    uint64_t bytes;
    struct digest digest;         /* of the source bytes */
    bool exact;                   /* decoding gives these */
    const char *alias_name;       /* or NULL */
    int64_t alias_of;             /* into stored.tensors, or -1 */
    const char *local_name;       /* the name without its folder */
    struct decoder_place places[DECODER_STAGES_MAX]; /* where the payloads are; aliases: their target's */
    uint64_t stage_count;
    const char *index_codec;           /* id, or NULL: the tensor has no search index */
    struct decoder_place index_place;  /* where its payload is; aliases: their target's */
};

struct stored_source {
    const char *name;
    uint64_t bytes, header_bytes;
    struct digest digest;
};

struct stored_extra {
    const char *name;
    uint64_t bytes;
    struct digest digest;
    enum { STORED_COPY, STORED_BLOB, STORED_NONE } kept;
};

struct stored {
    struct arena arena;
    struct checkpoint checkpoint; /* the container files as safetensors */
    json_t *manifest;
    struct stored_source *sources;
    uint64_t source_count;
    struct stored_tensor *tensors; /* by source file and offset */
    uint64_t tensor_count;
    struct stored_extra *extras;
    uint64_t extra_count;
    struct dictionaries dictionaries;
    uint64_t stage_limit; /* set by who opened it: stages of a stack to use, 0 for all */
    uint64_t codec_level; /* ... and parts that progressive codecs use, 0 for all */
};

/* True when the opened checkpoint is an output of ours. */
bool stored_is(const struct checkpoint *checkpoint);
/* Zero-initialise; stored_close in any case. TSR_E_INPUT when the path is no compressed checkpoint, TSR_E_CORRUPT when
 * it contradicts itself. */
tsr_status stored_open(const char *path, struct stored *stored, tsr_error *err);
void stored_close(struct stored *stored);

/* What decoder_open takes for this tensor. Borrowed from `stored`. [any] */
struct decoder_input stored_input(const struct stored *stored, const struct stored_tensor *tensor);
/* True when decoding as far as the limits allow gives the source bytes. [any] */
bool stored_decodes_exactly(const struct stored *stored, const struct stored_tensor *tensor);
/* Bytes of its payloads, all stages and the search index. [any] */
uint64_t stored_payload_bytes(const struct stored_tensor *tensor);

/* Bytes of the blob `prefix``name`, at most `limit`. mem_free. */
tsr_status stored_blob(const struct stored *stored, const char *prefix, const char *name, uint64_t limit, char **bytes,
                       uint64_t *size, tsr_error *err);

#endif
