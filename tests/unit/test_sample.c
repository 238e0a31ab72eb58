/* SPDX-License-Identifier: Apache-2.0
 *
 * Choosing tokens: each rule leaves exactly the tokens it should, what is left is drawn with its probability, and the
 * same seed gives the same tokens. */
#include "unit.h"

#include <base/alloc.h>
#include <math.h>
#include <model/sample.h>
#include <stdlib.h>
#include <string.h>

#define DRAWS 40000
#define MANY 1200

/* Probabilities .5 .3 .15 .05 at temperature 1, in an order that is not theirs. */
static const float PROBABILITIES[4] = {.3f, .05f, .5f, .15f};

/* How often each of `count` tokens is drawn. */
static void draw(const struct sampling *rules, const float *logits, uint64_t count, uint64_t draws, uint64_t *hits) {
    struct sampler sampler = {0};
    tsr_error err = {0};
    float *copy = mem_alloc_array(count, sizeof *copy);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    CU_ASSERT_EQUAL_FATAL(sampler_init(&sampler, rules, count, &err), TSR_OK);
    memset(hits, 0, count * sizeof *hits);
    for (uint64_t i = 0; i < draws; i++) {
        uint32_t token = 0;
        memcpy(copy, logits, count * sizeof *copy);
        CU_ASSERT_EQUAL_FATAL(sampler_next(&sampler, copy, &token, &err), TSR_OK);
        CU_ASSERT_FATAL(token < count);
        hits[token]++;
    }
    sampler_clear(&sampler);
    mem_free(copy);
}

/* True when the hits are what `draws` of these probabilities give, at 6 standard deviations. */
static bool fits(const uint64_t *hits, const double *expected, uint64_t count) {
    bool good = true;
    for (uint64_t i = 0; i < count; i++) {
        double mean = expected[i] * DRAWS, spread = sqrt(mean * (1 - expected[i]));
        good = good && fabs((double)hits[i] - mean) <= 6 * spread;
    }
    return good;
}

static void expect(struct sampling rules, const double *expected) {
    uint64_t hits[4];
    float logits[4];
    for (int i = 0; i < 4; i++) logits[i] = logf(PROBABILITIES[i]) + 3;
    if (rules.temperature == 0) rules.temperature = 1;
    draw(&rules, logits, 4, DRAWS, hits);
    bool good = fits(hits, expected, 4);
    if (!good)
        printf("  %llu %llu %llu %llu\n", (unsigned long long)hits[0], (unsigned long long)hits[1],
               (unsigned long long)hits[2], (unsigned long long)hits[3]);
    CU_ASSERT(good);
}

static void probabilities_are_those_of_the_softmax(void) {
    expect((struct sampling){.seed = 1}, (const double[]){.3, .05, .5, .15});
    expect((struct sampling){.seed = 2, .top_p = 1}, (const double[]){.3, .05, .5, .15});
}

static void temperature_flattens_and_sharpens(void) {
    double hot[4], cold[4], hot_sum = 0, cold_sum = 0;
    for (int i = 0; i < 4; i++) {
        hot_sum += hot[i] = sqrt((double)PROBABILITIES[i]);
        cold_sum += cold[i] = (double)PROBABILITIES[i] * (double)PROBABILITIES[i];
    }
    for (int i = 0; i < 4; i++) {
        hot[i] /= hot_sum;
        cold[i] /= cold_sum;
    }
    expect((struct sampling){.temperature = 2}, hot);
    expect((struct sampling){.temperature = .5}, cold);
}

static void top_k_leaves_the_k_most_probable(void) {
    expect((struct sampling){.top_k = 1}, (const double[]){0, 0, 1, 0});
    expect((struct sampling){.top_k = 2}, (const double[]){.375, 0, .625, 0});
    expect((struct sampling){.top_k = 3}, (const double[]){.3 / .95, 0, .5 / .95, .15 / .95});
    expect((struct sampling){.top_k = 9}, (const double[]){.3, .05, .5, .15});
}

static void top_p_leaves_the_fewest_that_reach_p(void) {
    expect((struct sampling){.top_p = .01}, (const double[]){0, 0, 1, 0});
    expect((struct sampling){.top_p = .49}, (const double[]){0, 0, 1, 0});
    expect((struct sampling){.top_p = .51}, (const double[]){.375, 0, .625, 0});
    expect((struct sampling){.top_p = .79}, (const double[]){.375, 0, .625, 0});
    expect((struct sampling){.top_p = .81}, (const double[]){.3 / .95, 0, .5 / .95, .15 / .95});
    expect((struct sampling){.top_p = .96}, (const double[]){.3, .05, .5, .15});
}

static void min_p_leaves_shares_of_the_best(void) {
    expect((struct sampling){.min_p = .05}, (const double[]){.3, .05, .5, .15});
    expect((struct sampling){.min_p = .25}, (const double[]){.3 / .95, 0, .5 / .95, .15 / .95});
    expect((struct sampling){.min_p = .35}, (const double[]){.375, 0, .625, 0});
    expect((struct sampling){.min_p = 1}, (const double[]){0, 0, 1, 0});
}

/* top-p counts what top-k left: of .5 and .3 the first alone reaches .6. */
static void rules_follow_each_other(void) {
    expect((struct sampling){.top_k = 2, .top_p = .6}, (const double[]){0, 0, 1, 0});
    expect((struct sampling){.top_k = 2, .top_p = .65}, (const double[]){.375, 0, .625, 0});
}

static void greedy_takes_the_first_of_the_largest(void) {
    const float logits[] = {1, 7, NAN, 7, -INFINITY};
    uint64_t hits[5];
    draw(&(struct sampling){0}, logits, 5, 3, hits);
    CU_ASSERT_EQUAL(hits[1], 3);
}

static void what_cannot_be_is_never_drawn(void) {
    const float logits[] = {-INFINITY, 0, NAN, -200, .5f};
    uint64_t hits[5];
    draw(&(struct sampling){.temperature = 2}, logits, 5, 2000, hits);
    CU_ASSERT(hits[0] == 0 && hits[2] == 0 && hits[3] == 0 && hits[1] > 0 && hits[4] > 0);
}

static void logits_that_are_no_numbers_are_refused(void) {
    const float bad[][2] = {{NAN, NAN}, {-INFINITY, -INFINITY}, {0, INFINITY}};
    for (int i = 0; i < 3; i++) {
        struct sampler sampler = {0};
        tsr_error err = {0};
        uint32_t token = 0;
        float logits[2] = {bad[i][0], bad[i][1]};
        CU_ASSERT_EQUAL(sampler_init(&sampler, &(struct sampling){.temperature = 1}, 2, &err), TSR_OK);
        CU_ASSERT_EQUAL(sampler_next(&sampler, logits, &token, &err), TSR_E_INPUT);
        sampler_clear(&sampler);
    }
}

/* Any k, against all tokens sorted: with many ties nothing but the k best is drawn, and every one of them is. */
static void many_candidates_are_cut_as_if_sorted(void) {
    float logits[MANY];
    uint64_t hits[MANY];
    struct rng rng = {3};
    for (int i = 0; i < MANY; i++) logits[i] = (float)rng_below(&rng, 40) * .01f;
    for (uint64_t k = 1; k < 200; k += 37) {
        uint64_t drawn = 0, wrong = 0;
        draw(&(struct sampling){.temperature = 1, .top_k = k, .seed = k}, logits, MANY, 40 * k + 400, hits);
        for (int i = 0; i < MANY; i++) {
            uint64_t better = 0;
            for (int j = 0; j < MANY; j++) better += logits[j] > logits[i] || (logits[j] == logits[i] && j < i);
            wrong += hits[i] && better >= k;
            drawn += hits[i] > 0;
        }
        CU_ASSERT_EQUAL(wrong, 0);
        CU_ASSERT_EQUAL(drawn, k);
    }
}

/* Keskar et al.: a seen token's logit is divided if positive, multiplied if negative. */
static void repetition_penalty_makes_seen_tokens_worse(void) {
    struct sampler sampler = {0};
    tsr_error err = {0};
    float logits[] = {2, 1.5f, -1, -1.5f};
    uint32_t token = 9;
    CU_ASSERT_EQUAL(sampler_init(&sampler, &(struct sampling){.repetition_penalty = 2}, 4, &err), TSR_OK);
    sampler_see(&sampler, 0);
    sampler_see(&sampler, 2);
    sampler_see(&sampler, 4); /* beyond the vocabulary */
    CU_ASSERT_EQUAL(sampler_next(&sampler, logits, &token, &err), TSR_OK);
    CU_ASSERT_EQUAL(token, 1);
    CU_ASSERT(logits[0] == 1 && logits[1] == 1.5f && logits[2] == -2 && logits[3] == -1.5f);
    sampler_forget(&sampler);
    logits[0] = 2;
    CU_ASSERT_EQUAL(sampler_next(&sampler, logits, &token, &err), TSR_OK);
    CU_ASSERT_EQUAL(token, 0);
    sampler_clear(&sampler);
}

static void sequence(uint64_t seed, uint32_t *tokens, uint64_t count) {
    struct sampler sampler = {0};
    tsr_error err = {0};
    CU_ASSERT_EQUAL(sampler_init(&sampler, &(struct sampling){.temperature = 1, .seed = seed}, 50, &err), TSR_OK);
    for (uint64_t i = 0; i < count; i++) {
        float logits[50] = {0};
        CU_ASSERT_EQUAL(sampler_next(&sampler, logits, &tokens[i], &err), TSR_OK);
    }
    sampler_clear(&sampler);
}

static void the_seed_decides(void) {
    uint32_t a[40], b[40], c[40];
    sequence(7, a, 40);
    sequence(7, b, 40);
    sequence(8, c, 40);
    CU_ASSERT(!memcmp(a, b, sizeof a));
    CU_ASSERT(memcmp(a, c, sizeof a) != 0);
}

static void rules_out_of_range_are_refused(void) {
    const struct sampling bad[] = {{.temperature = -1},
                                   {.temperature = NAN},
                                   {.temperature = INFINITY},
                                   {.top_p = 1.1},
                                   {.top_p = -.1},
                                   {.top_p = NAN},
                                   {.min_p = 2},
                                   {.repetition_penalty = -.5},
                                   {.repetition_penalty = INFINITY}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct sampler sampler = {0};
        tsr_error err = {0};
        CU_ASSERT_EQUAL(sampler_init(&sampler, &bad[i], 4, &err), TSR_E_CONFIG);
        sampler_clear(&sampler);
    }
}

static const struct unit_test TESTS[] = {
    {"probabilities_are_those_of_the_softmax", probabilities_are_those_of_the_softmax},
    {"temperature_flattens_and_sharpens", temperature_flattens_and_sharpens},
    {"top_k_leaves_the_k_most_probable", top_k_leaves_the_k_most_probable},
    {"top_p_leaves_the_fewest_that_reach_p", top_p_leaves_the_fewest_that_reach_p},
    {"min_p_leaves_shares_of_the_best", min_p_leaves_shares_of_the_best},
    {"rules_follow_each_other", rules_follow_each_other},
    {"greedy_takes_the_first_of_the_largest", greedy_takes_the_first_of_the_largest},
    {"what_cannot_be_is_never_drawn", what_cannot_be_is_never_drawn},
    {"logits_that_are_no_numbers_are_refused", logits_that_are_no_numbers_are_refused},
    {"many_candidates_are_cut_as_if_sorted", many_candidates_are_cut_as_if_sorted},
    {"repetition_penalty_makes_seen_tokens_worse", repetition_penalty_makes_seen_tokens_worse},
    {"the_seed_decides", the_seed_decides},
    {"rules_out_of_range_are_refused", rules_out_of_range_are_refused},
};

UNIT_MAIN(TESTS)
