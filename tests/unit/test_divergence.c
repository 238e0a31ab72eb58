/* SPDX-License-Identifier: Apache-2.0
 *
 * Two rows of logits: the same bits from every form, close to sums in double, exactly 0 for equal rows, infinite where
 * anything is no number. */
#include "unit.h"

#include <base/rng.h>
#include <math.h>
#include <numeric/divergence.h>
#include <stdbool.h>
#include <string.h>

enum { MAX = 5000 };
static float P[MAX], Q[MAX];

static void fill(uint64_t count, float spread, float noise) {
    struct rng rng = {count};
    for (uint64_t i = 0; i < count; i++) {
        P[i] = (float)(rng_real(&rng) * 2 - 1) * spread;
        Q[i] = P[i] + (float)(rng_real(&rng) * 2 - 1) * noise;
    }
}

/* By all forms this processor has; they must agree. */
static struct divergence measure(uint64_t count) {
    struct divergence want, got;
    divergence_scalar(P, Q, count, &want);
    divergence_loop forms[2] = {divergence_of, divergence_of};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) forms[0] = divergence_avx2;
#endif
    for (int f = 0; f < 2; f++) {
        forms[f](P, Q, count, &got);
        CU_ASSERT(!memcmp(&want.kld, &got.kld, sizeof got.kld) && !memcmp(&want.p_norm, &got.p_norm, sizeof got.p_norm));
        CU_ASSERT(want.p_best == got.p_best && want.q_best == got.q_best && !memcmp(&want.margin, &got.margin, sizeof got.margin));
    }
    return want;
}

static void check_against_double(uint64_t count, float spread, float noise) {
    double p_sum = 0, q_sum = 0, kld = 0;
    fill(count, spread, noise);
    struct divergence got = measure(count);
    for (uint64_t i = 0; i < count; i++) {
        p_sum += exp((double)P[i]);
        q_sum += exp((double)Q[i]);
    }
    for (uint64_t i = 0; i < count; i++) {
        double d = ((double)P[i] - (double)Q[i]) - (log(p_sum) - log(q_sum));
        kld += exp((double)P[i]) / p_sum * (expm1(-d) + d);
    }
    CU_ASSERT_DOUBLE_EQUAL(got.p_norm, log(p_sum), 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(got.q_norm, log(q_sum), 1e-6);
    CU_ASSERT(fabs(got.kld - kld) <= 1e-4 * kld + 1e-14);
}

static void every_form_agrees_with_sums_in_double(void) {
    static const uint64_t counts[] = {1, 2, 15, 16, 17, 40, 255, 256, 257, 300, 4999};
    static const float spreads[] = {1, 20}, noises[] = {1e-5f, 1e-2f, 1, 30};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (int s = 0; s < 2; s++) {
            for (int n = 0; n < 4; n++) check_against_double(counts[c], spreads[s], noises[n]);
        }
    }
}

static void equal_rows_are_exactly_zero_apart(void) {
    fill(3001, 12, 0);
    CU_ASSERT_EQUAL(measure(3001).kld, 0);
    P[7] = P[2900] = Q[7] = Q[2900] = 50;
    struct divergence tie = measure(3001);
    CU_ASSERT_EQUAL(tie.p_best, 7);
    CU_ASSERT_EQUAL(tie.margin, 0);
}

static void what_is_no_number_is_infinitely_far(void) {
    static const uint64_t places[] = {0, 5, 200, 998};
    const float bad[] = {NAN, INFINITY};
    for (int b = 0; b < 2; b++) {
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            fill(999, 5, 0.1f);
            Q[places[i]] = bad[b];
            CU_ASSERT_EQUAL(measure(999).kld, INFINITY);
            fill(999, 5, 0.1f);
            P[places[i]] = bad[b];
            CU_ASSERT_EQUAL(measure(999).kld, INFINITY);
        }
    }
}

static const struct unit_test TESTS[] = {
    {"every_form_agrees_with_sums_in_double", every_form_agrees_with_sums_in_double},
    {"equal_rows_are_exactly_zero_apart", equal_rows_are_exactly_zero_apart},
    {"what_is_no_number_is_infinitely_far", what_is_no_number_is_infinitely_far},
};
UNIT_MAIN(TESTS)
