/* SPDX-License-Identifier: Apache-2.0
 *
 * What codecs have in common that store indices of words for short runs of columns: scales, sampling, codebooks in the
 * header or in a dictionary, tiles, rows, error feedback. A codec of the family supplies a vq_kind: how its codebook is
 * trained and searched, and what a vector's indices stand for. */
#ifndef VQ_H
#define VQ_H

#include "vq_bitstream.h"

#include <tessera/codec.h>
#include <tessera/ext/block.h>
#include <tessera/ext/dictionary.h>
#include <tessera/ext/entropy.h>
#include <tessera/ext/hadamard.h>
#include <tessera/ext/kmeans.h>
#include <tessera/ext/rows.h>

/* Of a codebook. */
struct vq_shape {
    uint64_t dim;
    uint32_t streams;
    uint32_t sizes[VQ_STREAMS_MAX];
};

/* From the codec's parameters. */
struct vq_settings {
    struct vq_shape shape; /* dim 0: the whole row */
    uint64_t group;
    uint64_t effort; /* beam or branches of the search */
    uint64_t refits; /* rounds */
    bool guard, entropy, hadamard;
};

/* One index of each vector. */
struct vq_stream {
    uint32_t size, width;
    tsr_entropy_model *model; /* NULL: packed */
    uint64_t model_bytes;     /* that it takes when written; encoders only */
};

struct vq;

/* Vectors to train on, scaled to an RMS of about 1. */
struct vq_sample {
    float *vectors; /* [count][dim] */
    float *weights; /* [count][dim] or NULL */
    uint64_t count;
};

/* Vectors to search for, and where their indices go: of stream s at indices[s * stride + vector]. */
struct vq_query {
    const float *vectors; /* [count][dim] */
    const float *weights; /* of vector v at weights + v * weight_stride, or NULL */
    uint64_t weight_stride, count;
    uint16_t *indices;
    uint64_t stride;
};

struct vq_kind {
    const char *name;
    /* Numbers in the words of a codebook. */
    uint64_t (*values)(const struct vq_shape *shape);
    /* Centroids that training vectors are shared out to: a stage, or all leaves. */
    uint64_t (*centroids)(const struct vq_shape *shape);
    /* Lowers sizes until there are no more centroids than that. */
    void (*shrink)(struct vq_shape *shape, uint64_t centroids);
    /* Training vectors that are enough. */
    uint64_t (*enough)(const struct vq_shape *shape);
    /* Fills vq->words[values], BF16 numbers, for vq->shape. vq->search is closed. */
    tsr_status (*train)(struct vq *vq, const struct vq_sample *sample, tsr_error *err);
    /* Makes vq->search from the words; encoders only. close must be called in any case. */
    tsr_status (*open)(struct vq *vq, tsr_error *err);
    void (*close)(struct vq *vq);
    uint64_t (*search_bytes)(const struct vq *vq, uint64_t count);
    void (*search)(const struct vq *vq, const struct vq_query *query, void *scratch);
    /* out[count][dim] from the first `streams` streams. */
    void (*reconstruct)(const struct vq *vq, const uint16_t *indices, uint64_t stride, uint64_t count, uint32_t streams,
                        float *out);
};

/* An instance. */
struct vq {
    const struct vq_kind *kind;
    const tsr_host *host;
    const tsr_entropy *entropy;
    const tsr_kmeans *kmeans;
    const tsr_hadamard *hadamard; /* NULL: rows are not rotated */
    uint64_t seed;                /* of the rotation */
    const tsr_tensor *tensor;
    struct vq_settings settings;
    int32_t decoding;
    int32_t shared;        /* the codebook is the group's dictionary */
    uint64_t level;        /* streams that a decoder uses, 0: all */
    struct vq_shape shape; /* of the codebook, once it is there */
    struct vq_stream streams[VQ_STREAMS_MAX];
    float *words;
    void *search;                   /* the kind's */
    const float *row_weight;        /* [rows] or NULL */
    float *column_weight;           /* [row vectors of the tensor][dim], mean 1, or NULL */
    const float *raw_column_weight; /* [columns] as the host gave them */
};

/* Columns of a vector for a tensor. */
static inline uint64_t vq_dim(const struct vq_settings *settings, const tsr_tensor *tensor) {
    return settings->shape.dim ? settings->shape.dim : tensor->columns;
}

static inline struct vq_grid vq_tile_grid(const struct vq *vq, const tsr_tile *tile) {
    return vq_grid_make(tile->rows, tile->columns, vq->shape.dim, vq->settings.group);
}

static inline uint32_t vq_used_streams(const struct vq *vq) {
    return vq->level && vq->level < vq->shape.streams ? (uint32_t)vq->level : vq->shape.streams;
}

static inline tsr_status vq_no_memory(const struct vq *vq, tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", vq->kind->name);
}

static inline tsr_status vq_corrupt(const struct vq *vq, tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "%s: %s", vq->kind->name, what);
}

/* ---- instances (vq.c) ---- */

/* What can_encode says of settings alone, of one tensor. */
tsr_status vq_can_encode(const struct vq_kind *kind, const struct vq_settings *settings, const tsr_codec_setup *setup,
                         tsr_error *err);
tsr_status vq_create(const struct vq_kind *kind, const struct vq_settings *settings, const tsr_codec_setup *setup,
                     struct vq **created, tsr_error *err);
void vq_destroy(void *self);
/* Row and column weights from hints, which may be NULL; column_weight is the caller's to free. */
tsr_status vq_take_hints(struct vq *vq, const tsr_encode_hints *hints, tsr_error *err);
/* Puts a shape in place: streams without models, words not yet known. */
tsr_status vq_set_shape(struct vq *vq, const struct vq_shape *shape, tsr_error *err);
/* Rounds words to BF16, to nearest, ties to even. */
void vq_round(float *words, uint64_t count);

/* ---- codebooks (vq_codebook.c) ---- */

/* Bytes of a codebook without its models. */
uint64_t vq_codebook_bytes(const struct vq_kind *kind, const struct vq_shape *shape);
tsr_status vq_codebook_write(const struct vq *vq, const tsr_writer *writer, tsr_error *err);
tsr_status vq_codebook_read(struct vq *vq, const uint8_t *bytes, uint64_t size, tsr_error *err);

/* ---- training (vq_train.c, vq_sample.c) ---- */

struct vq_sums {
    uint64_t vectors; /* of all members */
    uint64_t bytes;   /* source bytes of all members */
};

/* Refuses to memorise: too few vectors a centroid, or a codebook too large for what it serves. */
tsr_status vq_guard(const struct vq_kind *kind, const struct vq_settings *settings, uint64_t dim,
                    const struct vq_sums *sums, tsr_error *err);
struct vq_sums vq_sum(const struct vq_settings *settings, const tsr_tensor *tensor);
/* Fills *sample from all members, which the caller clears in any case. */
tsr_status vq_sample_take(const struct vq *vq, const tsr_dictionary_member *members, uint64_t count, uint64_t most,
                          struct vq_sample *sample, tsr_error *err);
void vq_sample_clear(const struct vq *vq, struct vq_sample *sample);
/* Trains on the members and leaves vq ready to encode. */
tsr_status vq_train(struct vq *vq, const tsr_dictionary_member *members, uint64_t count, tsr_error *err);
tsr_status vq_prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err);
tsr_status vq_dictionary_can_train(const struct vq_kind *kind, const struct vq_settings *settings,
                                   const tsr_dictionary_member *members, uint64_t count, uint64_t *bytes,
                                   tsr_error *err);
tsr_status vq_dictionary_train(const struct vq_kind *kind, const struct vq_settings *settings,
                               const tsr_dictionary_member *members, uint64_t count, const tsr_writer *dictionary,
                               tsr_error *err);
/* Indices [streams][count] of a sample, on all workers. */
tsr_status vq_search_all(const struct vq *vq, const struct vq_sample *sample, uint16_t *indices, tsr_error *err);

/* ---- scales (vq_scale.c) ---- */

/* Mantissa bits for segments of so many columns. */
uint32_t vq_mantissa_bits(uint64_t columns);
/* A row that cannot be rotated: too large, so that sums could overflow, or too small for a scale. */
bool vq_row_is_raw(const float *row, uint64_t columns);
/* Scale code of x[count]. */
uint32_t vq_scale_choose(const float *x, uint64_t count, uint32_t mantissa_bits);
/* How codes are written. */
struct vq_side {
    uint64_t bits;
    uint32_t centre, rice;
};
struct vq_side vq_side_plan(const uint16_t *codes, uint64_t count);
/* Into zeroed bytes. */
void vq_side_write(const uint16_t *codes, uint64_t count, const struct vq_side *side, uint8_t *bytes);
/* False when a code is out of range or the bits are not exactly used. */
bool vq_side_read(const uint8_t *bytes, uint64_t size, const struct vq_side *side, uint32_t mantissa_bits,
                  uint16_t *codes, uint64_t count);

/* ---- tiles (vq_encode.c, vq_decode.c, vq_block.c): operations of tessera/codec.h where they are named like them ----
 */

/* The scale codes of a row that is not raw as a whole, and with rotation is rotated already. */
void vq_choose_codes(const struct vq *vq, const struct vq_grid *grid, const float *row, uint32_t mantissa_bits,
                     uint16_t *codes);
/* One row of a tile cut into vectors, each times 1 / scale of its segment; zeros for segments without a scale. */
void vq_scale_row(const struct vq_grid *grid, const float *row, const uint16_t *codes, uint32_t mantissa_bits,
                  float *vectors);
/* A tile that has been quantised; x has its values, for raw segments. */
struct vq_tile {
    struct vq_grid grid;
    uint32_t mantissa_bits;
    const float *x;
    uint16_t *codes;   /* [segments] */
    uint16_t *indices; /* [streams][vectors] */
};
uint64_t vq_encode_bound(void *self, const tsr_tile *tile);
tsr_status vq_encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity, uint64_t *written,
                     tsr_error *err);
tsr_status vq_write_tile(const struct vq *vq, const struct vq_tile *tile, uint8_t *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err);

/* Where the parts of a stored tile are. */
struct vq_parsed {
    struct vq_grid grid;
    uint32_t mantissa_bits;
    uint32_t streams;   /* that were found: the used ones */
    const uint8_t *raw; /* F32 values of raw segments */
    const uint8_t *stream[VQ_STREAMS_MAX];
    uint64_t stream_bytes[VQ_STREAMS_MAX];
};
/* codes[segments of the tile] and the places of the streams. */
tsr_status vq_parse_tile(const struct vq *vq, const tsr_tile *tile, const uint8_t *src, uint64_t size, uint16_t *codes,
                         struct vq_parsed *parsed, tsr_error *err);
/* Indices of vectors first .. first + count - 1 of a stream; entropy-coded ones need whole[grid.vectors] to work in. */
tsr_status vq_read_indices(const struct vq *vq, const struct vq_parsed *parsed, uint32_t stream, uint64_t first,
                           uint64_t count, uint16_t *indices, uint16_t *whole, tsr_error *err);
tsr_status vq_decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err);

extern const tsr_rows VQ_ROWS;
extern const tsr_block VQ_BLOCK;

#endif
