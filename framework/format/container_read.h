/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads container files: believes nothing before it was checked against the size of the tensor that holds it and
 * against its checksum. Knows no codec. */
#ifndef FORMAT_CONTAINER_READ_H
#define FORMAT_CONTAINER_READ_H

#include "container.h"
#include "safetensors.h"

struct payload_tile {
    uint64_t offset; /* in the file */
    uint64_t bytes;
    bool raw;
    struct digest digest;
};

/* An opened payload; everything in head lives in `memory`. */
struct payload {
    struct payload_head head;
    const struct fs_file *file;
    const char *name;           /* of the tensor, borrowed */
    struct payload_tile *tiles; /* [head.tile_count] */
    void *memory;
};

/* True when the file says in its metadata that it is a container. */
bool container_is(const struct safetensors *st);
/* Checks format version and header digest of an opened file. TSR_E_UNSUPPORTED for a newer major, TSR_E_CORRUPT
 * "header" for damage. Names the file. */
tsr_status container_check(const struct safetensors *st, tsr_error *err);

/* Reads and checks the head of the payload that stands in `entry`. Zero-initialise; close in any case. Messages name
 * the tensor. */
tsr_status payload_open(const struct safetensors *st, const struct safetensors_entry *entry, struct payload *payload,
                        tsr_error *err);
void payload_close(struct payload *payload);
/* Reads tile `index` into dst (tiles[index].bytes) and checks its digest. [any] */
tsr_status payload_read_tile(const struct payload *payload, uint64_t index, void *dst, tsr_error *err);

/* Inverse of blob_make, for the U8 tensor `entry`; result at most `limit` bytes, with a NUL behind. mem_free. */
tsr_status blob_read(const struct safetensors *st, const struct safetensors_entry *entry, uint64_t limit, char **bytes,
                     uint64_t *size, tsr_error *err);

#endif
