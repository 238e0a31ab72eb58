/* SPDX-License-Identifier: Apache-2.0
 *
 * Measurements of the gates on tiny models: identity is exactly zero, every damage shows, noise rises monotonically, and
 * nothing depends on workers. Damages are the negative controls of docs/gates.md. */
#include "unit.h"
#include "unit_plugins.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <base/rng.h>
#include <format/dtype.h>
#include <math.h>
#include <measure/chain.h>
#include <measure/parity_kept.h>
#include <measure/rollout.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURE "tests/data/causal-lm/qwen3-tied"
#define FIXTURE_F32 "tests/data/causal-lm/gpt2-bare"
#define SCRATCH "build/tmp-parity"
#define TOKENS 600

static struct env env;
static struct registry *registry;
static const char *const FAMILY_FOLDERS[] = {"models/generic-causal-lm/families"};
static const struct model_paths PATHS = {FAMILY_FOLDERS, 1, 0};
static uint32_t tokens[TOKENS];
static const struct token_run DOCUMENTS[] = {{tokens, 250}, {tokens + 250, 200}, {tokens + 450, 150}};
static const struct parity_options OPTIONS = {.window = 64, .skip = 0, .positions = 0};

static bool set_up(void) {
    struct rng rng = {5};
    for (int i = 0; i < TOKENS; i++) tokens[i] = (uint32_t)rng_below(&rng, 400);
    return unit_plugins(&env, &registry);
}

/* What a damage gets: the data of one BF16 tensor. */
typedef void (*damage_tensor)(const char *name, uint16_t *values, uint64_t rows, uint64_t columns, double amount);

/* Copies the fixture with every tensor passed through `damage`. */
static bool copy_damaged(damage_tensor damage, double amount) {
    struct safetensors st = {0};
    char *bytes = NULL, *config = NULL;
    uint64_t size = 0, config_size = 0;
    bool good = fs_make_folder(SCRATCH, NULL) == TSR_OK &&
                fs_read_whole(FIXTURE "/config.json", 1 << 20, &config, &config_size, NULL) == TSR_OK &&
                fs_replace(SCRATCH "/config.json", config, config_size, NULL) == TSR_OK &&
                fs_read_whole(FIXTURE "/model.safetensors", 1 << 28, &bytes, &size, NULL) == TSR_OK &&
                safetensors_open(FIXTURE "/model.safetensors", &st, NULL) == TSR_OK;
    for (uint64_t i = 0; good && i < st.count; i++) {
        const struct safetensors_entry *entry = &st.entries[i];
        uint64_t columns = entry->shape[entry->rank - 1];
        if (entry->dtype == TSR_DTYPE_BF16) {
            damage(entry->name, (uint16_t *)(void *)(bytes + entry->offset), entry->bytes / 2 / columns, columns, amount);
        }
    }
    good = good && fs_replace(SCRATCH "/model.safetensors", bytes, size, NULL) == TSR_OK;
    safetensors_close(&st);
    mem_free(bytes);
    mem_free(config);
    return good;
}

static tsr_status measure(const char *other, struct env *with, struct parity_result *result) {
    struct open_model a, b;
    tsr_error err = {0};
    tsr_status st = model_open(FIXTURE, registry, &PATHS, with, &a, &err);
    if (st == TSR_OK) st = model_open(other, registry, &PATHS, with, &b, &err);
    if (st == TSR_OK) st = parity_run(&a, &b, DOCUMENTS, 3, &OPTIONS, with, result, &err);
    if (st != TSR_OK) printf("  %s\n", err.message);
    model_close(&a);
    model_close(&b);
    return st;
}

static void identity_is_exactly_zero(void) {
    struct parity_result result;
    CU_ASSERT_EQUAL_FATAL(measure(FIXTURE, &env, &result), TSR_OK);
    CU_ASSERT_EQUAL(result.positions, TOKENS);
    CU_ASSERT_EQUAL(result.kld_zero, TOKENS);
    CU_ASSERT_EQUAL(parity_percentile(&result, 100), 0);
    CU_ASSERT_EQUAL(result.flip_count, 0);
    CU_ASSERT_EQUAL(result.reference_nll, result.other_nll);
    CU_ASSERT_EQUAL(judge_mean(result.kld, result.windows, 0, 0.95).verdict, VERDICT_PASS);
    parity_clear(&result);
}

static float widen(uint16_t value) {
    float wide;
    dtype_to_f32(TSR_DTYPE_BF16, &value, 1, &wide);
    return wide;
}

/* ---- damages ---- */

static void zero_layer(const char *name, uint16_t *values, uint64_t rows, uint64_t columns, double amount) {
    (void)amount;
    if (strstr(name, "layers.1.") && !strstr(name, "norm")) memset(values, 0, rows * columns * sizeof *values);
}

static void shuffle_rows(const char *name, uint16_t *values, uint64_t rows, uint64_t columns, double amount) {
    struct rng rng = {9};
    (void)amount;
    if (!strstr(name, "layers.0.mlp.down_proj")) return;
    for (uint64_t r = rows - 1; r > 0; r--) {
        uint64_t with = rng_below(&rng, r + 1);
        for (uint64_t c = 0; c < columns; c++) {
            uint16_t kept = values[r * columns + c];
            values[r * columns + c] = values[with * columns + c];
            values[with * columns + c] = kept;
        }
    }
}

static void random_weights(const char *name, uint16_t *values, uint64_t rows, uint64_t columns, double amount) {
    struct rng rng = {rng_seed(name)};
    (void)amount;
    for (uint64_t i = 0; i < rows * columns; i++) {
        float value = (float)(rng_real(&rng) - 0.5);
        dtype_from_f32(TSR_DTYPE_BF16, &value, 1, &values[i]);
    }
}

static void constant_model(const char *name, uint16_t *values, uint64_t rows, uint64_t columns, double amount) {
    (void)name;
    (void)amount;
    for (uint64_t i = 0; i < rows * columns; i++) values[i] = 0x3C00;
}

static uint16_t kept_layer[1 << 16];

/* Tensors come in the order of the file: layer 0 before layer 2 under one kind of name. */
static void swap_layers(const char *name, uint16_t *values, uint64_t rows, uint64_t columns, double amount) {
    (void)amount;
    if (strstr(name, "layers.0.mlp.up_proj")) memcpy(kept_layer, values, rows * columns * sizeof *values);
    if (strstr(name, "layers.2.mlp.up_proj")) memcpy(values, kept_layer, rows * columns * sizeof *values);
}

static void flip_exponent(const char *name, uint16_t *values, uint64_t rows, uint64_t columns, double amount) {
    (void)rows;
    (void)columns;
    (void)amount;
    if (strstr(name, "layers.0.self_attn.v_proj")) values[7] ^= 0x4000;
}

static void add_noise(const char *name, uint16_t *values, uint64_t rows, uint64_t columns, double amount) {
    struct rng rng = {rng_seed(name)};
    for (uint64_t i = 0; i < rows * columns; i++) {
        float value = widen(values[i]) * (float)(1 + amount * 3.46 * (rng_real(&rng) - 0.5));
        dtype_from_f32(TSR_DTYPE_BF16, &value, 1, &values[i]);
    }
}

struct control {
    const char *name;
    damage_tensor damage;
};

/* Generous thresholds, as somebody would set who wants everything to pass. */
static void every_negative_control_fails(void) {
    static const struct control controls[] = {{"zeroed layer", zero_layer},       {"shuffled rows", shuffle_rows},
                                              {"random weights", random_weights}, {"constant model", constant_model},
                                              {"swapped layers", swap_layers},    {"exponent bit", flip_exponent}};
    for (size_t i = 0; i < sizeof controls / sizeof controls[0]; i++) {
        struct parity_result result;
        CU_ASSERT_TRUE_FATAL(copy_damaged(controls[i].damage, 0));
        CU_ASSERT_EQUAL_FATAL(measure(SCRATCH, &env, &result), TSR_OK);
        struct judgement kld = judge_mean(result.kld, result.windows, 0.05, 0.95);
        struct judgement top1 = judge_proportion(result.agree, result.windows, 0.95, 0.95);
        printf("%s - control %s fails (KLD %.3g, top-1 %.3f)\n",
               kld.verdict == VERDICT_FAIL && top1.verdict == VERDICT_FAIL ? "ok" : "not ok", controls[i].name, kld.estimate,
               top1.estimate);
        CU_ASSERT_EQUAL(kld.verdict, VERDICT_FAIL);
        CU_ASSERT_EQUAL(top1.verdict, VERDICT_FAIL);
        parity_clear(&result);
    }
}

/* An F32 copy of the fixture with relative noise on every weight. */
static bool copy_noisy(double amount) {
    struct safetensors st = {0};
    char *bytes = NULL, *config = NULL;
    uint64_t size = 0, config_size = 0;
    bool good = fs_make_folder(SCRATCH, NULL) == TSR_OK &&
                fs_read_whole(FIXTURE_F32 "/config.json", 1 << 20, &config, &config_size, NULL) == TSR_OK &&
                fs_replace(SCRATCH "/config.json", config, config_size, NULL) == TSR_OK &&
                fs_read_whole(FIXTURE_F32 "/model.safetensors", 1 << 28, &bytes, &size, NULL) == TSR_OK &&
                safetensors_open(FIXTURE_F32 "/model.safetensors", &st, NULL) == TSR_OK;
    for (uint64_t i = 0; good && i < st.count; i++) {
        struct rng rng = {rng_seed(st.entries[i].name)};
        for (uint64_t at = 0; at < st.entries[i].bytes; at += sizeof(float)) {
            float value;
            memcpy(&value, bytes + st.entries[i].offset + at, sizeof value);
            value *= (float)(1 + amount * 3.46 * (rng_real(&rng) - 0.5));
            memcpy(bytes + st.entries[i].offset + at, &value, sizeof value);
        }
    }
    good = good && fs_replace(SCRATCH "/model.safetensors", bytes, size, NULL) == TSR_OK;
    safetensors_close(&st);
    mem_free(bytes);
    mem_free(config);
    return good;
}

static double divergence_at(double amount) {
    struct open_model a, b;
    struct parity_result result = {0};
    const struct token_run text = {tokens, 60};
    CU_ASSERT_TRUE_FATAL(copy_noisy(amount));
    CU_ASSERT_EQUAL_FATAL(model_open(FIXTURE_F32, registry, &PATHS, &env, &a, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(model_open(SCRATCH, registry, &PATHS, &env, &b, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(parity_run(&a, &b, &text, 1, &OPTIONS, &env, &result, NULL), TSR_OK);
    double kld = group_mean(result.kld, result.windows).mean;
    parity_clear(&result);
    model_close(&a);
    model_close(&b);
    return kld;
}

/* From the last bit of a weight to no weight at all: more noise, more divergence; and at the bottom with its square. */
static void divergence_rises_with_noise(void) {
    double before = 0;
    for (double amount = 1e-6; amount < 1.1; amount *= 10) {
        double kld = divergence_at(amount);
        printf("  noise %.0e: KLD %.3g\n", amount, kld);
        CU_ASSERT_TRUE(kld > before * 2);
        before = kld;
    }
    double ratio = divergence_at(1e-4) / divergence_at(1e-5);
    CU_ASSERT_TRUE(ratio > 50 && ratio < 200);
}

static void results_do_not_depend_on_workers(void) {
    struct parity_result one, two;
    struct env single = {.pool = pool_create(1)};
    CU_ASSERT_TRUE_FATAL(copy_damaged(add_noise, 0.05));
    CU_ASSERT_EQUAL_FATAL(measure(SCRATCH, &single, &one), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(measure(SCRATCH, &env, &two), TSR_OK);
    CU_ASSERT_EQUAL(memcmp(one.all_kld, two.all_kld, TOKENS * sizeof *one.all_kld), 0);
    CU_ASSERT_EQUAL(one.other_nll, two.other_nll);
    parity_clear(&one);
    parity_clear(&two);
    pool_destroy(single.pool);
}

/* Measures damaged copies with one memory of the reference, in a text whose windows have unscored fronts. */
static tsr_status measure_kept(struct open_model *reference, struct parity_kept *kept, uint64_t positions, double noise,
                               struct parity_result *result) {
    struct open_model other;
    const struct parity_options options = {.window = 70, .skip = 20, .positions = positions, .kept = kept};
    if (!copy_damaged(add_noise, noise)) return TSR_E_IO;
    tsr_status st = model_open(SCRATCH, registry, &PATHS, &env, &other, NULL);
    if (st == TSR_OK) st = parity_run(reference, &other, DOCUMENTS, 3, &options, &env, result, NULL);
    model_close(&other);
    return st;
}

static bool same_result(const struct parity_result *a, const struct parity_result *b) {
    return a->positions == b->positions && a->windows == b->windows && a->reference_nll == b->reference_nll &&
           a->other_nll == b->other_nll && a->flip_count == b->flip_count &&
           !memcmp(a->all_kld, b->all_kld, a->positions * sizeof *a->all_kld);
}

/* With what an earlier run kept, figures are those of a run that keeps nothing; another text is not taken for the same. */
static void a_kept_reference_changes_nothing(void) {
    static const struct {
        double noise;
        uint64_t positions;
        bool known; /* the run before kept it */
    } RUNS[] = {{0.02, 0, false}, {0.05, 0, true}, {0.08, 0, true}, {0.05, 90, false}, {0.02, 90, true}, {0.02, 0, false}};
    struct open_model reference;
    struct parity_kept kept = {0};
    CU_ASSERT_EQUAL_FATAL(model_open(FIXTURE, registry, &PATHS, &env, &reference, NULL), TSR_OK);
    for (size_t i = 0; i < sizeof RUNS / sizeof RUNS[0]; i++) {
        struct parity_result with, without;
        CU_ASSERT_EQUAL_FATAL(measure_kept(&reference, &kept, RUNS[i].positions, RUNS[i].noise, &with), TSR_OK);
        CU_ASSERT_EQUAL_FATAL(measure_kept(&reference, NULL, RUNS[i].positions, RUNS[i].noise, &without), TSR_OK);
        CU_ASSERT_TRUE(same_result(&with, &without));
        CU_ASSERT_EQUAL(kept.at > 0, RUNS[i].known);
        parity_clear(&with);
        parity_clear(&without);
    }
    parity_kept_clear(&kept);
    model_close(&reference);
}

static void make_nan(const char *name, uint16_t *values, uint64_t rows, uint64_t columns, double amount) {
    (void)amount;
    if (!strstr(name, "norm")) return;
    for (uint64_t i = 0; i < rows * columns; i++) values[i] = 0x7FC0;
}

/* Two models without a number in their logits do not agree. */
static void no_numbers_do_not_agree(void) {
    struct open_model model;
    struct parity_result result;
    CU_ASSERT_TRUE_FATAL(copy_damaged(make_nan, 0));
    CU_ASSERT_EQUAL_FATAL(model_open(SCRATCH, registry, &PATHS, &env, &model, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(parity_run(&model, &model, DOCUMENTS, 3, &OPTIONS, &env, &result, NULL), TSR_OK);
    CU_ASSERT_EQUAL(result.flip_count, TOKENS);
    CU_ASSERT_EQUAL(judge_proportion(result.agree, result.windows, 0.5, 0.95).verdict, VERDICT_FAIL);
    CU_ASSERT_TRUE(!isfinite(judge_mean(result.kld, result.windows, INFINITY, 0.95).estimate));
    parity_clear(&result);
    model_close(&model);
}

static void rollout_of_no_numbers_is_an_error(void) {
    struct open_model model;
    struct rollout_result result;
    tsr_error err = {0};
    const struct token_run prompt = {tokens, 20};
    CU_ASSERT_TRUE_FATAL(copy_damaged(make_nan, 0));
    CU_ASSERT_EQUAL_FATAL(model_open(SCRATCH, registry, &PATHS, &env, &model, NULL), TSR_OK);
    CU_ASSERT_EQUAL(rollout_run(&model, &model, &prompt, 1, 24, &result, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "not numbers"));
    model_close(&model);
}

static void rollout_names_the_first_difference(void) {
    struct open_model a, b;
    struct rollout_result result;
    const struct token_run prompts[] = {{tokens, 20}, {tokens + 100, 12}};
    CU_ASSERT_TRUE_FATAL(copy_damaged(flip_exponent, 0));
    CU_ASSERT_EQUAL_FATAL(model_open(FIXTURE, registry, &PATHS, &env, &a, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(model_open(SCRATCH, registry, &PATHS, &env, &b, NULL), TSR_OK);
    CU_ASSERT_EQUAL(rollout_run(&a, &a, prompts, 2, 24, &result, NULL), TSR_OK);
    CU_ASSERT_TRUE(result.matched == 48 && result.equal_prompts == 2 && result.first_prompt == 2);
    CU_ASSERT_EQUAL(rollout_run(&a, &b, prompts, 2, 24, &result, NULL), TSR_OK);
    CU_ASSERT_TRUE(result.matched < 48 && result.first_prompt < 2 && result.reference_token != result.other_token);
    model_close(&a);
    model_close(&b);
}

/* The damage sits in layer 1, so layer 1's output (index 2) is the first to break. */
static void chain_shows_where_it_breaks(void) {
    struct open_model a, b;
    struct chain_result result;
    CU_ASSERT_TRUE_FATAL(copy_damaged(zero_layer, 0));
    CU_ASSERT_EQUAL_FATAL(model_open(FIXTURE, registry, &PATHS, &env, &a, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(model_open(SCRATCH, registry, &PATHS, &env, &b, NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(chain_run(&a, &b, &DOCUMENTS[0], 100, &result, NULL), TSR_OK);
    CU_ASSERT_EQUAL(result.count, 5);
    CU_ASSERT_EQUAL(result.layers[0].relative_error, 0);
    CU_ASSERT_EQUAL(result.layers[1].relative_error, 0);
    CU_ASSERT_TRUE(result.layers[2].relative_error > 0.01 && result.layers[2].worst_cosine < 1);
    chain_clear(&result);
    model_close(&a);
    model_close(&b);
}

static const struct unit_test TESTS[] = {
    {"identity_is_exactly_zero", identity_is_exactly_zero},
    {"every_negative_control_fails", every_negative_control_fails},
    {"divergence_rises_with_noise", divergence_rises_with_noise},
    {"results_do_not_depend_on_workers", results_do_not_depend_on_workers},
    {"a_kept_reference_changes_nothing", a_kept_reference_changes_nothing},
    {"no_numbers_do_not_agree", no_numbers_do_not_agree},
    {"rollout_of_no_numbers_is_an_error", rollout_of_no_numbers_is_an_error},
    {"rollout_names_the_first_difference", rollout_names_the_first_difference},
    {"chain_shows_where_it_breaks", chain_shows_where_it_breaks},
};

int main(void) {
    int result = set_up() ? unit_run(__FILE__, TESTS, sizeof TESTS / sizeof TESTS[0]) : 1;
    (void)fs_remove_tree(SCRATCH, NULL);
    registry_destroy(registry);
    pool_destroy(env.pool);
    return result;
}
