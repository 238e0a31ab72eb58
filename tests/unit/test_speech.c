/* SPDX-License-Identifier: Apache-2.0
 *
 * The two fixtures of tests/data/qwen3-tts (official implementation, random weights): every case's ids, codes and stages. */
#include "unit.h"
#include "unit_plugins.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <measure/speech_reference.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURES "tests/data/qwen3-tts"

static struct env env;
static struct registry *registry;
static const struct model_paths PATHS = {NULL, 0, 0};

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

/* ---- streaming ---- */

#define STREAM_FRAMES 40 /* several windows and pieces */

/* Samples of fixed codes, `piece` frames at a time; NULL on failure. */
static float *decode_in_pieces(const char *path, struct env *with, uint64_t piece, uint64_t *count) {
    struct open_model model;
    void *decoder = NULL;
    float *samples = NULL;
    if (model_open(path, registry, &PATHS, with, &model, NULL) == TSR_OK) {
        tsr_speech_info info = speech_facts(&model);
        const tsr_speech *table = speech_table(&model);
        uint32_t codes[STREAM_FRAMES * 16];
        for (uint64_t i = 0; i < STREAM_FRAMES * info.groups; i++) codes[i] = (uint32_t)((i * 37 + 11) % info.codebook);
        *count = STREAM_FRAMES * info.samples_per_frame;
        samples = mem_alloc_zero(*count, sizeof *samples);
        CU_ASSERT_EQUAL_FATAL(table->decoder_create(model.self, 0, 0, NULL, &decoder, NULL), TSR_OK);
        for (uint64_t f = 0; f < STREAM_FRAMES; f += piece) {
            uint64_t frames = f + piece < STREAM_FRAMES ? piece : STREAM_FRAMES - f;
            tsr_status st = table->decoder_push(model.self, decoder, codes + f * info.groups, frames,
                                                samples + f * info.samples_per_frame, NULL);
            CU_ASSERT_EQUAL(st, TSR_OK);
        }
        table->decoder_destroy(model.self, decoder);
    }
    model_close(&model);
    return samples;
}

static void check_pieces(const char *path) {
    struct env single = {.pool = pool_create(1)};
    uint64_t count = 0;
    float *whole = decode_in_pieces(path, &env, STREAM_FRAMES, &count);
    float *pieces[] = {decode_in_pieces(path, &env, 1, &count), decode_in_pieces(path, &env, 7, &count),
                       decode_in_pieces(path, &single, 3, &count)};
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_TRUE(whole && pieces[i] && !memcmp(whole, pieces[i], count * sizeof *whole));
        mem_free(pieces[i]);
    }
    mem_free(whole);
    pool_destroy(single.pool);
}

static void samples_do_not_depend_on_pieces_or_workers(void) {
    check_pieces(FIXTURES "/a");
    check_pieces(FIXTURES "/b");
}

/* ---- decisions ---- */

static tsr_status speak(const char *path, const struct speech_request *request, const tsr_speech_rules *rules,
                        struct speech *speech, tsr_error *err) {
    struct open_model model;
    struct tokenizer *tokenizer = NULL;
    struct speech_prompt made = {0};
    tsr_status st = model_open(path, registry, &PATHS, &env, &model, err);
    if (st == TSR_OK) st = tokenizer_open(path, &tokenizer, err);
    if (st == TSR_OK) st = speech_prompt_make(&model, tokenizer, request, &made, err);
    if (st == TSR_OK) st = speech_generate(&model, &made.prompt, 12, rules, NULL, speech, err);
    speech_prompt_clear(&made);
    tokenizer_close(tokenizer);
    model_close(&model);
    return st;
}

static void sampling_repeats_with_its_seed_and_differs_with_another(void) {
    const struct speech_request request = {.text = "the cat", .language = "english"};
    tsr_speech_rules rules = speech_rules_greedy();
    struct speech speech[3] = {{0}};
    rules.temperature = rules.rest_temperature = 30; /* the logits of the fixtures are steep */
    for (int i = 0; i < 3; i++) {
        rules.seed = i == 2 ? 8 : 7;
        CU_ASSERT_EQUAL_FATAL(speak(FIXTURES "/a", &request, &rules, &speech[i], NULL), TSR_OK);
    }
    uint64_t bytes = speech[0].frames * 4 * sizeof(uint32_t);
    CU_ASSERT_TRUE(speech[0].frames > 1 && speech[0].frames == speech[1].frames);
    CU_ASSERT_EQUAL(memcmp(speech[0].codes, speech[1].codes, bytes), 0);
    CU_ASSERT_TRUE(speech[2].frames != speech[0].frames || memcmp(speech[0].codes, speech[2].codes, bytes));
    for (int i = 0; i < 3; i++) speech_clear(&speech[i]);
}

/* top-k 1 leaves only the best, whatever the temperature. */
static void sampling_from_one_candidate_is_greedy(void) {
    const struct speech_request request = {.text = "the cat", .speaker = "TINY"};
    tsr_speech_rules greedy = speech_rules_greedy(), one = greedy, narrow = greedy;
    struct speech speech[3] = {{0}};
    one.temperature = one.rest_temperature = narrow.temperature = narrow.rest_temperature = 30;
    one.top_k = one.rest_top_k = 1;
    narrow.top_p = narrow.rest_top_p = 1e-9;
    CU_ASSERT_EQUAL_FATAL(speak(FIXTURES "/a", &request, &greedy, &speech[0], NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(speak(FIXTURES "/a", &request, &one, &speech[1], NULL), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(speak(FIXTURES "/a", &request, &narrow, &speech[2], NULL), TSR_OK);
    for (int i = 1; i < 3; i++) {
        CU_ASSERT_EQUAL_FATAL(speech[i].frames, speech[0].frames);
        CU_ASSERT_EQUAL(memcmp(speech[0].codes, speech[i].codes, speech[0].frames * 4 * sizeof(uint32_t)), 0);
    }
    for (int i = 0; i < 3; i++) speech_clear(&speech[i]);
}

static void codes_out_of_range_are_an_error(void) {
    struct open_model model;
    void *decoder = NULL;
    float samples[1920];
    const uint32_t codes[] = {0, 1, 64, 2};
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(model_open(FIXTURES "/a", registry, &PATHS, &env, &model, NULL), TSR_OK);
    const tsr_speech *table = speech_table(&model);
    CU_ASSERT_EQUAL_FATAL(table->decoder_create(model.self, 0, 0, NULL, &decoder, NULL), TSR_OK);
    CU_ASSERT_EQUAL(table->decoder_push(model.self, decoder, codes, 1, samples, &err), TSR_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "64 is outside of 0..63"));
    table->decoder_destroy(model.self, decoder);
    model_close(&model);
}

static const struct unit_test TESTS[] = {
    {"samples_do_not_depend_on_pieces_or_workers", samples_do_not_depend_on_pieces_or_workers},
    {"sampling_repeats_with_its_seed_and_differs_with_another", sampling_repeats_with_its_seed_and_differs_with_another},
    {"sampling_from_one_candidate_is_greedy", sampling_from_one_candidate_is_greedy},
    {"codes_out_of_range_are_an_error", codes_out_of_range_are_an_error},
    {"fixture_a_matches_its_golden_values_twice", fixture_a_matches_its_golden_values_twice},
    {"fixture_b_matches_its_golden_values_twice", fixture_b_matches_its_golden_values_twice},
};

int main(void) {
    int result = unit_plugins(&env, &registry) ? unit_run(__FILE__, TESTS, sizeof TESTS / sizeof TESTS[0]) : 1;
    registry_destroy(registry);
    pool_destroy(env.pool);
    return result;
}
