/* SPDX-License-Identifier: Apache-2.0
 *
 * Codec extension "tessera.codec.signature/0": search among the rows of a matrix by compact addresses. A signature codec
 * stores an index (the codec header) and a few bytes a row (the tiles) that route a query to few rows; what it cannot
 * decide from them it asks the host for: the exact rows. A signature is never a reconstruction. Results are those of the
 * dense search, bit for bit of the host's own scoring, unless the request allows less. */
#ifndef TESSERA_EXT_SIGNATURE_H
#define TESSERA_EXT_SIGNATURE_H

#include "../codec.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_SIGNATURE_ID "tessera.codec.signature/0"

enum {
    TSR_SEARCH_INNER = 0,  /* largest <row, x> (decisions of an output matrix) */
    TSR_SEARCH_NEAREST = 1 /* smallest ||row - x|| */
};

/* A stored index: header is in the setup of create, tiles as stored, in order. Lent until search_close. */
typedef struct tsr_signature_source {
    uint64_t struct_size;
    void *ctx;
    uint64_t tile_count;
    /* Tile `index` and its bytes; `raw` tiles hold source bytes (rows with NaN or Inf). [any] */
    tsr_status (*tile)(void *ctx, uint64_t index, tsr_tile *tile, const void **bytes, uint64_t *size, int32_t *raw,
                       tsr_error *err);
    /* score[i] of row rows[i] against x, exact: <row, x>, or -||row - x||^2. [worker] */
    tsr_status (*score)(void *ctx, const uint64_t *rows, uint64_t count, const float *x, double *score,
                        tsr_error *err);
} tsr_signature_source;

typedef struct tsr_search_request {
    uint64_t struct_size;
    const float *x;   /* [columns], finite */
    uint64_t top;     /* rows wanted, best first; ties by the lower row */
    double threshold; /* 0: exact. Above 0 and up to 1, lossy: bounds count as this share narrower than they are, so rows
                       * that could win may be skipped; recall is then to be measured */
    int32_t kind;     /* TSR_SEARCH_* */
    int32_t reserved;
} tsr_search_request;

/* What one search did with the rows: the four add up to the number of rows. */
typedef struct tsr_search_stats {
    uint64_t struct_size;
    uint64_t skipped;   /* their bound could not win */
    uint64_t attended;  /* decided by interval alone, without the exact row */
    uint64_t composed;  /* decided by a finer approximation */
    uint64_t escalated; /* the exact row was read */
} tsr_search_stats;

typedef struct tsr_signature {
    uint64_t struct_size;
    /* Reads all tiles into memory once; `search` belongs to self and ends before it. TSR_E_CORRUPT for damage. */
    tsr_status (*search_open)(void *self, const tsr_signature_source *source, void **search, tsr_error *err);
    void (*search_close)(void *self, void *search);
    /* rows[top] and score[top] get the hits, *found their number (less than top when there are fewer rows; rows whose
     * score is NaN are none). score may be NULL: hits that bounds alone decide are not read then. stats may be NULL.
     * [worker] */
    tsr_status (*search)(void *self, void *search, const tsr_search_request *request, uint64_t *rows, double *score,
                         uint64_t *found, tsr_search_stats *stats, tsr_error *err);
    /* What an index of this tensor takes at most, codec header and tiles; `setup` is that of an encoder. [any] */
    uint64_t (*index_bytes)(const tsr_codec_setup *setup);
} tsr_signature;

#ifdef __cplusplus
}
#endif
#endif
