/* SPDX-License-Identifier: Apache-2.0
 *
 * The two fixtures of tests/data/qwen3-tts (official implementation, random weights): every case's ids, codes and stages. */
#include "unit.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <pipeline/speech_reference.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURES "tests/data/qwen3-tts"

static struct env env;
static struct registry *registry;
static const struct model_paths PATHS = {NULL, 0, 0};

static bool set_up(void) {
    const char *build = getenv("TESSERA_BUILD");
    char folder[512];
    (void)snprintf(folder, sizeof folder, "%s/lib/tessera", build ? build : "build");
    const char *folders[] = {folder};
    env.pool = pool_create(2);
    return env.pool && registry_create(folders, 1, &env, &registry, NULL) == TSR_OK;
}

static void check_fixture(const char *name) {
    struct open_model model;
    struct speech_reference_result result[2] = {0};
    tsr_error err = {0};
    tsr_status st = model_open(name, registry, &PATHS, &env, &model, &err);
    for (int i = 0; i < 2 && st == TSR_OK; i++) {
        char golden[256];
        (void)snprintf(golden, sizeof golden, "%s/golden.safetensors", name);
        st = gate_speech_reference(&model, golden, SPEECH_TOLERANCE, &result[i], &err);
    }
    model_close(&model);
    printf("# %s: %llu cases, %llu codes (%llu wrong), %llu stages: %.1e (%s), wave %.1e, cosine 1 - %.1e %s%s\n", name,
           (unsigned long long)result[0].cases, (unsigned long long)result[0].codes, (unsigned long long)result[0].wrong_codes,
           (unsigned long long)result[0].stages, result[0].worst_stage, result[0].worst_stage_name, result[0].worst_wave,
           result[0].worst_cosine, result[0].first_wrong, err.message);
    CU_ASSERT_EQUAL(st, TSR_OK);
    CU_ASSERT_TRUE(result[0].passed);
    CU_ASSERT_EQUAL(memcmp(&result[0], &result[1], sizeof result[0]), 0);
}

static void fixture_a_matches_its_golden_values_twice(void) {
    check_fixture(FIXTURES "/a");
}

static void fixture_b_matches_its_golden_values_twice(void) {
    check_fixture(FIXTURES "/b");
}

static const struct unit_test TESTS[] = {
    {"fixture_a_matches_its_golden_values_twice", fixture_a_matches_its_golden_values_twice},
    {"fixture_b_matches_its_golden_values_twice", fixture_b_matches_its_golden_values_twice},
};

int main(void) {
    int result = set_up() ? unit_run(__FILE__, TESTS, sizeof TESTS / sizeof TESTS[0]) : 1;
    registry_destroy(registry);
    pool_destroy(env.pool);
    return result;
}
