/* SPDX-License-Identifier: Apache-2.0
 *
 * Names and numbers of the container that reader and writer share; docs/format.md is the specification. The container
 * is a safetensors file whose U8 tensor X is the payload of tensor X. Neither side includes the other. */
#ifndef FORMAT_CONTAINER_H
#define FORMAT_CONTAINER_H

#include <base/digest.h>
#include <tessera/tensor.h>

#define CONTAINER_VERSION_MAJOR 1
#define CONTAINER_VERSION_MINOR 0 /* written; later ones are read too */
#define CONTAINER_VERSION_TEXT "1.0"

/* __metadata__ of every output file. */
#define CONTAINER_KEY_FORMAT "tessera.format"        /* CONTAINER_VERSION_TEXT */
#define CONTAINER_KEY_DIGEST "tessera.header_digest" /* of the header with these 32 digits as zeros */

/* U8 tensors of our own; a source tensor whose name begins with the prefix is refused at plan time. */
#define CONTAINER_PREFIX "tessera."
#define CONTAINER_MANIFEST "tessera.manifest" /* in the first output file */
#define CONTAINER_HEADER_OF "tessera.header/" /* + source file name: that file's safetensors header, verbatim */
#define CONTAINER_FILE_OF "tessera.file/"     /* + name: a small source file whose copy was changed in the output */
#define CONTAINER_DICTIONARY "tessera.dictionary/" /* + digest in hex: what the codecs of a group share */
#define CONTAINER_INDEX "tessera.index/" /* + tensor: payload of its search index */
#define CONTAINER_STAGE "tessera.stage."      /* + N + "/" + tensor: payload of stage N >= 1 of a stack of codecs */

/* A container's header begins with these characters, then 32 digits: their place is the same in every version. */
#define CONTAINER_HEADER_START "{\"__metadata__\":{\"" CONTAINER_KEY_DIGEST "\":\""

#define PAYLOAD_MAGIC "TSRP"
#define PAYLOAD_VERSION (CONTAINER_VERSION_MAJOR << 8 | CONTAINER_VERSION_MINOR)
#define PAYLOAD_FIXED_BYTES 52
#define PAYLOAD_ENTRY_BYTES 20 /* u32 length (bit 31: raw source bytes), 16 bytes digest */
#define PAYLOAD_RAW_BIT UINT32_C(0x80000000)
#define PAYLOAD_FLAG_TRANSPOSED 1 /* the matrix view is the transposed source */
#define PAYLOAD_FLAG_DICTIONARY 2 /* the digest of a dictionary stands behind the codec header */
#define PAYLOAD_FLAG_COLUMNS 4    /* a scale for each column stands behind these */
#define PAYLOAD_FLAGS_KNOWN UINT64_C(7)
#define PAYLOAD_SCALE_MOST 64     /* magnitude of the scale of a column */
#define PAYLOAD_CODEC_HEADER_MAX (UINT64_C(1) << 24)
#define PAYLOAD_TILE_WEIGHTS_MAX (UINT64_C(1) << 22)

#define BLOB_MAGIC "TSRB"
#define BLOB_HEAD_BYTES 16 /* magic, u16 version, u16 zero, u64 bytes before compression */
/* zstd cannot do better than a block of 2^17 bytes in 4; more is a lie. */
#define BLOB_RATIO_MAX (UINT64_C(1) << 15)

/* What stands in front of a payload's tiles. Pointers are borrowed. */
struct payload_head {
    int32_t dtype;
    const char *dtype_name; /* needed for OPAQUE only */
    uint64_t rank;
    uint64_t shape[TSR_RANK_MAX];
    uint64_t rows, columns; /* matrix view; for OPAQUE and F4 1 x bytes */
    uint64_t bytes;         /* of the source tensor */
    bool transposed;
    uint64_t tile_rows, tile_columns; /* tile_columns == columns unless tile_rows is 1; both 0 for an empty tensor */
    uint64_t tile_count;
    const char *codec_id;
    uint64_t bitstream_version;
    const char *params; /* canonical text */
    const void *codec_header;
    uint64_t codec_header_bytes;
    bool has_dictionary;
    struct digest dictionary; /* of the dictionary's bytes */
    const int8_t *column_scale; /* [columns] codes of scales, docs/format.md 3.1, or NULL */
};

#endif
