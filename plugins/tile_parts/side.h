/* SPDX-License-Identifier: Apache-2.0
 *
 * Side bits of a tile of scalar, spiral or trellis: for each segment (a row, or a group of its columns) zigzag(code -
 * centre) by one Rice parameter and, of a coded one where there are several classes, its class by another. */
#ifndef SIDE_H
#define SIDE_H

#include "step_code.h"

/* What shares a step. */
struct segment {
    uint32_t code; /* of step_code.h */
    uint32_t escapes;
    float inverse;   /* 1 / step */
    uint32_t bucket; /* by RMS over step */
};

static inline bool segment_is_coded(const struct segment *segment) {
    return segment->code > STEP_CODE_RAW;
}

/* The class of each bucket. */
struct side_classes {
    const uint8_t *of_bucket;
    uint32_t count;
};

/* How a tile's segments are written. */
struct side {
    uint64_t bits;
    uint32_t centre;
    uint32_t code_rice;
    uint32_t class_rice;
};

/* The parameters with the fewest bits. */
struct side side_plan(const struct segment *segments, uint64_t count, struct side_classes classes);
/* Into bytes[(side->bits + 7) / 8]. */
void side_write(const struct segment *segments, uint64_t count, struct side_classes classes, const struct side *side,
                uint8_t *bytes);

#endif
