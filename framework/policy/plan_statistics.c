/* SPDX-License-Identifier: Apache-2.0
 *
 * What statistics are worth to an encoder. An error of a weight counts as much as its input is large, so moments are
 * weights of columns, and as much as the model's answer depends on its output, so Fisher values are weights of rows, once
 * they are brought to a mean of 1. Inputs that were never seen keep a little weight: another text may bring them. */
#include <math.h>
#include <stdlib.h>

#include <base/alloc.h>
#include <numeric/column_scale.h>
#include <numeric/dense.h>
#include <numeric/factor.h>
#include <plugin/tile.h>
#include <tessera/ext/block.h>

#include "plan_solve.h"

#define COLUMN_WEIGHT_MIN 1e-6
#define ROW_WEIGHT_MIN 1e-4
#define SCALE_POWER 0.375

/* What there is for one storage, under any of its names. */
struct findings {
    float *moments;       /* [columns] */
    float *fisher;        /* [rows] */
    float *lookup;        /* [rows] */
    const char *moment;   /* the name under which the whole matrix is */
    struct digest digest; /* of it */
    int8_t *scale;        /* [columns] */
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

struct input {
    double moment;
    uint64_t column;
};

static int smaller_first(const void *a, const void *b) {
    const struct input *x = a, *y = b;
    if (x->moment != y->moment) return x->moment < y->moment ? -1 : 1;
    return x->column > y->column ? -1 : 1;
}

/* Scales of columns, proportional to cost^-SCALE_POWER, and what errors cost in them. With a table of symbols for each column
 * the power would be 1/2; one table for all wants columns more alike (docs/attempts/column-scales.md). Of its logarithm
 * only whole codes are kept, and the last bits of BLAS decide at most between two. */
static void choose_scales(float *moments, uint64_t n, int8_t *scale) {
    double sum = 0;
    for (uint64_t c = 0; c < n; c++) sum += log2((double)moments[c]);
    for (uint64_t c = 0; c < n; c++) {
        double code = -SCALE_POWER * COLUMN_SCALE_OCTAVE * (log2((double)moments[c]) - sum / (double)n);
        code = fmin(fmax(code, -COLUMN_SCALE_MOST), COLUMN_SCALE_MOST);
        scale[c] = (int8_t)lrint(code);
        moments[c] = (float)((double)moments[c] * exp2(2.0 * scale[c] / COLUMN_SCALE_OCTAVE));
    }
}

/* With feedback an error of a column costs the square of the factor's diagonal there, columns being quantised as the
 * coder does it: the largest first, from the last position on. */
static tsr_status shape(float *moment, uint64_t n, double damping, double mean, float *moments, tsr_error *err) {
    struct input *inputs = mem_alloc_array(n, sizeof *inputs);
    uint64_t *column = mem_alloc_array(n, sizeof *column);
    float *row = mem_alloc_array(n, sizeof *row);
    tsr_status st = inputs && column && row ? TSR_OK : plan_no_memory(err);
    for (uint64_t i = 0; i < n && !st; i++) inputs[i] = (struct input){(double)moment[i * n + i], i};
    if (!st) qsort(inputs, n, sizeof *inputs, smaller_first);
    for (uint64_t i = 0; i < n && !st; i++) column[i] = inputs[i].column;
    if (!st) factor_reorder(moment, n, column, row);
    if (!st && factor_make(moment, n, &damping, row)) {
        for (uint64_t i = 0; i < n; i++) {
            moments[column[i]] = (float)(mean * (double)moment[i * n + i] * (double)moment[i * n + i]);
        }
    }
    mem_free(inputs);
    mem_free(column);
    mem_free(row);
    return st;
}

/* Scales are stored for whole rows, and dictionaries are trained without them. */
static bool can_scale(const struct plan_entry *entry) {
    struct tile_grid grid = tile_grid_make(entry->rows, entry->columns, entry->codec->tile_weights);
    return grid.tile_columns == entry->columns && !entry->rule->group;
}

static tsr_status shape_moments(struct planner *planner, const struct plan_entry *entry, struct findings *found,
                                tsr_error *err) {
    const struct plan_statistics *statistics = planner->options->statistics;
    const uint64_t n = entry->columns;
    float *moment = mem_alloc_array(n * n, sizeof *moment);
    tsr_status st = moment ? statistics->moment(statistics->ctx, entry->moment, n, moment, err) : plan_no_memory(err);
    if (!st) st = shape(moment, n, entry->damping, mean_of(found->moments, n), found->moments, err);
    mem_free(moment);
    if (st || !can_scale(entry)) return st;
    found->scale = arena_alloc(&planner->plan->arena, n, sizeof *found->scale);
    if (!found->scale) return plan_no_memory(err);
    choose_scales(found->moments, n, found->scale);
    return TSR_OK;
}

/* An output matrix whose rows are looked up too: errors of a row cost F H + l 1. Feedback knows one such matrix for all
 * rows, that of the mean F and l: this is what its look-ups add to the diagonal, in the mean of that of H. */
static double lookup_damping(const struct plan_entry *entry, const struct findings *found) {
    const double mean = mean_of(found->moments, entry->columns), fisher = mean_of(found->fisher, entry->rows);
    return fisher > 0 && mean > 0 ? mean_of(found->lookup, entry->rows) / (fisher * mean) : 0;
}

/* Fisher values become what errors of rows cost in nats: times what their columns make of noise of variance 1, and look-ups,
 * which are in nats. False when that is not known. */
static bool weigh_rows(const struct plan_entry *entry, struct findings *found) {
    const double cost = mean_of(found->moments, entry->columns);
    if (!found->fisher || (!(cost > 0) && found->lookup)) {
        found->fisher = found->lookup;
        return found->lookup != NULL;
    }
    for (uint64_t r = 0; r < entry->rows && cost > 0; r++) {
        found->fisher[r] = (float)((double)found->fisher[r] * cost + (found->lookup ? (double)found->lookup[r] : 0));
    }
    return cost > 0;
}

static tsr_status settle(struct planner *planner, struct plan_entry *entry, struct findings *found, tsr_error *err) {
    tsr_status st = TSR_OK;
    if (found->moment && mean_of(found->moments, entry->columns) > 0 && feeds_back(entry)) {
        entry->moment = found->moment;
        entry->moment_digest = found->digest;
        entry->damping = entry->rule->damping + (found->lookup ? lookup_damping(entry, found) : 0);
        st = shape_moments(planner, entry, found, err);
        entry->column_scale = found->scale;
    }
    if (weigh_rows(entry, found) && plan_is_free(entry)) entry->importance = mean_of(found->fisher, entry->rows);
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
    dense_setup();
    struct findings *all = mem_alloc_zero(plan->count, sizeof *all);
    tsr_status st = all ? statistics->check(statistics->ctx, plan, err) : plan_no_memory(err);
    for (uint64_t i = 0; i < plan->count && st == TSR_OK; i++) st = find_one(planner, &plan->entries[i], all, err);
    for (uint64_t i = 0; i < plan->count && st == TSR_OK; i++) {
        if (plan->entries[i].alias_of < 0) st = settle(planner, &plan->entries[i], &all[i], err);
    }
    mem_free(all);
    return st;
}
