/* SPDX-License-Identifier: Apache-2.0
 *
 * Drives a codec over a tensor: cuts tiles, turns transposed sources, converts dtypes, falls back to raw bytes for a
 * tile that holds NaN or Inf, or does not shrink, spreads tiles over workers, keeps their order. Knows no file format:
 * source and sink are callbacks. */
#ifndef PLUGIN_CODER_H
#define PLUGIN_CODER_H

#include "tile.h"

#include <base/env.h>
#include <base/digest.h>

/* The tensor's bytes in source order. [any] */
struct coder_source {
    void *ctx;
    tsr_status (*read)(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err);
};

/* Second moments of what the tensor's columns are multiplied with, for error feedback (feedback.h). */
struct coder_feedback {
    void *ctx;
    tsr_status (*moment)(void *ctx, float *moment, tsr_error *err); /* [columns][columns] */
    double damping; /* added to their diagonal, in its mean; gets what was needed */
    bool used;      /* gets whether the codec could */
};

struct coder_job {
    const struct env *env;
    const tsr_host *host;
    const tsr_codec *codec;
    const tsr_param_value *params;
    const tsr_encode_hints *hints; /* or NULL */
    struct coder_feedback *feedback; /* encoding, or NULL */
    const void *dictionary;        /* of the tensor's group, or NULL */
    uint64_t dictionary_bytes;
    const int8_t *column_scale;    /* [columns] of numeric/column_scale.h, or NULL; encoding: where feedback is used */
    uint64_t level;                /* decoding a progressive codec: parts of a tile to use, 0 for all */
    uint64_t stride;               /* encoding: the role's, 0 for none */
    const char *role;              /* encoding: its name, or NULL */
    uint64_t tile_weights;         /* encoding: cut as a codec with this preference would be; 0: as this one's */
    /* A codec behind others in a stack. One with ext/residual.h keeps the tensor's dtype and gets the prediction; any
     * other encodes the F32 difference: tensor->dtype is F32 then, and the result's dtype is base_dtype. */
    bool stacked;
    int32_t base_dtype;
    const struct coder_source *prediction; /* encoding: in the tensor's dtype, matrix order; ext/residual.h only */
    const tsr_tensor *tensor;      /* rows and columns of the matrix view */
    bool transposed;               /* source order is [columns][rows] (for each leading block of rank > 2) */
    uint32_t dtype_bits;           /* an element of the matrix view: what tile_matrix_of returns */
};

/* Where an encoded tensor goes: the codec header once, then tiles in order. */
struct coder_sink {
    void *ctx;
    tsr_status (*begin)(void *ctx, const struct tile_grid *grid, const void *header, uint64_t bytes, tsr_error *err);
    tsr_status (*tile)(void *ctx, const void *bytes, uint64_t size, bool raw, tsr_error *err);
};

/* TSR_OK when the codec takes this tensor; TSR_E_UNSUPPORTED with its reason when not. Source is not looked at. */
tsr_status coder_accepts(const struct coder_job *job, tsr_error *err);

/* Encodes all tiles. Bytes depend on source, codec, params and hints alone. If source_digest is not NULL it gets the
 * XXH3-128 of the source bytes in source order. A codec that writes more than it said or returns a status outside the
 * list misbehaves: TSR_E_PLUGIN. Takes about 20 bytes a weight for 2^21 weights (or one tile, where that is more). A
 * tensor without elements has no tiles and never reaches the codec. */
tsr_status coder_encode(const struct coder_job *job, const struct coder_source *source, const struct coder_sink *sink,
                        struct digest *source_digest, tsr_error *err);

/* A decoder over one stored tensor. `header` and what job points to must live as long as it. TSR_E_UNSUPPORTED for a
 * bitstream version outside those that the codec reads, TSR_E_CORRUPT for a grid that does not fit the tensor. */
struct coder;
tsr_status coder_open(const struct coder_job *job, const struct tile_grid *grid, const void *header, uint64_t bytes,
                      uint64_t bitstream_version, struct coder **coder, tsr_error *err);
void coder_close(struct coder *coder);
/* The codec's decoding instance, for groups of operations on stored tiles (ext/). Lent as long as the coder lives. */
void *coder_self(const struct coder *coder);
/* What each column of the codec's values is multiplied with, [columns], or NULL. Lent as long as the coder lives. */
const float *coder_column_factors(const struct coder *coder);
/* Decodes one stored tile into source-dtype bytes in matrix order (dst holds tile_at(...).rows * columns elements).
 * `raw` tiles are copied. A codec that returns a status outside the list misbehaves: TSR_E_PLUGIN. `worker` is the
 * caller's in env->pool. [worker] */
tsr_status coder_decode_tile(struct coder *coder, uint64_t index, const void *bytes, uint64_t size, bool raw, void *dst,
                             uint64_t worker, tsr_error *err);

/* For a stacked codec: `tile` holds what the codecs before gave, in base_dtype, and gets what this one makes of it. What
 * is not finite stays as it is. [worker] */
tsr_status coder_correct_tile(struct coder *coder, uint64_t index, const void *bytes, uint64_t size, bool raw,
                              void *tile, uint64_t worker, tsr_error *err);

/* True for codecs that want the prediction beside the source (ext/residual.h). [any] */
bool coder_takes_prediction(const tsr_codec *codec);
/* What a stacked codec without ext/residual.h encodes: source - prediction, 0 where either is not finite. [any] */
void coder_difference(int32_t dtype, const void *source, const void *prediction, uint64_t count, float *difference);

/* The host table lent to plugins, on top of an env. Lives in the caller's storage. */
struct host_services {
    tsr_host host;
    const struct env *env;
};
void host_services_init(struct host_services *services, const struct env *env);

#endif
