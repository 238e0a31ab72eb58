/* SPDX-License-Identifier: Apache-2.0
 *
 * Bounds against published values, and their coverage on simulated texts with correlated positions. */
#include "unit.h"

#include <base/rng.h>
#include <math.h>
#include <policy/gate.h>

static void quantiles_equal_published_values(void) {
    CU_ASSERT_DOUBLE_EQUAL(normal_quantile(0.95), 1.6448536, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(normal_quantile(0.975), 1.9599640, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(normal_quantile(0.001), -3.0902323, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(student_quantile(0.975, 1), 12.70620, 1e-3);
    CU_ASSERT_DOUBLE_EQUAL(student_quantile(0.975, 2), 4.302653, 1e-4);
    CU_ASSERT_DOUBLE_EQUAL(student_quantile(0.975, 5), 2.570582, 1e-4);
    CU_ASSERT_DOUBLE_EQUAL(student_quantile(0.95, 30), 1.697261, 1e-4);
}

/* 225 of 225 certifies 98.8 % and no more (docs/gates.md). */
static void all_successes_certify_no_more_than_they_can(void) {
    double bound = wilson_lower(225, 225, 0.95);
    CU_ASSERT_TRUE(bound > 0.987 && bound < 0.989);
    CU_ASSERT_TRUE(wilson_lower(3000, 3000, 0.95) > 0.999);
    CU_ASSERT_TRUE(wilson_lower(2000, 2000, 0.95) < 0.999);
    CU_ASSERT_EQUAL(wilson_lower(0, 0, 0.95), 0);
}

static void needed_trials_reach_the_threshold(void) {
    double needed = wilson_needed(0.98, 0.97, 0.95);
    CU_ASSERT_TRUE(wilson_lower(0.98 * needed, needed, 0.95) >= 0.97);
    CU_ASSERT_TRUE(wilson_lower(0.98 * (needed - 2), needed - 2, 0.95) < 0.97);
    CU_ASSERT_TRUE(isinf(wilson_needed(0.96, 0.97, 0.95)));
}

/* Texts differ: group k agrees with probability p_k around 0.97. Passing a threshold equal to the truth must be rare. */
static double false_accepts(double threshold, unsigned runs) {
    struct rng rng = {42};
    unsigned accepted = 0;
    for (unsigned run = 0; run < runs; run++) {
        struct group groups[60];
        for (int k = 0; k < 60; k++) {
            double p = 0.97 + 0.05 * (rng_real(&rng) - 0.5);
            groups[k] = (struct group){0, 256};
            for (int i = 0; i < 256; i++) groups[k].sum += rng_real(&rng) < p;
        }
        accepted += judge_proportion(groups, 60, threshold, 0.95).verdict == VERDICT_PASS;
    }
    return (double)accepted / runs;
}

static void a_codec_at_the_threshold_is_rarely_accepted(void) {
    CU_ASSERT_TRUE(false_accepts(0.97, 1000) < 0.07);
    CU_ASSERT_TRUE(false_accepts(0.96, 200) > 0.9);
    CU_ASSERT_TRUE(false_accepts(0.98, 200) == 0);
}

static void a_mean_passes_by_its_bound(void) {
    struct group groups[40];
    struct rng rng = {7};
    for (int k = 0; k < 40; k++) groups[k] = (struct group){100 * (0.010 + 0.004 * (rng_real(&rng) - 0.5)), 100};
    CU_ASSERT_EQUAL(judge_mean(groups, 40, 0.02, 0.95).verdict, VERDICT_PASS);
    CU_ASSERT_EQUAL(judge_mean(groups, 40, 0.005, 0.95).verdict, VERDICT_FAIL);
    struct judgement close = judge_mean(groups, 3, group_mean(groups, 3).mean * 1.01, 0.95);
    CU_ASSERT_EQUAL(close.verdict, VERDICT_UNDECIDED);
    CU_ASSERT_TRUE(close.needed > 300);
}

static void one_group_or_none_decides_nothing(void) {
    struct group one = {0, 1000};
    CU_ASSERT_EQUAL(judge_mean(&one, 1, 0.5, 0.95).verdict, VERDICT_UNDECIDED);
    CU_ASSERT_EQUAL(judge_mean(NULL, 0, 0.5, 0.95).verdict, VERDICT_UNDECIDED);
    CU_ASSERT_EQUAL(judge_proportion(NULL, 0, 0.5, 0.95).verdict, VERDICT_UNDECIDED);
}

static const struct unit_test TESTS[] = {
    {"quantiles_equal_published_values", quantiles_equal_published_values},
    {"all_successes_certify_no_more_than_they_can", all_successes_certify_no_more_than_they_can},
    {"needed_trials_reach_the_threshold", needed_trials_reach_the_threshold},
    {"a_codec_at_the_threshold_is_rarely_accepted", a_codec_at_the_threshold_is_rarely_accepted},
    {"a_mean_passes_by_its_bound", a_mean_passes_by_its_bound},
    {"one_group_or_none_decides_nothing", one_group_or_none_decides_nothing},
};
UNIT_MAIN(TESTS)
