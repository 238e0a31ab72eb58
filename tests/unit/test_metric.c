/* SPDX-License-Identifier: Apache-2.0
 *
 * Error figures: by hand on small rows, and their special cases. */
#include "unit.h"

#include <math.h>
#include <policy/metric.h>

static void sums_match_a_hand_computation(void) {
    const float source[2][2] = {{3, 4}, {0, 2}}, decoded[2][2] = {{3, 3}, {0, 2.5f}};
    struct metric metric = {0};
    metric_add_row(&metric, 10, source[0], decoded[0], 2);
    metric_add_row(&metric, 11, source[1], decoded[1], 2);
    CU_ASSERT_EQUAL(metric.source_energy, 29);
    CU_ASSERT_EQUAL(metric.error_energy, 1.25);
    CU_ASSERT_EQUAL(metric.dot, 26);
    CU_ASSERT_EQUAL(metric.decoded_energy, 24.25);
    CU_ASSERT_EQUAL(metric.max_abs_error, 1);
    CU_ASSERT_EQUAL(metric.worst_row, 11);
    CU_ASSERT_DOUBLE_EQUAL(metric.worst_row_error, 0.25, 1e-15);
    CU_ASSERT_EQUAL(metric.rows, 2);
    CU_ASSERT_EQUAL(metric.weights, 4);
    CU_ASSERT_DOUBLE_EQUAL(metric_relative_error(&metric), 1.25 / 29, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(metric_cosine(&metric), 26 / sqrt(29 * 24.25), 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(metric_sqnr_db(&metric), 10 * log10(29 / 1.25), 1e-12);
}

static void exact_copies_have_no_error(void) {
    const float row[3] = {1e30f, -1e-30f, 0.1f};
    struct metric metric = {0};
    metric_add_row(&metric, 0, row, row, 3);
    CU_ASSERT_EQUAL(metric_relative_error(&metric), 0);
    CU_ASSERT_EQUAL(metric_cosine(&metric), 1);
    CU_ASSERT_TRUE(isinf(metric_sqnr_db(&metric)));
    CU_ASSERT_EQUAL(metric.worst_row_error, 0);
}

static void zero_tensors_are_special(void) {
    const float zero[2] = {0, 0}, one[2] = {0, 1};
    struct metric both = {0}, invented = {0}, lost = {0}, none = {0};
    metric_add_row(&both, 0, zero, zero, 2);
    CU_ASSERT_EQUAL(metric_relative_error(&both), 0);
    CU_ASSERT_EQUAL(metric_cosine(&both), 1);
    metric_add_row(&invented, 7, zero, one, 2);
    CU_ASSERT_TRUE(isinf(metric_relative_error(&invented)));
    CU_ASSERT_TRUE(isinf(invented.worst_row_error));
    CU_ASSERT_EQUAL(invented.worst_row, 7);
    CU_ASSERT_EQUAL(metric_cosine(&invented), 0);
    metric_add_row(&lost, 0, one, zero, 2);
    CU_ASSERT_EQUAL(metric_relative_error(&lost), 1);
    CU_ASSERT_EQUAL(metric_cosine(&none), 1);
}

static void numbers_that_are_not_finite_count_only_where_they_differ(void) {
    const float source[4] = {NAN, INFINITY, 1, 2}, same[4] = {NAN, INFINITY, 1, 2}, other[4] = {0, INFINITY, 1, NAN};
    struct metric metric = {0};
    metric_add_row(&metric, 0, source, same, 4);
    CU_ASSERT_EQUAL(metric.not_finite, 0);
    CU_ASSERT_EQUAL(metric_relative_error(&metric), 0);
    metric_add_row(&metric, 1, source, other, 4);
    CU_ASSERT_EQUAL(metric.not_finite, 2);
    CU_ASSERT_EQUAL(metric.worst_row, 1);
    CU_ASSERT_TRUE(isinf(metric.worst_row_error));
}

static const struct unit_test TESTS[] = {
    {"sums_match_a_hand_computation", sums_match_a_hand_computation},
    {"exact_copies_have_no_error", exact_copies_have_no_error},
    {"zero_tensors_are_special", zero_tensors_are_special},
    {"numbers_that_are_not_finite_count_only_where_they_differ",
     numbers_that_are_not_finite_count_only_where_they_differ},
};
UNIT_MAIN(TESTS)
