/* SPDX-License-Identifier: Apache-2.0
 *
 * From trials to the plan: what falls back, what is refused, what is predicted. A request is refused as impossible only
 * when it lies beyond every bound by a margin, and never when lossless coding already meets it. */
#include <math.h>

#include <base/checked.h>

#include "bound.h"
#include "plan_parts.h"

#define BOUND_MARGIN 0.79432823472428 /* 1 dB below the bound */
#define BYTES_TOLERANCE 1.005         /* a prediction is not held against a rule more exactly than it is known */
#define ROW_TOLERANCE 1.01

double plan_allowed_bytes(const struct planner *planner, uint64_t index) {
    const struct plan_entry *entry = &planner->plan->entries[index];
    const struct config_request *request = entry->rule ? &entry->rule->request : NULL;
    double bytes = INFINITY;
    if (request && request->max_bits > 0) bytes = request->max_bits * (double)planner->facts[index].weights / 8;
    if (request && request->min_ratio > 0) {
        bytes = fmin(bytes, (double)entry->source->entry->bytes / request->min_ratio);
    }
    return bytes;
}

double plan_allowed_error(const struct plan_entry *entry) {
    const struct config_request *request = entry->rule ? &entry->rule->request : NULL;
    double error = INFINITY;
    if (request && request->max_error > 0) error = request->max_error;
    if (request && request->min_cos > 0) error = fmin(error, 1 - request->min_cos * request->min_cos);
    return error;
}

struct verdict {
    struct planner *planner;
    struct plan_entry *entry;
    const struct plan_facts *facts;
    double allowed_bytes; /* infinite: any */
    double allowed_error;
};

static bool fits(const struct verdict *verdict, uint64_t bytes) {
    return (double)bytes <= verdict->allowed_bytes * BYTES_TOLERANCE;
}

static double bits_of(const struct verdict *verdict, double bytes) {
    return bytes * 8 / (double)max_u64(verdict->facts->weights, 1);
}

/* The rule's words for what it asks of the tensor. */
static tsr_status refuse_impossible(const struct verdict *verdict, tsr_error *err) {
    const struct plan_entry *entry = verdict->entry;
    double ratio = (double)entry->source->entry->bytes / verdict->allowed_bytes;
    return config_rule_fail(err, verdict->planner->config, entry->rule,
                            "tensor \"%s\": cosine %.3g at %.3g bits a weight (%.4g:1) is beyond the information bound: "
                            "at most about cosine %.3f there",
                            entry->source->name, sqrt(fmax(1 - verdict->allowed_error, 0)),
                            bits_of(verdict, verdict->allowed_bytes), ratio,
                            sqrt(fmax(1 - verdict->facts->lossy.floor_error, 0)));
}

static bool is_impossible(const struct verdict *verdict) {
    const struct plan_facts *facts = verdict->facts;
    return isfinite(verdict->allowed_bytes) && isfinite(verdict->allowed_error) &&
           !fits(verdict, facts->lossless.bytes) &&
           verdict->allowed_error < facts->lossy.floor_error * BOUND_MARGIN;
}

void plan_fall_back(const struct planner *planner, struct plan_entry *entry, const char *note) {
    entry->codec = planner->passthrough;
    entry->plugin = planner->passthrough_plugin;
    entry->params = planner->passthrough_params;
    entry->more_count = 0;
    entry->group = -1;
    entry->row_error_max = 0;
    entry->note = note;
}

static bool is_above_row_bound(const struct plan_entry *entry, const struct trial *lossy) {
    return entry->row_error_max > 0 && lossy->metric.worst_row_error > entry->row_error_max * ROW_TOLERANCE;
}

/* The cosine that is asked for is compared as such: a codec need not shrink like an optimal one. */
static bool meets_quality(const struct plan_entry *entry, const struct trial *lossy) {
    const struct config_request *request = entry->rule ? &entry->rule->request : NULL;
    if (!request) return true;
    if (request->min_cos > 0 && metric_cosine(&lossy->metric) < request->min_cos) return false;
    return request->max_error <= 0 || metric_relative_error(&lossy->metric) <= request->max_error;
}

static tsr_status fail_quality(const struct verdict *verdict, tsr_error *err) {
    const struct metric *metric = &verdict->facts->lossy.metric;
    return config_rule_fail(err, verdict->planner->config, verdict->entry->rule,
                            "tensor \"%s\": codec %s is predicted to reach cosine %.4f (relative error D %.3g) at %.3g "
                            "bits a weight, less than the rule asks",
                            verdict->entry->source->name, verdict->entry->codec->name, metric_cosine(metric),
                            metric_relative_error(metric), bits_of(verdict, (double)verdict->facts->lossy.bytes));
}

static tsr_status fail_row_bound(const struct verdict *verdict, tsr_error *err) {
    const struct plan_entry *entry = verdict->entry;
    return config_rule_fail(err, verdict->planner->config, entry->rule,
                            "tensor \"%s\": codec %s leaves a row of the index regime with relative error %.3g, "
                            "row_error_max is %.3g",
                            entry->source->name, entry->codec->name, verdict->facts->lossy.metric.worst_row_error,
                            entry->row_error_max);
}

static tsr_status fail_bytes(const struct verdict *verdict, uint64_t bytes, tsr_error *err) {
    const struct plan_entry *entry = verdict->entry;
    return config_rule_fail(err, verdict->planner->config, entry->rule,
                            "tensor \"%s\": codec %s is predicted to need %.4g bits a weight, the rule allows %.4g",
                            entry->source->name, entry->codec->name, bits_of(verdict, (double)bytes),
                            bits_of(verdict, verdict->allowed_bytes));
}

static void note_fallback(const struct verdict *verdict, const char *why, const char **note) {
    *note = arena_format(&verdict->planner->plan->arena, "falls back to passthrough: %s %s",
                         verdict->entry->codec->name, why);
}

/* A lossy correction at the end of a stack stays if its bytes would not buy more in the codec before it: there, an
 * ideal one, a bit a weight buys 6.02 dB. TSR_OK with the stage dropped from entry and trial where they would. */
static tsr_status weigh_correction(const struct verdict *verdict, struct trial *lossy, tsr_error *err) {
    struct plan_entry *entry = verdict->entry;
    if (!lossy->base_bytes || lossy->bytes <= lossy->base_bytes) return TSR_OK;
    double bits = bits_of(verdict, (double)(lossy->bytes - lossy->base_bytes));
    double base = metric_relative_error(&lossy->base), corrected = metric_relative_error(&lossy->metric);
    double bought = base * exp2(-2 * bits);
    if (corrected <= bought) return TSR_OK;
    entry->note = arena_format(&verdict->planner->plan->arena,
                               "without %s: its %.3g bits a weight bring D from %.3g to %.3g, in %s they bring it to %.3g",
                               plan_stage_at(entry, entry->more_count).codec->name, bits, base, corrected,
                               entry->codec->name, bought);
    if (!entry->note) return plan_no_memory(err);
    entry->more_count--;
    lossy->bytes = lossy->base_bytes;
    lossy->metric = lossy->base;
    return TSR_OK;
}

/* Whether the lossy codec stays, and why not. */
static tsr_status judge_lossy(const struct verdict *verdict, tsr_error *err) {
    const struct trial *lossy = &verdict->facts->lossy, *lossless = &verdict->facts->lossless;
    const struct plan_entry *entry = verdict->entry;
    const char *note = NULL;
    bool exact_would_do = fits(verdict, lossless->bytes);
    if (plan_entry_is_exact(entry)) {
        return TSR_OK; /* whoever stacks to the source bytes wants the levels, not the fewest bytes */
    } else if (lossy->all_raw || lossy->bytes >= lossless->bytes) {
        note_fallback(verdict, "is not smaller than lossless", &note);
    } else if (is_impossible(verdict)) {
        return refuse_impossible(verdict, err);
    } else if (!meets_quality(entry, lossy)) {
        if (!exact_would_do || isinf(verdict->allowed_bytes)) return fail_quality(verdict, err);
        note_fallback(verdict, "misses the quality that lossless reaches within the rate", &note);
    } else if (is_above_row_bound(entry, lossy)) {
        return fail_row_bound(verdict, err);
    } else {
        return TSR_OK;
    }
    if (!note) return plan_no_memory(err);
    plan_fall_back(verdict->planner, verdict->entry, note);
    return TSR_OK;
}

static tsr_status obey_refusal(const struct verdict *verdict, tsr_error *err) {
    const char *note = arena_format(&verdict->planner->plan->arena, "falls back to passthrough: %s",
                                    verdict->facts->refusal);
    if (!note) return plan_no_memory(err);
    plan_fall_back(verdict->planner, verdict->entry, note);
    return TSR_OK;
}

static tsr_status decide_entry(struct verdict *verdict, tsr_error *err) {
    struct plan_entry *entry = verdict->entry;
    const struct plan_facts *facts = verdict->facts;
    tsr_status st = facts->lossy.ran ? weigh_correction(verdict, &verdict->planner->facts[entry - verdict->planner->plan->entries].lossy, err)
                                     : TSR_OK;
    if (!st && facts->lossy.ran) st = judge_lossy(verdict, err);
    if (!st && facts->refusal) st = obey_refusal(verdict, err);
    if (st) return st;
    const struct trial *trial = plan_is_lossy(entry->codec) ? &facts->lossy : &facts->lossless;
    bool exact = plan_entry_is_exact(entry);
    if (!trial->ran) return TSR_OK;
    if (!fits(verdict, trial->bytes)) return fail_bytes(verdict, trial->bytes, err);
    entry->predicted_cosine = exact ? 1 : metric_cosine(&trial->metric);
    if (!verdict->planner->options->predict) return TSR_OK;
    entry->predicted_bytes = trial->bytes + entry->index_bytes;
    entry->predicted_error = exact ? 0 : metric_relative_error(&trial->metric);
    entry->bound_error = exact ? 0 : trial->bound_error;
    entry->trial_is_whole = trial->whole;
    entry->probe = facts->probe;
    return TSR_OK;
}

/* Duplicates have what their storage has, and cost nothing. */
static void copy_to_aliases(struct plan *plan) {
    for (uint64_t i = 0; i < plan->count; i++) {
        struct plan_entry *entry = &plan->entries[i];
        if (entry->alias_of < 0) continue;
        const struct plan_entry *owner = &plan->entries[entry->alias_of];
        entry->codec = owner->codec;
        entry->plugin = owner->plugin;
        entry->params = owner->params;
        entry->more = owner->more;
        entry->more_count = owner->more_count;
        entry->group = owner->group;
        entry->row_error_max = owner->row_error_max;
        entry->note = owner->note;
    }
}

tsr_status plan_decide(struct planner *planner, tsr_error *err) {
    struct plan *plan = planner->plan;
    for (uint64_t i = 0; i < plan->count; i++) {
        struct verdict verdict = {.planner = planner,
                                  .entry = &plan->entries[i],
                                  .facts = &planner->facts[i],
                                  .allowed_bytes = plan_allowed_bytes(planner, i),
                                  .allowed_error = plan_allowed_error(&plan->entries[i])};
        tsr_status st = decide_entry(&verdict, err);
        if (st) return st;
    }
    tsr_status st = plan_settle_groups(planner, err);
    for (uint64_t i = 0; i < plan->count; i++) plan->predicted_bytes += plan->entries[i].predicted_bytes;
    for (uint64_t g = 0; g < plan->group_count; g++) {
        if (planner->options->predict) plan->predicted_bytes += plan->groups[g].bytes;
    }
    copy_to_aliases(plan);
    return st;
}
