/* SPDX-License-Identifier: Apache-2.0
 *
 * Rice parameters of a tile's steps and classes by trying all, and the bits by them. */
#include "side.h"

#include "sink.h"

/* Bits of all codes with one parameter, and of all classes with it. */
static void side_bits(const struct segment *segments, uint64_t count, struct side_classes classes,
                      const struct side *trial, uint64_t bits[2]) {
    bits[0] = bits[1] = 0;
    for (uint64_t i = 0; i < count; i++) {
        int32_t distance = (int32_t)segments[i].code - (int32_t)trial->centre;
        bits[0] += rice_bits(zigzag(distance), trial->code_rice);
        if (segment_is_coded(&segments[i])) {
            bits[1] += rice_bits(classes.of_bucket[segments[i].bucket], trial->class_rice);
        }
    }
}

struct side side_plan(const struct segment *segments, uint64_t count, struct side_classes classes) {
    struct side plan = {0}, trial = {0};
    uint64_t sum = 0, coded = 0, bits[2], best[2] = {UINT64_MAX, UINT64_MAX};
    for (uint64_t i = 0; i < count; i++) {
        if (!segment_is_coded(&segments[i])) continue;
        sum += segments[i].code;
        coded++;
    }
    plan.centre = trial.centre = coded ? (uint32_t)((sum + coded / 2) / coded) : STEP_CODE_ZERO;
    for (uint32_t parameter = 0; parameter <= RICE_MAX; parameter++) {
        trial.code_rice = trial.class_rice = parameter;
        side_bits(segments, count, classes, &trial, bits);
        if (bits[0] < best[0]) {
            best[0] = bits[0];
            plan.code_rice = parameter;
        }
        if (bits[1] < best[1]) {
            best[1] = bits[1];
            plan.class_rice = parameter;
        }
    }
    plan.bits = best[0] + (classes.count > 1 ? best[1] : 0);
    return plan;
}

void side_write(const struct segment *segments, uint64_t count, struct side_classes classes, const struct side *side,
                uint8_t *bytes) {
    struct sink_bits bits = {bytes, 0};
    memset(bytes, 0, (size_t)((side->bits + 7) / 8));
    for (uint64_t i = 0; i < count; i++) {
        const struct segment *segment = &segments[i];
        bits_put_rice(&bits, zigzag((int32_t)segment->code - (int32_t)side->centre), side->code_rice);
        if (classes.count > 1 && segment_is_coded(segment)) {
            bits_put_rice(&bits, classes.of_bucket[segment->bucket], side->class_rice);
        }
    }
}
