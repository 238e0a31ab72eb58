/* SPDX-License-Identifier: Apache-2.0
 *
 * What a gate may say, and how a figure becomes a verdict. A threshold is passed by the confidence bound, never by the
 * estimate; NOT_RUN is never PASS. */
#ifndef POLICY_GATE_H
#define POLICY_GATE_H

#include "interval.h"

enum verdict {
    VERDICT_PASS,
    VERDICT_FAIL,
    VERDICT_UNDECIDED, /* the estimate passes, the bound does not: more positions are needed */
    VERDICT_NOT_RUN
};

/* "PASS", "FAIL", "FAIL-UNDECIDED", "NOT_RUN". */
const char *verdict_name(enum verdict verdict);
/* The worse of two: FAIL before UNDECIDED before NOT_RUN before PASS. */
enum verdict verdict_worse(enum verdict a, enum verdict b);

/* One figure against its threshold. */
struct judgement {
    enum verdict verdict;
    double estimate;
    double bound;     /* lower bound of a proportion, upper bound of a mean */
    double threshold;
    double needed;    /* observations that would decide it; 0 when decided, infinite when none would */
    double effective; /* observations after the design effect */
};

/* With fewer groups their spread says nothing: UNDECIDED, whatever the figures. */
#define GATE_GROUPS_MIN 8

/* Proportion of groups' observations that must be at least `threshold`. */
struct judgement judge_proportion(const struct group *groups, uint64_t count, double threshold, double confidence);
/* Mean that must be at most `threshold`. */
struct judgement judge_mean(const struct group *groups, uint64_t count, double threshold, double confidence);

#endif
