/* SPDX-License-Identifier: Apache-2.0
 *
 * The budget solver and the law it divides by: totals are kept, importance draws bits, more budget never makes anything worse,
 * and the same comes out of any number of workers and of what a receipt records. */
#define _GNU_SOURCE
#include "pipeline_world.h"

#include <math.h>
#include <policy/plan.h>
#include <policy/quantiser.h>

#define ROWS 256
#define COLUMNS 512
#define MATRICES 4

static const struct gen_tensor MODEL[] = {
    {"layers.0.up", "BF16", 2, {ROWS, COLUMNS}, 1},
    {"layers.1.up", "BF16", 2, {ROWS, COLUMNS}, 2},
    {"layers.2.up", "BF16", 2, {ROWS, COLUMNS}, 3},
    {"head", "BF16", 2, {ROWS, COLUMNS}, 4},
    {"norm", "F32", 1, {64}, 5},
};

#define HEAD "tessera: 1\nrules:\n"
#define FREE "  - {regime: argmax, codec: scalar, params: {bits: auto}}\n"
#define REST "  - {codec: passthrough, optional: true}\n"

/* ---- statistics that tests make up ---- */

/* Importance of a tensor: 4^digit of its name, rows scattered; the head's is that of layer 1. */
static tsr_status give_fisher(void *ctx, const char *name, uint64_t rows, float *fisher, bool *found, tsr_error *err) {
    const double *base = ctx;
    (void)err;
    *found = strstr(name, "up") || strstr(name, "head");
    double value = *base * (strstr(name, "layers.0") ? 1 : strstr(name, "layers.2") ? 16 : 4);
    for (uint64_t r = 0; r < rows; r++) fisher[r] = (float)(value * exp2(-1 + 2 * (double)(r * 37 % ROWS) / ROWS));
    return TSR_OK;
}

static tsr_status give_nothing(void *ctx, const char *name, uint64_t count, float *values, bool *found, tsr_error *err) {
    (void)ctx, (void)name, (void)count, (void)values, (void)err;
    *found = false;
    return TSR_OK;
}

static tsr_status give_moments(void *ctx, const char *name, uint64_t columns, float *moments, bool *found, tsr_error *err) {
    (void)ctx, (void)name, (void)err;
    for (uint64_t c = 0; c < columns; c++) moments[c] = 1;
    *found = true;
    return TSR_OK;
}

static tsr_status no_digest(void *ctx, const char *name, uint64_t columns, struct digest *digest, bool *found,
                            tsr_error *err) {
    (void)ctx, (void)name, (void)columns, (void)digest, (void)err;
    *found = false;
    return TSR_OK;
}

static tsr_status fits_all(void *ctx, const struct plan *plan, tsr_error *err) {
    (void)ctx, (void)plan, (void)err;
    return TSR_OK;
}

static double one = 1;
static const struct plan_statistics STATISTICS = {.ctx = &one,
                                                  .check = fits_all,
                                                  .moments = give_moments,
                                                  .fisher = give_fisher,
                                                  .lookup = give_nothing,
                                                  .moment_digest = no_digest};

/* ---- one plan ---- */

struct planned {
    struct checkpoint checkpoint;
    struct config config;
    struct plan plan;
};

static tsr_status make(struct world *world, const char *config, const struct plan_statistics *statistics,
                       const struct plan_allocation *allocation, struct planned *planned, tsr_error *err) {
    struct plan_options options = {.role_folders = world->role_folders, .role_folder_count = 1, .statistics = statistics};
    *planned = (struct planned){0};
    if (allocation) options.allocation = *allocation;
    gen_file(in_world(world, "model/model.safetensors"), MODEL, sizeof MODEL / sizeof MODEL[0]);
    gen_config(world, "model");
    CU_ASSERT_EQUAL_FATAL(checkpoint_open(in_world(world, "model"), &planned->checkpoint, err), TSR_OK);
    tsr_status st = config_parse(config, strlen(config), "job.yaml", world->registry, &world->arena, &planned->config, err);
    if (st) return st;
    return plan_make(&planned->checkpoint, &planned->config, world->registry, &options, &world->env, &planned->plan, err);
}

static void drop(struct planned *planned) {
    plan_close(&planned->plan);
    checkpoint_close(&planned->checkpoint);
}

static const struct plan_entry *entry_of(const struct planned *planned, const char *name) {
    for (uint64_t i = 0; i < planned->plan.count; i++) {
        if (!strcmp(planned->plan.entries[i].source->name, name)) return &planned->plan.entries[i];
    }
    CU_FAIL_FATAL("no such tensor");
    return NULL;
}

static double total_bits(const struct planned *planned) {
    double sum = 0;
    for (int i = 0; i < MATRICES; i++) sum += entry_of(planned, MODEL[i].name)->free_bits / MATRICES;
    return sum;
}

/* ---- tests ---- */

static void the_law_is_that_of_a_uniform_quantiser(void) {
    static const double known[][2] = {/* bits, relative error: plugins/scalar/README.md */
        {0.5, 0.617}, {1, 0.3487}, {2, 0.0890}, {3, 0.02226}, {4, 0.005566}};
    struct quantiser_curve curve;
    quantiser_curve_make(&curve);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        double low = -4, high = 12;
        for (int k = 0; k < 60; k++) {
            double middle = (low + high) / 2;
            if (quantiser_at(&curve, middle).bits < known[i][0]) low = middle; else high = middle;
        }
        double error = quantiser_at(&curve, low).error * exp2(-2 * low);
        CU_ASSERT_DOUBLE_EQUAL(error / known[i][1], 1, 0.02);
    }
    for (double at = -5; at < 6; at += 0.03) {
        struct quantiser_point a = quantiser_at(&curve, at), b = quantiser_at(&curve, at + 0.03);
        CU_ASSERT_TRUE(b.bits >= a.bits && b.error >= a.error - 2e-4);
    }
}

static void without_statistics_all_get_the_same(void) {
    struct world world;
    struct planned planned;
    tsr_error err = {0};
    world_begin(&world, 2);
    EXPECT_OK(make(&world, HEAD FREE REST "budget: {bits_per_weight: 4.5}\n", NULL, NULL, &planned, &err));
    for (int i = 1; i < MATRICES; i++) {
        CU_ASSERT_EQUAL(entry_of(&planned, MODEL[i].name)->free_bits, entry_of(&planned, MODEL[0].name)->free_bits);
    }
    CU_ASSERT_DOUBLE_EQUAL(total_bits(&planned), 4.5, 0.06);
    CU_ASSERT_TRUE(planned.plan.budget.solved && planned.plan.budget.uniform && !planned.plan.budget.known);
    CU_ASSERT_EQUAL(planned.plan.budget.tensors, MATRICES);
    drop(&planned);
    world_end(&world);
}

static void importance_draws_bits_and_the_total_stays(void) {
    struct world world;
    struct planned planned;
    tsr_error err = {0};
    world_begin(&world, 2);
    EXPECT_OK(make(&world, HEAD FREE REST "budget: {bits_per_weight: 4.5}\n", &STATISTICS, NULL, &planned, &err));
    double low = entry_of(&planned, "layers.0.up")->free_bits, middle = entry_of(&planned, "layers.1.up")->free_bits;
    double high = entry_of(&planned, "layers.2.up")->free_bits, head = entry_of(&planned, "head")->free_bits;
    CU_ASSERT_DOUBLE_EQUAL(middle - low, 1, 0.04); /* four times the importance is half the step */
    CU_ASSERT_DOUBLE_EQUAL(high - middle, 1, 0.04);
    CU_ASSERT_DOUBLE_EQUAL(head, middle, 0.04);
    CU_ASSERT_DOUBLE_EQUAL(total_bits(&planned), 4.5, 0.06);
    CU_ASSERT_TRUE(planned.plan.budget.known && !planned.plan.budget.uniform && planned.plan.budget.loss > 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(entry_of(&planned, "head")->params.canonical, "bits="));
    CU_ASSERT_EQUAL(entry_of(&planned, "norm")->free_bits, 0);
    drop(&planned);
    world_end(&world);
}

static void more_budget_makes_nothing_worse(void) {
    struct world world;
    double before[MATRICES] = {0}, loss = HUGE_VAL;
    world_begin(&world, 2);
    for (int step = 2; step <= 14; step++) {
        struct planned planned;
        tsr_error err = {0};
        const char *config = arena_format(&world.arena, HEAD FREE REST "budget: {bits_per_weight: %d.%d}\n", step / 2, step % 2 * 5);
        EXPECT_OK(make(&world, config, &STATISTICS, NULL, &planned, &err));
        for (int i = 0; i < MATRICES; i++) {
            double bits = entry_of(&planned, MODEL[i].name)->free_bits;
            CU_ASSERT_TRUE(bits >= before[i]);
            before[i] = bits;
        }
        CU_ASSERT_TRUE(planned.plan.budget.loss < loss);
        loss = planned.plan.budget.loss;
        drop(&planned);
    }
    world_end(&world);
}

static void a_divergence_is_a_budget_too(void) {
    struct world world;
    struct planned planned;
    tsr_error err = {0};
    world_begin(&world, 2);
    EXPECT_OK(make(&world, HEAD FREE REST "budget: {kld: 0.5}\n", &STATISTICS, NULL, &planned, &err));
    CU_ASSERT_DOUBLE_EQUAL(planned.plan.budget.loss / 0.5, 1, 0.15);
    drop(&planned);
    CU_ASSERT_EQUAL(make(&world, HEAD FREE REST "budget: {kld: 0.5}\n", NULL, NULL, &planned, &err), TSR_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "job.yaml:5:9: budget: kld: without the importance of every tensor"));
    drop(&planned);
    world_end(&world);
}

static void what_is_recorded_gives_the_same_plan(void) {
    struct world world;
    struct planned planned, again;
    tsr_error err = {0};
    static const char config[] = HEAD FREE REST "budget: {bytes: 290K}\n";
    world_begin(&world, 1);
    EXPECT_OK(make(&world, config, &STATISTICS, NULL, &planned, &err));
    struct plan_allocation recorded = {.bits = planned.plan.budget.bits};
    pool_destroy(world.env.pool);
    world.env.pool = pool_create(4);
    EXPECT_OK(make(&world, config, &STATISTICS, &recorded, &again, &err));
    for (int i = 0; i < MATRICES; i++) {
        CU_ASSERT_STRING_EQUAL(entry_of(&planned, MODEL[i].name)->params.canonical,
                               entry_of(&again, MODEL[i].name)->params.canonical);
    }
    drop(&again);
    recorded.uniform = true;
    EXPECT_OK(make(&world, config, &STATISTICS, &recorded, &again, &err));
    CU_ASSERT_EQUAL(entry_of(&again, "head")->free_bits, entry_of(&again, "layers.0.up")->free_bits);
    CU_ASSERT_PTR_NULL(entry_of(&again, "head")->row_weight);
    drop(&again);
    drop(&planned);
    world_end(&world);
}

static void rules_and_budget_must_go_together(void) {
    static const struct {
        const char *config, *message;
    } cases[] = {
        {HEAD FREE REST, "job.yaml:3:5: bits: auto needs a budget"},
        {HEAD "  - {codec: passthrough}\nbudget: {bits_per_weight: 4}\n", "4:9: budget: no tensor of this model has bits: auto"},
        {HEAD FREE REST "budget: {bytes: 1K}\n", "tensors without bits: auto alone take"},
        {HEAD FREE REST "budget: {bytes: 4K}\n", "bytes are not enough, these codecs need about"},
        {HEAD "  - {codec: [scalar, remainder], params: {scalar: {bits: auto}}}\n", "unknown codec"},
    };
    struct world world;
    world_begin(&world, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct planned planned;
        tsr_error err = {0};
        CU_ASSERT_EQUAL(make(&world, cases[i].config, NULL, NULL, &planned, &err), TSR_E_CONFIG);
        if (!strstr(err.message, cases[i].message)) printf("  %s\n", err.message);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, cases[i].message));
        drop(&planned);
    }
    world_end(&world);
}

static const struct unit_test TESTS[] = {
    {"the_law_is_that_of_a_uniform_quantiser", the_law_is_that_of_a_uniform_quantiser},
    {"without_statistics_all_get_the_same", without_statistics_all_get_the_same},
    {"importance_draws_bits_and_the_total_stays", importance_draws_bits_and_the_total_stays},
    {"more_budget_makes_nothing_worse", more_budget_makes_nothing_worse},
    {"a_divergence_is_a_budget_too", a_divergence_is_a_budget_too},
    {"what_is_recorded_gives_the_same_plan", what_is_recorded_gives_the_same_plan},
    {"rules_and_budget_must_go_together", rules_and_budget_must_go_together},
};
UNIT_MAIN(TESTS)
