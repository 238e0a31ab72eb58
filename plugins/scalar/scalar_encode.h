/* SPDX-License-Identifier: Apache-2.0
 *
 * The encoder's state: settings, what prepare decided for the whole tensor, and the choice of a segment's step that
 * prepare and encode must make alike. scalar_prepare.c fills it, scalar_encode.c uses it, scalar.c owns it. */
#ifndef SCALAR_ENCODE_H
#define SCALAR_ENCODE_H

#include "row_step.h"
#include "side.h"
#include "scalar_bitstream.h"
#include "scalar_kernel.h"

#include <tessera/codec.h>
#include <tessera/ext/entropy.h>

struct scalar_settings {
    double bits;        /* asked for, side information included; unused when step > 0 */
    double step;        /* relative to the row's RMS, 0: from bits */
    double dead_zone;   /* by which the rounding threshold is raised, in steps */
    double error_bound; /* of each segment: relative RMS error, 0: none */
    uint64_t group;     /* columns that share a step, 0: the row */
    bool centroids;
};

/* Segments with about the same ratio of RMS to step: one context of the entropy model. */
struct scalar_class {
    uint32_t limit; /* larger magnitudes are escapes */
    uint32_t offset_count;
    int8_t offsets[SCALAR_OFFSETS_MAX]; /* of magnitudes 1.. */
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
    uint32_t middle; /* M of the bitstream: largest limit of the classes */
    uint32_t class_count;
    uint8_t bucket_class[SCALAR_CLASSES_MAX]; /* class of a bucket of spreads */
    struct scalar_class classes[SCALAR_CLASSES_MAX];
    tsr_entropy_model *model;
    float *points; /* [class_count][2 * middle + 2], scalar_fill_points; only with an error bound */
};

/* Everything but escapes, for x[count] of tensor row `row`. */
struct segment scalar_segment_choose(const struct scalar_encoder *encoder, const float *x, uint64_t count,
                                     uint64_t row);

/* Several spreads are told apart only where steps are not simply proportional to the RMS. */
static inline uint32_t scalar_bucket_count(const struct scalar_encoder *encoder) {
    return encoder->row_weight || encoder->settings.error_bound > 0 ? SCALAR_CLASSES_MAX : 1;
}

static inline float scalar_rounding(const struct scalar_encoder *encoder) {
    return (float)(0.5 - encoder->settings.dead_zone);
}

static inline struct side_classes scalar_classes(const struct scalar_encoder *encoder) {
    return (struct side_classes){encoder->bucket_class, encoder->class_count};
}

/* Bytes of a varint. */
static inline uint64_t scalar_varint_bytes(uint32_t value) {
    uint64_t bytes = 1;
    while (value >>= 7) bytes++;
    return bytes;
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
