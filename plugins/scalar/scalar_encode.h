/* SPDX-License-Identifier: Apache-2.0
 *
 * The encoder's state: settings, what prepare decided for the whole tensor, and the choice of a segment's step that
 * prepare and encode must make alike. scalar_prepare.c fills it, scalar_encode.c uses it, scalar.c owns it. */
#ifndef SCALAR_ENCODE_H
#define SCALAR_ENCODE_H

#include "columns.h"
#include "row_step.h"
#include "scalar_bitstream.h"
#include "scalar_kernel.h"
#include "shape_model.h"
#include "side.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>

/* Rows and weights are told apart in units of the shape, 32 of them below what rows are on average, 31 above. A row's is its
 * bucket, a weight's its bin; scales are the bins that are met. */
enum { SCALAR_BINS = 64, SCALAR_BUCKET_MEAN = 32 };

struct scalar_settings {
    double bits;        /* asked for, side information included; unused when step > 0 */
    double step;        /* relative to the row's RMS, 0: from bits */
    double dead_zone;   /* by which the rounding threshold is raised, in steps */
    double error_bound; /* of each segment: relative RMS error, 0: none */
    uint64_t group;     /* columns that share a step, 0: the row */
    bool centroids;
};

struct scalar_encoder {
    const tsr_host *host;
    const tsr_entropy *entropy;
    const tsr_tensor *tensor;
    const struct scalar_kernels *kernels;
    const float *row_weight; /* [tensor->rows] or NULL */
    struct scalar_settings settings;
    double weighted_rms; /* unit of steps when there are row weights, see scalar_segment_choose */
    double scale;        /* step of a segment in its unit */
    uint32_t mantissa_bits;
    struct column_codes columns;
    bool rows_coded;                 /* else all buckets are SCALAR_BUCKET_MEAN */
    int32_t row_units;               /* of that bucket: log2 of RMS, columns divided by their scales, over step / scale */
    uint8_t row_stored[SCALAR_BINS]; /* what is written for a bucket: zigzag of the distance to the mean */
    int32_t first;                   /* bin of scale 0 */
    bool tables;                     /* stand for the shape's distributions */
    struct shape shape;
    struct shape_model model;
    struct offsets offsets[SCALAR_LISTS_MAX];
    float *points; /* [lists][2 * middle + 2], scalar_fill_points */
};

/* Everything but escapes, for x[count] of tensor row `row` from `column` on. */
struct segment scalar_segment_choose(const struct scalar_encoder *encoder, const float *x, uint64_t row,
                                     uint64_t column, uint64_t count);

/* What a scale of 1 is relative to: the step of a segment without a row weight is this times its RMS. */
double scalar_reference(const struct scalar_encoder *encoder);

static inline float scalar_rounding(const struct scalar_encoder *encoder) {
    return (float)(0.5 - encoder->settings.dead_zone);
}

static inline struct side_classes scalar_row_codes(const struct scalar_encoder *encoder) {
    return (struct side_classes){encoder->row_stored, encoder->rows_coded ? 2 : 1};
}

/* A row's code as decoders have it, and the lists of offsets that its scale belongs to. */
static inline int32_t scalar_row_code(const struct scalar_encoder *encoder, const struct segment *segment) {
    return (int32_t)segment->bucket - encoder->columns.centre - encoder->first;
}

static inline uint32_t scalar_bucket_list(const struct scalar_encoder *encoder, uint32_t bucket) {
    return shape_group(&encoder->shape, shape_scale(&encoder->shape, (int32_t)bucket, -encoder->first));
}

/* Contexts of columns from `column` on in a row of this code, within 0..last. */
static inline void scalar_contexts(const struct scalar_encoder *encoder, int32_t row, uint64_t column,
                                   uint64_t count, int32_t last, uint8_t *contexts) {
    if (encoder->columns.codes)
        encoder->kernels->contexts(encoder->columns.codes + column, count, row, last, contexts);
    else
        memset(contexts, row < 0 ? 0 : row > last ? last : row, (size_t)count);
}

/* Frees what prepare made. */
void scalar_encoder_clear(struct scalar_encoder *encoder);

/* Operations of the codec table (tessera/codec.h). */
tsr_status scalar_prepare(struct scalar_encoder *encoder, const tsr_row_source *source, const tsr_writer *header,
                          tsr_error *err);
uint64_t scalar_encode_bound(const struct scalar_encoder *encoder, const tsr_tile *tile);
tsr_status scalar_encode_tile(const struct scalar_encoder *encoder, const tsr_tile *tile, const float *x, uint8_t *dst,
                              uint64_t capacity, uint64_t *written, tsr_error *err);
/* The same with segments that are chosen already, or NULL. */
tsr_status scalar_encode_segments(const struct scalar_encoder *encoder, const tsr_tile *tile, const float *x,
                                  const struct segment *chosen, uint8_t *dst, uint64_t capacity, uint64_t *written,
                                  tsr_error *err);

#endif
