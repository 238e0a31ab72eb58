/* SPDX-License-Identifier: Apache-2.0
 *
 * What an input's second moment is worth to an encoder: an error of a weight counts as much as its input is large, so
 * moments are weights of columns once they are brought to a mean of 1. Inputs that were never seen keep a little
 * weight: another text may bring them. */
#include <base/alloc.h>

#include "plan_parts.h"

#define WEIGHT_MIN 1e-6

/* False when nothing came in. */
static bool moments_to_weights(float *values, uint64_t count) {
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += (double)values[i];
    if (!(sum > 0)) return false;
    for (uint64_t i = 0; i < count; i++) {
        double weight = (double)values[i] * (double)count / sum;
        values[i] = (float)(weight > WEIGHT_MIN ? weight : WEIGHT_MIN);
    }
    return true;
}

/* `entry` is the owner of the bytes, or an alias of them under whose name there may be statistics too. */
static tsr_status find_one(struct planner *planner, const struct plan_entry *entry, tsr_error *err) {
    const struct plan_statistics *statistics = planner->options->statistics;
    struct plan *plan = planner->plan;
    struct plan_entry *owner = &plan->entries[entry->alias_of < 0 ? entry - plan->entries : entry->alias_of];
    bool found = false;
    if (owner->column_weight || !owner->columns || !plan_is_lossy(owner->codec)) return TSR_OK;
    float *values = arena_alloc(&plan->arena, owner->columns, sizeof *values);
    if (!values) return plan_no_memory(err);
    tsr_status st = statistics->moments(statistics->ctx, entry->source->name, owner->columns, values, &found, err);
    if (st == TSR_OK && found && moments_to_weights(values, owner->columns)) owner->column_weight = values;
    return st;
}

tsr_status plan_find_statistics(struct planner *planner, tsr_error *err) {
    const struct plan_statistics *statistics = planner->options->statistics;
    const struct plan *plan = planner->plan;
    if (!statistics) return TSR_OK;
    tsr_status st = statistics->check(statistics->ctx, plan, err);
    for (uint64_t i = 0; i < plan->count && st == TSR_OK; i++) st = find_one(planner, &plan->entries[i], err);
    return st;
}
