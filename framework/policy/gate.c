/* SPDX-License-Identifier: Apache-2.0
 *
 * From groups of observations to verdicts. */
#include "gate.h"

#include <math.h>
#include <stdbool.h>

const char *verdict_name(enum verdict verdict) {
    static const char *const names[] = {"PASS", "FAIL", "FAIL-UNDECIDED", "NOT_RUN"};
    return names[verdict];
}

enum verdict verdict_worse(enum verdict a, enum verdict b) {
    static const int rank[] = {[VERDICT_PASS] = 0, [VERDICT_NOT_RUN] = 1, [VERDICT_UNDECIDED] = 2, [VERDICT_FAIL] = 3};
    return rank[a] >= rank[b] ? a : b;
}

/* Too few groups to know how positions hang together. */
static bool too_few(const struct group_estimate *estimate, struct judgement *judgement) {
    if (estimate->groups >= GATE_GROUPS_MIN) return false;
    judgement->verdict = VERDICT_UNDECIDED;
    judgement->needed = estimate->groups > 0 ? ceil(estimate->total * GATE_GROUPS_MIN / estimate->groups) : INFINITY;
    return true;
}

struct judgement judge_proportion(const struct group *groups, uint64_t count, double threshold, double confidence) {
    struct group_estimate estimate = group_mean(groups, count);
    double effect = group_design_effect(&estimate);
    struct judgement judgement = {.estimate = estimate.mean, .threshold = threshold, .effective = estimate.total / effect};
    judgement.bound = wilson_lower(estimate.mean * judgement.effective, judgement.effective, confidence);
    if (too_few(&estimate, &judgement)) return judgement;
    if (estimate.total > 0 && judgement.bound >= threshold) return judgement;
    judgement.verdict = estimate.total > 0 && estimate.mean <= threshold ? VERDICT_FAIL : VERDICT_UNDECIDED;
    judgement.needed = wilson_needed(estimate.mean, threshold, confidence) * effect;
    return judgement;
}

struct judgement judge_mean(const struct group *groups, uint64_t count, double threshold, double confidence) {
    struct group_estimate estimate = group_mean(groups, count);
    struct judgement judgement = {.estimate = estimate.mean, .threshold = threshold, .effective = estimate.total};
    judgement.bound = group_upper(&estimate, confidence);
    if (too_few(&estimate, &judgement)) return judgement;
    if (estimate.total > 0 && judgement.bound <= threshold) return judgement;
    if (estimate.total > 0 && estimate.mean >= threshold) {
        judgement.verdict = VERDICT_FAIL;
        judgement.needed = INFINITY;
        return judgement;
    }
    double reach = (judgement.bound - estimate.mean) / (threshold - estimate.mean);
    judgement.verdict = VERDICT_UNDECIDED;
    judgement.needed = isfinite(reach) ? ceil(estimate.total * reach * reach) : INFINITY;
    return judgement;
}
