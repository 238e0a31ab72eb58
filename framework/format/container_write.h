/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes payloads tile by tile into part files, and container files from finished parts. Knows no codec. */
#ifndef FORMAT_CONTAINER_WRITE_H
#define FORMAT_CONTAINER_WRITE_H

#include "container.h"

#include <base/fs.h>

/* A payload being written at the end of `output`. Zero-initialise. */
struct payload_writer {
    struct fs_output *output;
    uint64_t start; /* of the payload in output */
    uint64_t prefix_bytes;
    uint8_t *prefix; /* filled in at the end */
    uint64_t directory_at;
    uint64_t tile, tile_count;
};

/* Reserves the room of head and directory; `head` need not live on. */
tsr_status payload_begin(struct payload_writer *writer, struct fs_output *output, const struct payload_head *head,
                         tsr_error *err);
/* Tiles in the order of the directory. */
tsr_status payload_add_tile(struct payload_writer *writer, const void *bytes, uint64_t size, bool raw, tsr_error *err);
/* Fills in the directory; all tiles must have been added. */
tsr_status payload_end(struct payload_writer *writer, tsr_error *err);
void payload_abandon(struct payload_writer *writer); /* frees; also after payload_end */

/* Bytes in front of the first tile. [any] */
uint64_t payload_prefix_bytes(const struct payload_head *head);

/* One U8 tensor of a container file, from memory or from a part file. */
struct container_part {
    const char *name;
    uint64_t bytes;
    const void *memory;    /* or NULL: */
    const char *part_path; /* a file of exactly `bytes` bytes, or, */
    uint64_t part_offset;  /* where this tensor is a piece of a file, where it begins in it */
    uint64_t part_bytes;   /* and how long the whole file is */
};

/* Bytes that a container file of these parts has in all; header bytes in *header_bytes. [any] */
tsr_status container_size(const struct container_part *parts, uint64_t count, uint64_t *header_bytes,
                          uint64_t *file_bytes, tsr_error *err);
/* Writes one container file (parts in the order given) and syncs it; `header_digest` gets what stands in its metadata.
 */
tsr_status container_write(const char *path, const struct container_part *parts, uint64_t count,
                           struct digest *header_digest, tsr_error *err);

/* zstd frame with the TSRB head and checksum of docs/format.md, for headers, small files and the manifest. Sets
 * *blob (mem_free). The bytes depend on the version of libzstd. [any] */
tsr_status blob_make(const void *bytes, uint64_t size, void **blob, uint64_t *blob_bytes, tsr_error *err);

#endif
