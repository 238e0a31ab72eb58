/* SPDX-License-Identifier: Apache-2.0
 *
 * Every fixture of tests/data/causal-lm (official implementation, random weights, all quirks on) through the reference
 * gate: logits and hidden states within 2e-4 of their standard deviation, greedy continuation token-exact. And the
 * gate's own kill tests: a wrong weight, a wrong config, an unknown config key must not pass. */
#include "unit.h"
#include "unit_plugins.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <base/str.h>
#include <measure/gate_reference.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURES "tests/data/causal-lm"
#define VARIANTS "tests/data/causal-lm-variants" /* made by make_variants.py there */

static struct env env;
static struct registry *registry;
static const char *const FAMILY_FOLDERS[] = {"models/generic-causal-lm/families"};
static const struct model_paths PATHS = {FAMILY_FOLDERS, 1, 0};

static tsr_status run_fixture(const char *model_path, const char *golden, struct reference_result *result, tsr_error *err) {
    struct open_model model;
    tsr_status st = model_open(model_path, registry, &PATHS, &env, &model, err);
    if (st == TSR_OK) st = gate_reference(&model, golden, REFERENCE_TOLERANCE, result, err);
    model_close(&model);
    return st;
}

/* One line of its own for each fixture, so that a failing family is named. */
static unsigned check_folder(const char *folder) {
    struct fs_list list;
    unsigned count = 0;
    CU_ASSERT_EQUAL_FATAL(fs_list(folder, false, &list, NULL), TSR_OK);
    for (uint64_t i = 0; i < list.count; i++) {
        char path[512], golden[600];
        struct reference_result result = {0};
        tsr_error err = {0};
        (void)snprintf(path, sizeof path, "%s/%s", folder, list.names[i]);
        if (fs_kind_of(path) != FS_FOLDER) continue;
        (void)snprintf(golden, sizeof golden, "%s/golden.safetensors", path);
        tsr_status st = run_fixture(path, golden, &result, &err);
        printf("%s - fixture %s (logits %.1e, hidden %.1e, greedy %llu of %llu)%s%s\n",
               st == TSR_OK && result.passed ? "ok" : "not ok", list.names[i], result.worst_logit, result.worst_hidden,
               (unsigned long long)result.first_wrong_token, (unsigned long long)result.greedy_tokens,
               st == TSR_OK ? "" : ": ", err.message);
        CU_ASSERT_TRUE(st == TSR_OK && result.passed && result.has_greedy);
        count++;
    }
    fs_list_clear(&list);
    return count;
}

static void every_fixture_matches_its_golden_values(void) {
    CU_ASSERT_TRUE(check_folder(FIXTURES) >= 33);
}

static void every_variant_matches_its_golden_values(void) {
    CU_ASSERT_TRUE(check_folder(VARIANTS) >= 30);
}

/* Copies a fixture with one edit of a file: `from` becomes `to` (same length or text file). */
static bool copy_edited(const char *fixture, const char *file, const char *from, const char *to, const char *target) {
    static const char *const files[] = {"config.json", "model.safetensors"};
    if (fs_make_folder(target, NULL) != TSR_OK) return false;
    for (int i = 0; i < 2; i++) {
        char source[512], copy[512], *bytes = NULL;
        uint64_t size = 0;
        struct str edited = {0};
        (void)snprintf(source, sizeof source, FIXTURES "/%s/%s", fixture, files[i]);
        (void)snprintf(copy, sizeof copy, "%s/%s", target, files[i]);
        if (fs_read_whole(source, (uint64_t)1 << 30, &bytes, &size, NULL) != TSR_OK) return false;
        const char *at = strcmp(files[i], file) ? NULL : strstr(bytes, from);
        if (at) {
            str_add(&edited, bytes, (size_t)(at - bytes));
            str_add_text(&edited, to);
            str_add_text(&edited, at + strlen(from));
        } else {
            str_add(&edited, bytes, (size_t)size);
        }
        tsr_status st = fs_replace(copy, edited.text, edited.length, NULL);
        str_clear(&edited);
        mem_free(bytes);
        if (st != TSR_OK || (!at && !strcmp(files[i], file))) return false;
    }
    return true;
}

/* ---- one result, however a text is cut ---- */

#define LONG_TEXT 60 /* below every fixture's context */

struct collected {
    float *logits;
    uint64_t vocabulary;
};

static tsr_status collect(void *ctx, uint64_t first, const float *logits, uint64_t tokens, uint64_t vocabulary,
                          tsr_error *err) {
    struct collected *collected = ctx;
    (void)err;
    memcpy(collected->logits + first * vocabulary, logits, tokens * vocabulary * sizeof *logits);
    return TSR_OK;
}

/* Logits of all positions, the text given in pieces of `piece` tokens (two or more). */
static float *run_in_pieces(const char *path, struct env *with, uint64_t piece) {
    struct open_model model;
    uint32_t tokens[LONG_TEXT];
    void *sequence = NULL;
    float *logits = NULL;
    if (model_open(path, registry, &PATHS, with, &model, NULL) == TSR_OK) {
        struct collected collected = {.vocabulary = model.info.vocabulary};
        tsr_hooks hooks = {.struct_size = sizeof hooks, .ctx = &collected, .logits = collect};
        for (uint32_t i = 0; i < LONG_TEXT; i++) tokens[i] = (i * 37 + 11) % 300;
        collected.logits = logits = mem_alloc_zero(LONG_TEXT * model.info.vocabulary, sizeof *logits);
        CU_ASSERT_EQUAL(model.plugin->sequence_create(model.self, LONG_TEXT, &sequence, NULL), TSR_OK);
        for (uint64_t at = 0; at < LONG_TEXT; at += piece) {
            CU_ASSERT_EQUAL(model.plugin->forward(model.self, sequence, tokens + at, piece, &hooks, NULL, NULL), TSR_OK);
        }
        model.plugin->sequence_destroy(model.self, sequence);
    }
    model_close(&model);
    return logits;
}

/* Mixtures gather tokens by expert, windows look back over pieces, latent attention expands keys: all bit for bit. */
static void logits_do_not_depend_on_pieces_or_workers(void) {
    static const char *const fixtures[] = {"llama-tied", "qwen2_moe", "deepseek_v3", "gemma3_text", "bloom", "gpt2-bare"};
    struct env single = {.pool = pool_create(1)};
    for (size_t i = 0; i < sizeof fixtures / sizeof fixtures[0]; i++) {
        char path[512];
        (void)snprintf(path, sizeof path, FIXTURES "/%s", fixtures[i]);
        struct safetensors golden = {0};
        float *whole = run_in_pieces(path, &env, LONG_TEXT);
        float *pieces[] = {run_in_pieces(path, &env, 2), run_in_pieces(path, &env, 15), run_in_pieces(path, &single, 20)};
        char golden_path[600];
        (void)snprintf(golden_path, sizeof golden_path, "%s/golden.safetensors", path);
        CU_ASSERT_EQUAL_FATAL(safetensors_open(golden_path, &golden, NULL), TSR_OK);
        uint64_t vocabulary = safetensors_find(&golden, "logits")->shape[1];
        safetensors_close(&golden);
        for (int j = 0; j < 3; j++) {
            CU_ASSERT_TRUE(whole && pieces[j] && !memcmp(whole, pieces[j], LONG_TEXT * vocabulary * sizeof *whole));
            mem_free(pieces[j]);
        }
        mem_free(whole);
    }
    pool_destroy(single.pool);
}

struct wrong {
    const char *fixture, *from, *to;
};

/* A quirk misread must show: the gate says no, or the engine refuses. */
static void a_misread_config_does_not_pass(void) {
    static const struct wrong wrongs[] = {
        {"llama-tied", "\"factor\": 8.0", "\"factor\": 4.0"},
        {"mistral", "\"sliding_window\": 14", "\"sliding_window\": 15"},
        {"qwen3-tied", "\"rope_theta\": 1000000", "\"rope_theta\": 1100000"},
        {"gemma3_text", "\"query_pre_attn_scalar\": 14", "\"query_pre_attn_scalar\": 24"},
        {"cohere", "\"logit_scale\": 0.5", "\"logit_scale\": 0.6"},
        {"olmo", "\"clip_qkv\": 0.9", "\"clip_qkv\": 1.0"},
        {"falcon", "\"activation\": \"gelu\"", "\"activation\": \"gelu_new\""},
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        char golden[512];
        struct reference_result result = {0};
        tsr_error err = {0};
        (void)snprintf(golden, sizeof golden, FIXTURES "/%s/golden.safetensors", wrongs[i].fixture);
        CU_ASSERT_TRUE_FATAL(copy_edited(wrongs[i].fixture, "config.json", wrongs[i].from, wrongs[i].to, "build/tmp-wrong"));
        tsr_status st = run_fixture("build/tmp-wrong", golden, &result, &err);
        CU_ASSERT_EQUAL(st, TSR_OK);
        CU_ASSERT_FALSE(result.passed);
        (void)fs_remove_tree("build/tmp-wrong", NULL);
    }
}

static void an_unknown_config_key_is_an_error_that_names_it(void) {
    struct reference_result result;
    tsr_error err = {0};
    CU_ASSERT_TRUE_FATAL(copy_edited("llama-tied", "config.json", "\"hidden_act\"", "\"hyper_connections\": 4, \"hidden_act\"",
                                     "build/tmp-key"));
    tsr_status st = run_fixture("build/tmp-key", FIXTURES "/llama-tied/golden.safetensors", &result, &err);
    CU_ASSERT_EQUAL(st, TSR_E_UNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "hyper_connections"));
    (void)fs_remove_tree("build/tmp-key", NULL);
}

/* A weight that nobody reads would be a silent difference. */
static void an_unused_tensor_is_an_error_that_names_it(void) {
    struct reference_result result;
    tsr_error err = {0};
    CU_ASSERT_TRUE_FATAL(copy_edited("qwen3-tied", "config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2",
                                     "build/tmp-unused"));
    tsr_status st = run_fixture("build/tmp-unused", FIXTURES "/qwen3-tied/golden.safetensors", &result, &err);
    CU_ASSERT_EQUAL(st, TSR_E_UNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "model.layers.2."));
    (void)fs_remove_tree("build/tmp-unused", NULL);
}

static const struct unit_test TESTS[] = {
    {"every_fixture_matches_its_golden_values", every_fixture_matches_its_golden_values},
    {"every_variant_matches_its_golden_values", every_variant_matches_its_golden_values},
    {"logits_do_not_depend_on_pieces_or_workers", logits_do_not_depend_on_pieces_or_workers},
    {"a_misread_config_does_not_pass", a_misread_config_does_not_pass},
    {"an_unknown_config_key_is_an_error_that_names_it", an_unknown_config_key_is_an_error_that_names_it},
    {"an_unused_tensor_is_an_error_that_names_it", an_unused_tensor_is_an_error_that_names_it},
};

int main(void) {
    int result = unit_plugins(&env, &registry) ? unit_run(__FILE__, TESTS, sizeof TESTS / sizeof TESTS[0]) : 1;
    registry_destroy(registry);
    pool_destroy(env.pool);
    return result;
}
