/* SPDX-License-Identifier: Apache-2.0
 *
 * What the steps of planning share. Private to plan*.c. The steps, in order: roles, duplicates (plan_alias.c), rules
 * (plan_rule.c), indexes (plan_index.c), statistics (plan_statistics.c), groups (plan_group.c), the budget
 * (plan_solve.c), trials (plan_trial.c), verdicts (plan_verdict.c). */
#ifndef POLICY_PLAN_PARTS_H
#define POLICY_PLAN_PARTS_H

#include "metric.h"
#include "plan.h"

/* Outcome of encoding a sample of one tensor with one codec. */
struct trial {
    bool ran;
    bool whole;          /* the sample was the tensor */
    bool all_raw;        /* no tile shrank */
    uint64_t tile_bytes; /* extrapolated */
    uint64_t bytes;      /* the payload's, with all that it has beside tiles */
    struct metric metric; /* of the sample; lossy codecs only */
    uint64_t base_bytes; /* of all stages but the last, where that one is a lossy correction; else 0 */
    struct metric base;  /* what they reach */
    double bound_error;  /* smallest D at the rate of `bytes`, an estimate; lossy codecs only */
    double floor_error;  /* below this D no code gets at the rate that was asked for; 0 when none was asked for */
};

/* What planning knows of an entry beside the entry itself. */
struct plan_facts {
    uint64_t owner;                      /* first entry with the same bytes; itself when it is the first */
    uint64_t governor;                   /* entry of the same bytes with the strictest regime: its rule counts */
    const struct config_rule *own_rule;  /* the first that matches this tensor */
    uint64_t weights;
    struct plan_probe probe;
    struct trial lossless; /* of an exact codec: the rule's, or passthrough to compare with */
    struct trial lossy;    /* of the rule's stack, when its first codec is lossy */
    char *refusal;         /* why the rule's codec does not want this tensor, or NULL; mem_free */
};

struct solver;

/* Which entries plan_run_trials takes. */
enum plan_trials { TRIALS_OF_ALL, TRIALS_OF_REST /* without the budget's own */ };

struct planner {
    const struct checkpoint *checkpoint;
    const struct config *config;
    const struct registry *registry;
    const struct plan_options *options;
    const struct env *env;
    struct plan *plan;
    struct plan_facts *facts; /* [plan->count] */
    const tsr_codec *passthrough;
    const struct registry_plugin *passthrough_plugin;
    struct param_set passthrough_params;
    struct solver *solver;
    enum plan_trials trials;
};

/* Digests of all tensors, and which of them are equal. */
tsr_status plan_find_aliases(struct planner *planner, tsr_error *err);
/* Rules, codecs and parameters; every rule must take a tensor. */
tsr_status plan_apply_rules(struct planner *planner, tsr_error *err);
/* Weights of columns from the statistics, if there are any (plan_statistics.c). */
tsr_status plan_find_statistics(struct planner *planner, tsr_error *err);
/* Trial encodings that the options or the rules call for, of entries that have none yet. */
tsr_status plan_run_trials(struct planner *planner, tsr_error *err);
/* Advice on what was decided (plan_check.c). */
tsr_status plan_check(struct planner *planner, tsr_error *err);
/* Fallbacks, requests, predictions. */
tsr_status plan_decide(struct planner *planner, tsr_error *err);

/* Bytes that the rule of this entry allows its payload; infinite when it does not say. */
double plan_allowed_bytes(const struct planner *planner, uint64_t index);
/* Largest D that the rule allows; infinite when it does not say. */
double plan_allowed_error(const struct plan_entry *entry);

static inline bool plan_is_lossy(const tsr_codec *codec) {
    return !(codec->flags & TSR_CODEC_EXACT);
}

/* Indexes that the rules ask for (plan_index.c). */
tsr_status plan_apply_indexes(struct planner *planner, tsr_error *err);
/* Groups of the entries whose rule names one, and their dictionaries, trained or found (plan_group.c). */
tsr_status plan_make_groups(struct planner *planner, tsr_error *err);
/* Groups whose members gave them up, or whose dictionary costs more than it saves, are dissolved. */
tsr_status plan_settle_groups(struct planner *planner, tsr_error *err);
/* What the entry stores becomes passthrough. `note` says why, in arena memory. */
void plan_fall_back(const struct planner *planner, struct plan_entry *entry, const char *note);

tsr_status plan_no_memory(tsr_error *err);

#endif
