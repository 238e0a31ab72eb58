/* SPDX-License-Identifier: Apache-2.0
 *
 * The verify stage of compress: reads the staged files as any later reader will, decodes every tile with fresh
 * instances, and compares with the source. Trusts nothing that encoding left in memory. */
#ifndef MEASURE_COMPARE_H
#define MEASURE_COMPARE_H

#include <policy/metric.h>
#include <policy/plan.h>
#include <reading/stored.h>

/* What was measured of one tensor. Of an alias: its target's. */
struct outcome {
    bool identical;         /* every byte */
    struct metric metric;   /* lossy codecs only */
    struct row_cosines {    /* over all rows of the matrix view; lossy codecs only */
        double mean, p5, min;
    } rows;
    uint64_t payload_bytes; /* on disk; 0 for aliases */
    uint64_t index_bytes; /* of these, the search index */
};

/* Checks every tensor of the plan; outcomes[plan->count]. TSR_E_GATE names tensor and row where an exact codec was not
 * exact, an alias is not what it stands for, or a row of the index regime broke its bound. */
tsr_status compare_staged(const struct checkpoint *checkpoint, const struct plan *plan, const struct stored *stored,
                          const struct registry *registry, const struct env *env, struct outcome *outcomes,
                          tsr_error *err);

/* Adds what was measured of a later piece of the same tensor; both pieces may hold part of one row. */
void compare_join(struct metric *sum, const struct metric *piece);

#endif
