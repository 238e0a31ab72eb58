/* SPDX-License-Identifier: Apache-2.0
 *
 * A codec turns tiles of a tensor into bytes and back. The host owns everything around it: cutting tiles,
 * converting dtypes, directory and checksums, falling back to raw bytes for tiles that hold NaN or Inf or
 * do not shrink, threads, files. So a codec is: declared parameters, an optional look at the whole tensor
 * (prepare), encode a tile, decode a tile. Tensors without elements never get here. See docs/plugin-guide.md.
 *
 * Thread rules: create, prepare and destroy are [instance] (one thread at a time for one self); encode and
 * decode are [worker]: many threads at once on one self, which they must treat as read-only. */
#ifndef TESSERA_CODEC_H
#define TESSERA_CODEC_H

#include "host.h"
#include "param.h"
#include "stream.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Flags say only what pointers cannot. Unknown bits in the upper half make the loader refuse. One of EXACT,
 * RECONSTRUCT and SIGNATURE is set. */
#define TSR_CODEC_EXACT (UINT64_C(1) << 0)            /* decode returns the source bytes */
#define TSR_CODEC_RECONSTRUCT (UINT64_C(1) << 1)      /* decode approximates the source, relative error <= 1 */
#define TSR_CODEC_CORRECTION (UINT64_C(1) << 2)       /* made to be stacked on another codec's error */
#define TSR_CODEC_SIGNATURE (UINT64_C(1) << 3)        /* an address, not a reconstruction */
#define TSR_CODEC_PROGRESSIVE (UINT64_C(1) << 4)      /* a prefix of a tile decodes to something coarser */
#define TSR_CODEC_ENCODE_PORTABLE (UINT64_C(1) << 5)  /* the same bytes from any machine */
#define TSR_CODEC_DECODE_UNTRUSTED (UINT64_C(1) << 6) /* decode is safe on hostile bytes */
#define TSR_CODEC_EXPERIMENTAL (UINT64_C(1) << 7)     /* the bitstream may change */
#define TSR_CODEC_FLAGS_KNOWN ((UINT64_C(1) << 8) - 1)

/* The form in which encode gets and decode returns a tile. */
enum {
    TSR_INPUT_SOURCE = 0, /* bytes in the source dtype */
    TSR_INPUT_F32 = 1     /* finite F32 values; decode's values are rounded to the source dtype by the host.
                           * For F32, F16 and BF16 sources only. */
};

/* The most that prepare may write. */
#define TSR_CODEC_HEADER_MAX (UINT64_C(1) << 24)

/* A block of whole rows, or, where one row alone exceeds the tile size, a piece of one row. */
typedef struct tsr_tile {
    uint64_t struct_size;
    uint64_t index; /* position in the directory */
    uint64_t first_row;
    uint64_t rows;
    uint64_t first_column;
    uint64_t columns;
    uint64_t bytes;  /* rows * columns elements in the form that encode gets and decode returns */
    uint64_t worker; /* for tsr_host.scratch */
} tsr_tile;

/* Advice for the encoder. Bigger weight, more precision; NULL arrays mean all equal. Codecs with row steps use a
 * step proportional to row_weight^(-1/2); fixed-rate codecs may use the weights in training only. */
typedef struct tsr_encode_hints {
    uint64_t struct_size;
    const float *row_weight;    /* [rows] or NULL */
    const float *column_weight; /* [columns] or NULL */
} tsr_encode_hints;

/* All that create gets. Everything in it is lent until destroy. */
typedef struct tsr_codec_setup {
    uint64_t struct_size;
    const tsr_host *host;
    const tsr_tensor *tensor;
    const tsr_param_value *params; /* as declared, in order */
    const tsr_encode_hints *hints; /* encoder only; NULL when there are none */
    const void *header;            /* decoder only: the bytes that prepare wrote, else NULL */
    uint64_t header_bytes;
    uint64_t bitstream_version; /* decoder: the version that wrote the bytes */
    int32_t decoding;           /* 0: self will encode; 1: self will decode */
    int32_t reserved;
    const void *dictionary;    /* what the codec's train wrote for the group of this tensor (ext/dictionary.h), or NULL */
    uint64_t dictionary_bytes;
    uint64_t level;            /* decoder of a PROGRESSIVE codec: use the first `level` parts of each tile, 0 for all */
    uint64_t stride;           /* encoder: the role's walk through a row, coprime to tensor->columns; else 1. What a
                                * decoder needs of it, prepare writes into the header. */
    const char *role;          /* encoder: "attn_q" ... or "unknown"; NULL for a decoder */
} tsr_codec_setup;

typedef struct tsr_codec {
    uint64_t struct_size;
    const char *id;          /* reverse DNS, goes into files: "org.tessera.scalar" */
    const char *name;        /* [a-z][a-z0-9_-]*, what a config says */
    const char *description; /* one line */
    uint64_t bitstream_version; /* written */
    uint64_t bitstream_oldest;  /* still read */
    uint64_t flags;
    uint64_t dtypes; /* TSR_DTYPE_BIT mask of accepted source dtypes */
    const tsr_param *params;
    uint64_t param_count;
    uint64_t tile_weights; /* preferred weights a tile, 0 for the host's choice; 2^12..2^22 */
    int32_t input;         /* TSR_INPUT_* */
    int32_t reserved;

    /* A cheap yes (TSR_OK), or a reason in err. Nullable: yes to every tensor of an accepted dtype. [any] */
    tsr_status (*can_encode)(const tsr_codec_setup *setup, tsr_error *err);
    /* On failure *self stays NULL and nothing is left behind. A codec without state may leave NULL on success. */
    tsr_status (*create)(const tsr_codec_setup *setup, void **self, tsr_error *err);
    /* Called once for each create that succeeded. */
    void (*destroy)(void *self);
    /* Encoder only, nullable: looks at the whole tensor once before its first tile and writes what all tiles
     * share (tables, steps), at most TSR_CODEC_HEADER_MAX bytes. The decoder gets these bytes as setup.header.
     * In the F32 form, elements that are NaN or Inf read as 0 here: their tiles are stored raw. */
    tsr_status (*prepare)(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err);
    /* Upper bound of what encode writes for this tile. */
    uint64_t (*encode_bound)(void *self, const tsr_tile *tile);
    /* Encodes one tile: src holds tile->bytes bytes, aligned to an element; dst is not aligned. The host gives at
     * least encode_bound; where capacity does not suffice, TSR_E_SPACE and never a write behind it. [worker] */
    tsr_status (*encode)(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err);
    /* Decodes one tile of exactly `size` bytes, not aligned, into dst, tile->bytes bytes, aligned to an element.
     * Damaged input must end in TSR_E_CORRUPT (or unnoticed, in wrong values), never in an access outside src and
     * dst. Bit-exact on every machine, no libm. [worker] */
    tsr_status (*decode)(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst,
                         tsr_error *err);
    /* Optional groups of operations by id; nullable. [any] */
    const void *(*get_extension)(const char *id);
} tsr_codec;

#ifdef __cplusplus
}
#endif
#endif
