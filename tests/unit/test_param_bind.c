/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters: what is accepted, what is refused with which words, and that stored text reads back as the same values.
 */
#include "unit.h"

#include <float.h>
#include <math.h>
#include <plugin/param_bind.h>
#include <plugin/param_text.h>
#include <string.h>

static const char *const LEVELS[] = {"fast", "default", "max", NULL};
static const tsr_param PARAMS[] = {
    {sizeof(tsr_param), "bits", "bits a weight", "4", NULL, 1, 16, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "step", "relative step", "0.1", NULL, 0, 1e6, TSR_PARAM_REAL, 0},
    {sizeof(tsr_param), "centroids", "refine", "true", NULL, 0, 0, TSR_PARAM_BOOL, 0},
    {sizeof(tsr_param), "level", "effort", "default", LEVELS, 0, 0, TSR_PARAM_CHOICE, 0},
    {sizeof(tsr_param), "ladder", "sizes", "[256, 256]", NULL, -5, 4096, TSR_PARAM_INTS, 0},
};
static const tsr_codec CODEC = {.struct_size = sizeof CODEC, .name = "fake", .params = PARAMS, .param_count = 5};

static void defaults_are_written_out(void) {
    struct arena arena = {0};
    struct param_set set = {0};
    CU_ASSERT_EQUAL(param_bind(&CODEC, NULL, 0, &arena, &set, NULL), TSR_OK);
    CU_ASSERT_STRING_EQUAL(set.canonical, "bits=4 step=0.1 centroids=true level=default ladder=[256,256]");
    CU_ASSERT_EQUAL(set.values[0].integer, 4);
    CU_ASSERT_EQUAL(set.values[1].real, 0.1);
    CU_ASSERT_EQUAL(set.values[2].integer, 1);
    CU_ASSERT_EQUAL(set.values[3].integer, 1);
    CU_ASSERT_STRING_EQUAL(set.values[3].text, "default");
    CU_ASSERT_EQUAL(set.values[4].count, 2);
    CU_ASSERT_EQUAL(set.values[4].list[1], 256);
    arena_clear(&arena);
}

static void given_values_take_effect_in_any_order(void) {
    struct arena arena = {0};
    struct param_set set = {0};
    const struct param_given given[] = {{"ladder", "[-5,16 , 3]"}, {"level", "max"}, {"bits", "16"}, {"step", "1e-3"}};
    CU_ASSERT_EQUAL(param_bind(&CODEC, given, 4, &arena, &set, NULL), TSR_OK);
    CU_ASSERT_STRING_EQUAL(set.canonical, "bits=16 step=0.001 centroids=true level=max ladder=[-5,16,3]");
    arena_clear(&arena);
}

struct refusal {
    const char *name, *text, *words;
};

/* Each wrong text is refused, and the message holds the words. */
static void wrong_texts_are_refused_by_name(void) {
    static const struct refusal REFUSALS[] = {
        {"bitz", "4", "did you mean \"bits\"?"},
        {"quality", "4", "no parameter \"quality\""},
        {"bits", "0", "0 is outside 1..16"},
        {"bits", "17", "17 is outside 1..16"},
        {"bits", "99999999999999999999", "outside 1..16"},
        {"bits", "4.0", "expected an integer"},
        {"bits", "04", "expected an integer"},
        {"bits", "+4", "expected an integer"},
        {"bits", " 4", "expected an integer"},
        {"bits", "4 ", "expected an integer"},
        {"bits", "", "expected an integer"},
        {"bits", "4x4", "expected an integer"},
        {"step", "nan", "expected a number"},
        {"step", "inf", "expected a number"},
        {"step", "1e999", "outside 0..1000000"},
        {"step", "-1", "outside 0..1000000"},
        {"step", ".5", "expected a number"},
        {"step", "5.", "expected a number"},
        {"step", "5e", "expected a number"},
        {"step", "0x1p3", "expected a number"},
        {"step", "1,5", "expected a number"},
        {"centroids", "yes", "expected true or false"},
        {"centroids", "True", "expected true or false"},
        {"level", "fastt", "did you mean \"fast\"?"},
        {"level", "2", "one of fast, default, max"},
        {"ladder", "", "expected integers like [1, 2]"},
        {"ladder", "256", "expected integers like [1, 2]"},
        {"ladder", "[256", "expected integers like [1, 2]"},
        {"ladder", "[256,]", "expected integers like [1, 2]"},
        {"ladder", "[256 256]", "expected integers like [1, 2]"},
        {"ladder", "[256] ", "expected integers like [1, 2]"},
        {"ladder", "[4097]", "outside -5..4096"},
        {"ladder", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "at most 16 integers"},
    };
    for (unsigned i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
        struct param_given given = {REFUSALS[i].name, REFUSALS[i].text};
        tsr_error err = {0};
        CU_ASSERT_EQUAL(param_check_given(&CODEC, &given, &err), TSR_E_CONFIG);
        if (!strstr(err.message, REFUSALS[i].words)) printf("  %s=%s: %s\n", given.name, given.text, err.message);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, REFUSALS[i].words));
    }
}

static void a_name_given_twice_is_an_error(void) {
    struct arena arena = {0};
    struct param_set set = {0};
    tsr_error err = {0};
    const struct param_given given[] = {{"bits", "3"}, {"bits", "3"}};
    CU_ASSERT_EQUAL(param_bind(&CODEC, given, 2, &arena, &set, &err), TSR_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(err.message, "parameter \"bits\" is given twice");
    arena_clear(&arena);
}

static void reals_read_back_exactly(void) {
    static const double VALUES[] = {0.1, 1.0 / 3, 1e300, 5e-324, 123456789.123456789, 2.2250738585072014e-308, 1, 0.3};
    for (unsigned i = 0; i < sizeof VALUES / sizeof *VALUES; i++) {
        char text[PARAM_REAL_TEXT];
        struct param_parsed parsed;
        tsr_param wide = {sizeof wide, "x", "", "0", NULL, -DBL_MAX, DBL_MAX, TSR_PARAM_REAL, 0};
        CU_ASSERT_EQUAL(param_text_parse(&wide, param_real_text(VALUES[i], text), &parsed, NULL), TSR_OK);
        CU_ASSERT_EQUAL(parsed.value.real, VALUES[i]);
    }
    char text[PARAM_REAL_TEXT];
    CU_ASSERT_STRING_EQUAL(param_real_text(0.1, text), "0.1");
}

static void stored_text_reads_back(void) {
    struct arena arena = {0};
    struct param_set set = {0}, again = {0};
    const struct param_given given[] = {{"step", "0.30000000000000004"}, {"ladder", "[]"}};
    CU_ASSERT_EQUAL(param_bind(&CODEC, given, 2, &arena, &set, NULL), TSR_OK);
    CU_ASSERT_EQUAL(param_parse(&CODEC, set.canonical, &arena, &again, NULL), TSR_OK);
    CU_ASSERT_STRING_EQUAL(again.canonical, set.canonical);
    CU_ASSERT_EQUAL(again.values[1].real, 0.30000000000000004);
    CU_ASSERT_EQUAL(again.values[4].count, 0);
    arena_clear(&arena);
}

static void gained_parameters_take_their_defaults(void) {
    struct arena arena = {0};
    struct param_set set = {0};
    CU_ASSERT_EQUAL(param_parse(&CODEC, "bits=2 step=0.5", &arena, &set, NULL), TSR_OK);
    CU_ASSERT_STRING_EQUAL(set.canonical, "bits=2 step=0.5 centroids=true level=default ladder=[256,256]");
    CU_ASSERT_EQUAL(param_parse(&CODEC, "", &arena, &set, NULL), TSR_OK);
    CU_ASSERT_STRING_EQUAL(set.canonical, "bits=4 step=0.1 centroids=true level=default ladder=[256,256]");
    arena_clear(&arena);
}

static void damaged_stored_text_is_corrupt(void) {
    static const char *const DAMAGED[] = {
        "bits=3 bits=3",
        "step=0.5 bits=3",
        "bits=3  step=0.5",
        "bits=3 ",
        "bits=03",
        "bits",
        "bits=",
        "bits=99",
        "bits=3 what=1",
        "bits=3 step=0.50",
        "bits=3 step=0.5 centroids=true level=max ladder=[1,2] more=1",
        "bits=3 step=0.5 centroids=true level=max ladder=[1, 2]",
    };
    for (unsigned i = 0; i < sizeof DAMAGED / sizeof *DAMAGED; i++) {
        struct arena arena = {0};
        struct param_set set = {0};
        CU_ASSERT_EQUAL(param_parse(&CODEC, DAMAGED[i], &arena, &set, NULL), TSR_E_CORRUPT);
        arena_clear(&arena);
    }
}

static void wrong_declarations_are_refused(void) {
    static const char *const SPACED[] = {"a b", NULL};
    const tsr_param wrong[] = {
        {sizeof(tsr_param), "Bits", "", "4", NULL, 1, 16, TSR_PARAM_INT, 0},
        {sizeof(tsr_param), NULL, "", "4", NULL, 1, 16, TSR_PARAM_INT, 0},
        {sizeof(tsr_param), "bits", NULL, "4", NULL, 1, 16, TSR_PARAM_INT, 0},
        {sizeof(tsr_param), "bits", "", "17", NULL, 1, 16, TSR_PARAM_INT, 0},
        {sizeof(tsr_param), "bits", "", "4", NULL, 16, 1, TSR_PARAM_INT, 0},
        {sizeof(tsr_param), "bits", "", "4", NULL, 1, INFINITY, TSR_PARAM_REAL, 0},
        {sizeof(tsr_param), "bits", "", "4", NULL, NAN, 9, TSR_PARAM_REAL, 0},
        {sizeof(tsr_param), "bits", "", "4", NULL, 1, 16, 9, 0},
        {sizeof(tsr_param), "bits", "", "a", NULL, 1, 16, TSR_PARAM_CHOICE, 0},
        {sizeof(tsr_param), "bits", "", "a b", SPACED, 1, 16, TSR_PARAM_CHOICE, 0},
        {sizeof(tsr_param) - 8, "bits", "", "4", NULL, 1, 16, TSR_PARAM_INT, 0},
    };
    CU_ASSERT_EQUAL(param_check_declared(&CODEC, NULL), TSR_OK);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        tsr_codec codec = {.struct_size = sizeof codec, .name = "fake", .params = &wrong[i], .param_count = 1};
        CU_ASSERT_EQUAL(param_check_declared(&codec, NULL), TSR_E_PLUGIN);
    }
    const tsr_param twice[] = {PARAMS[0], PARAMS[0]};
    tsr_codec codec = {.struct_size = sizeof codec, .name = "fake", .params = twice, .param_count = 2};
    CU_ASSERT_EQUAL(param_check_declared(&codec, NULL), TSR_E_PLUGIN);
}

static const struct unit_test TESTS[] = {
    {"defaults_are_written_out", defaults_are_written_out},
    {"given_values_take_effect_in_any_order", given_values_take_effect_in_any_order},
    {"wrong_texts_are_refused_by_name", wrong_texts_are_refused_by_name},
    {"a_name_given_twice_is_an_error", a_name_given_twice_is_an_error},
    {"reals_read_back_exactly", reals_read_back_exactly},
    {"stored_text_reads_back", stored_text_reads_back},
    {"gained_parameters_take_their_defaults", gained_parameters_take_their_defaults},
    {"damaged_stored_text_is_corrupt", damaged_stored_text_is_corrupt},
    {"wrong_declarations_are_refused", wrong_declarations_are_refused},
};
UNIT_MAIN(TESTS)
