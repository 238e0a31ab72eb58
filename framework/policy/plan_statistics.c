/* SPDX-License-Identifier: Apache-2.0
 *
 * What statistics are worth to an encoder. An error of a weight counts as much as its input is large, so moments are
 * weights of columns, and as much as the model's answer depends on its output, so Fisher values are weights of rows, once
 * they are brought to a mean of 1. Inputs that were never seen keep a little weight: another text may bring them. */
#include <base/alloc.h>
#include <numeric/factor.h>
#include <tessera/ext/block.h>

#include "plan_solve.h"

#define COLUMN_WEIGHT_MIN 1e-6
#define ROW_WEIGHT_MIN 1e-4

/* What there is for one storage, under any of its names. */
struct findings {
    float *moments;       /* [columns] */
    float *fisher;        /* [rows] */
    float *lookup;        /* [rows] */
    const char *moment;   /* the name under which the whole matrix is */
    struct digest digest; /* of it */
};

/* Brings values to a mean of 1, none below `least`. False when they are all 0. */
static bool to_weights(float *values, uint64_t count, double least) {
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += (double)values[i];
    if (!(sum > 0)) return false;
    for (uint64_t i = 0; i < count; i++) {
        double weight = (double)values[i] * (double)count / sum;
        values[i] = (float)(weight > least ? weight : least);
    }
    return true;
}

typedef tsr_status read_values(void *ctx, const char *name, uint64_t count, float *values, bool *found, tsr_error *err);

/* Values under this name unless there are some already. */
static tsr_status find_values(struct planner *planner, read_values *read, const char *name, uint64_t count,
                              float **values, tsr_error *err) {
    bool found = false;
    if (*values || !count) return TSR_OK;
    float *read_to = arena_alloc(&planner->plan->arena, count, sizeof *read_to);
    if (!read_to) return plan_no_memory(err);
    tsr_status st = read(planner->options->statistics->ctx, name, count, read_to, &found, err);
    if (st == TSR_OK && found) *values = read_to;
    return st;
}

/* `entry` is the owner of the bytes, or an alias of them under whose name there may be statistics too. */
static tsr_status find_one(struct planner *planner, const struct plan_entry *entry, struct findings *all, tsr_error *err) {
    const struct plan_statistics *statistics = planner->options->statistics;
    struct plan *plan = planner->plan;
    const uint64_t index = entry->alias_of < 0 ? (uint64_t)(entry - plan->entries) : (uint64_t)entry->alias_of;
    const struct plan_entry *owner = &plan->entries[index];
    const char *name = entry->source->name;
    struct findings *to = &all[index];
    bool found = false;
    if (!plan_is_lossy(owner->codec)) return TSR_OK;
    tsr_status st = find_values(planner, statistics->moments, name, owner->columns, &to->moments, err);
    if (st == TSR_OK) st = find_values(planner, statistics->fisher, name, owner->rows, &to->fisher, err);
    if (st == TSR_OK) st = find_values(planner, statistics->lookup, name, owner->rows, &to->lookup, err);
    if (st != TSR_OK || to->moment || !owner->columns) return st;
    st = statistics->moment_digest(statistics->ctx, name, owner->columns, &to->digest, &found, err);
    if (st == TSR_OK && found) to->moment = name;
    return st;
}

/* A bound on rows is one on errors of the weights, which feedback makes larger. */
static bool feeds_back(const struct plan_entry *entry) {
    const tsr_codec *codec = entry->codec;
    return entry->rule && !entry->rule->no_feedback && entry->row_error_max == 0 && codec->get_extension &&
           codec->get_extension(TSR_BLOCK_ID);
}

static double mean_of(const float *values, uint64_t count) {
    double sum = 0;
    for (uint64_t i = 0; values && i < count; i++) sum += (double)values[i];
    return count ? sum / (double)count : 0;
}

/* Noise of variance 1 in each column costs this much a column: the mean of the diagonal of the moments, or with feedback
 * that of the squared diagonal of their factor. (Their geometric mean, det^(1/n), is what steps of each column's own would
 * reach; steps are those of rows.) */
static tsr_status column_cost(struct planner *planner, const struct plan_entry *entry, double mean, double *cost,
                              tsr_error *err) {
    const struct plan_statistics *statistics = planner->options->statistics;
    const uint64_t n = entry->columns;
    double damping = entry->damping, sum = 0;
    *cost = mean;
    if (!entry->moment) return TSR_OK;
    float *moment = mem_alloc_array(n * n, sizeof *moment), *diagonal = mem_alloc_array(n, sizeof *diagonal);
    tsr_status st = moment && diagonal ? statistics->moment(statistics->ctx, entry->moment, n, moment, err)
                                       : plan_no_memory(err);
    if (st == TSR_OK && factor_make(moment, n, &damping, diagonal)) {
        for (uint64_t i = 0; i < n; i++) sum += (double)moment[i * n + i] * (double)moment[i * n + i];
        *cost = mean * sum / (double)n;
    }
    mem_free(moment);
    mem_free(diagonal);
    return st;
}

/* An output matrix whose rows are looked up too: errors of a row cost F H + l 1. Feedback knows one such matrix for all
 * rows, that of the mean F and l. */
static tsr_status add_lookup(struct planner *planner, struct plan_entry *entry, struct findings *found, tsr_error *err) {
    const double mean = mean_of(found->moments, entry->columns), fisher = mean_of(found->fisher, entry->rows);
    double cost = 0;
    if (!found->fisher || !(mean > 0)) {
        found->fisher = found->lookup;
        return TSR_OK;
    }
    if (fisher > 0) entry->damping += mean_of(found->lookup, entry->rows) / (fisher * mean);
    tsr_status st = column_cost(planner, entry, mean, &cost, err);
    for (uint64_t r = 0; r < entry->rows; r++) {
        found->fisher[r] = (float)((double)found->fisher[r] * cost + (double)found->lookup[r]);
    }
    return st;
}

/* What the values of a free tensor are in nats: with look-ups they are already, else each output's is times what its inputs
 * make of noise. */
static tsr_status find_importance(struct planner *planner, struct plan_entry *entry, const struct findings *found,
                                  tsr_error *err) {
    double cost = 1, mean = mean_of(found->moments, entry->columns);
    tsr_status st = found->lookup ? TSR_OK : column_cost(planner, entry, mean, &cost, err);
    entry->importance = cost * mean_of(found->fisher, entry->rows);
    return st;
}

static tsr_status settle(struct planner *planner, struct plan_entry *entry, struct findings *found, tsr_error *err) {
    tsr_status st = TSR_OK;
    if (found->moment && mean_of(found->moments, entry->columns) > 0 && feeds_back(entry)) {
        entry->moment = found->moment;
        entry->moment_digest = found->digest;
        entry->damping = entry->rule->damping;
    }
    if (found->lookup) st = add_lookup(planner, entry, found, err);
    if (st == TSR_OK && plan_is_free(entry)) st = find_importance(planner, entry, found, err);
    if (found->moments && to_weights(found->moments, entry->columns, COLUMN_WEIGHT_MIN)) {
        entry->column_weight = found->moments;
    }
    if (found->fisher && to_weights(found->fisher, entry->rows, ROW_WEIGHT_MIN)) entry->row_weight = found->fisher;
    return st;
}

tsr_status plan_find_statistics(struct planner *planner, tsr_error *err) {
    const struct plan_statistics *statistics = planner->options->statistics;
    const struct plan *plan = planner->plan;
    if (!statistics) return TSR_OK;
    struct findings *all = mem_alloc_zero(plan->count, sizeof *all);
    tsr_status st = all ? statistics->check(statistics->ctx, plan, err) : plan_no_memory(err);
    for (uint64_t i = 0; i < plan->count && st == TSR_OK; i++) st = find_one(planner, &plan->entries[i], all, err);
    for (uint64_t i = 0; i < plan->count && st == TSR_OK; i++) {
        if (plan->entries[i].alias_of < 0) st = settle(planner, &plan->entries[i], &all[i], err);
    }
    mem_free(all);
    return st;
}
