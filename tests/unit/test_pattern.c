/* SPDX-License-Identifier: Apache-2.0
 *
 * Patterns: what matches, which number {layer} takes, which patterns are refused, and that none can take long. */
#include "unit.h"

#include <policy/pattern.h>
#include <string.h>

struct match_case {
    const char *pattern, *name;
    bool matches;
    int64_t layer;
};

static const struct match_case MATCHES[] = {
    {"model.norm.weight", "model.norm.weight", true, -1},
    {"model.norm.weight", "model.norm.weigh", false, -1},
    {"model.norm.weight", "model.norm.weights", false, -1},
    {"model.norm.weight", "modelxnorm.weight", false, -1},
    {"*", "", true, -1},
    {"*", "a.b.c", true, -1},
    {"*.weight", "a.b.weight", true, -1},
    {"*.weight", ".weight", true, -1},
    {"*.weight", "weight", false, -1},
    {"*.weight", "a.weight.weight", true, -1},
    {"a*b*c", "abbc", true, -1},
    {"a*b*c", "acb", false, -1},
    {"a**c", "abc", true, -1},
    {"*ab*ab", "abab", true, -1},
    {"*ab*ab", "ab", false, -1},
    {"*aab", "aaab", true, -1},
    {"layers.{layer}.q", "layers.0.q", true, 0},
    {"layers.{layer}.q", "layers.127.q", true, 127},
    {"layers.{layer}.q", "layers.007.q", true, 7},
    {"layers.{layer}.q", "layers..q", false, -1},
    {"layers.{layer}.q", "layers.x.q", false, -1},
    {"layers.{layer}.q", "layers.1.2.q", false, -1},
    {"layers.{layer}.q", "layers.-1.q", false, -1},
    {"layers.{layer}", "layers.999999999999999999", true, 999999999999999999},
    {"layers.{layer}", "layers.1000000000000000000", false, -1},
    {"layers.{layer}.experts.{expert}.w1", "layers.3.experts.64.w1", true, 3},
    {"block.{block}.q", "block.5.q", true, -1},
    {"*.{layer}.q", "h.1.2.q", true, 2},
    {"*{layer}*", "a12b7", true, 12},
    {"*{layer}", "a12b7", true, 7},
    {"{layer}0", "100", false, -1}, /* a capture is a whole run of digits */
    {"{layer}", "42", true, 42},
    {"a?[b]", "a?[b]", true, -1}, /* only the star and braces are special */
    {"a?[b]", "axb", false, -1},
    {"*.\xc3\xa9.{layer}", "x.\xc3\xa9.4", true, 4},
    {"re:model\\.(norm|ln)\\.weight", "model.ln.weight", true, -1},
    {"re:norm", "model.norm", false, -1}, /* anchored in front */
    {"re:model", "model.norm", false, -1}, /* and behind */
    {"re:a|ab", "ab", true, -1},
    {"re:h\\.(?<layer>\\d+)\\.q", "h.12.q", true, 12},
    {"re:h\\.(\\d+)\\.q", "h.12.q", true, -1},
    {"re:h\\.(?<layer>\\w+)\\.q", "h.x.q", true, -1},
    {"re:h(?<layer>\\d+)?\\.q", "h.q", true, -1},
    {"re:h(?<layer>\\d+)", "h12345678901234567890", true, -1},
    {"re:.\\.w", "\xc3\xa9.w", true, -1}, /* characters, not bytes */
};

static void names_match_as_documented(void) {
    for (unsigned i = 0; i < sizeof MATCHES / sizeof MATCHES[0]; i++) {
        const struct match_case *at = &MATCHES[i];
        bool matches = !at->matches;
        int64_t layer = -2;
        tsr_error err = {0};
        tsr_status st = pattern_match(at->pattern, at->name, &matches, &layer, &err);
        if (st != TSR_OK || matches != at->matches || layer != at->layer) {
            printf("  %s on %s: status %d %s, matches %d, layer %lld\n", at->pattern, at->name, (int)st, err.message,
                   matches, (long long)layer);
            CU_FAIL("match differs");
        }
    }
}

struct bad_case {
    const char *pattern, *message; /* a part of it */
};

static const struct bad_case BAD[] = {
    {"", "pattern \"\": empty"},
    {"re:", "pattern \"re:\": empty"},
    {"layers.{}", "expected a name and \"}\""},
    {"layers.{layer", "expected a name and \"}\""},
    {"layers.{la-yer}", "expected a name and \"}\""},
    {"layers.layer}", "\"}\" without \"{\""},
    {"{i}.{i}", "one capture name twice"},
    {"a{i}{j}", "side by side"},
    {"re:a(b", "pattern \"re:a(b\": character 7: missing closing parenthesis"},
    {"re:[z-a]", "range out of order"},
    {"re:a{2,1}", "numbers out of order"},
    {"re:\\C", "using \\C is disabled"},
    {"re:((((((a{100}){100}){100}){100}){100}){100})", "too large"},
};

static void bad_patterns_are_refused_with_the_reason(void) {
    for (unsigned i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        bool matches = true;
        tsr_error err = {0};
        CU_ASSERT_EQUAL(pattern_match(BAD[i].pattern, "a", &matches, NULL, &err), TSR_E_CONFIG);
        CU_ASSERT_FALSE(matches);
        if (!strstr(err.message, BAD[i].message)) {
            printf("  %s: %s\n", BAD[i].pattern, err.message);
            CU_FAIL("message differs");
        }
    }
}

static void a_long_pattern_is_refused(void) {
    static char text[1100];
    bool matches;
    tsr_error err = {0};
    memset(text, 'a', sizeof text - 1);
    CU_ASSERT_EQUAL(pattern_match(text, "a", &matches, NULL, &err), TSR_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "1099 bytes, expected at most 1024"));
    text[1024] = '\0';
    CU_ASSERT_EQUAL(pattern_match(text, text, &matches, NULL, &err), TSR_OK);
    CU_ASSERT_TRUE(matches);
}

/* Without limits this takes 2^40 steps. */
static void an_exploding_expression_gives_up(void) {
    bool matches = true;
    tsr_error err = {0};
    CU_ASSERT_EQUAL(pattern_match("re:(a|a)*\\d", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &matches, NULL, &err),
                    TSR_E_CONFIG);
    CU_ASSERT_FALSE(matches);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "gives up on \"aaa"));
}

static void an_expression_gives_up_on_a_name_that_is_not_utf8(void) {
    bool matches = true;
    tsr_error err = {0};
    CU_ASSERT_EQUAL(pattern_match("re:.*w", "\xff.w", &matches, NULL, &err), TSR_E_CONFIG);
    CU_ASSERT_FALSE(matches);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "UTF-8 error"));
}

static void a_glob_of_many_stars_is_quick(void) {
    static char pattern[1000], name[20000];
    for (unsigned i = 0; i + 1 < sizeof pattern; i++) pattern[i] = i % 2 ? '*' : 'a';
    memset(name, 'a', sizeof name - 1);
    pattern[sizeof pattern - 2] = 'b';
    bool matches = true;
    CU_ASSERT_EQUAL(pattern_match(pattern, name, &matches, NULL, NULL), TSR_OK);
    CU_ASSERT_FALSE(matches);
}

static void a_compiled_pattern_is_used_again(void) {
    struct arena arena = {0};
    struct pattern *pattern = NULL;
    CU_ASSERT_EQUAL_FATAL(pattern_compile("re:h\\.(?<layer>\\d)", &arena, &pattern, NULL), TSR_OK);
    CU_ASSERT_STRING_EQUAL(pattern_text(pattern), "re:h\\.(?<layer>\\d)");
    for (int i = 0; i < 10; i++) {
        char name[16];
        bool matches = false;
        int64_t layer = -1;
        snprintf(name, sizeof name, "h.%d", i);
        CU_ASSERT_EQUAL(pattern_apply(pattern, name, &matches, &layer, NULL), TSR_OK);
        CU_ASSERT_EQUAL(layer, i);
    }
    arena_clear(&arena);
}

static const struct unit_test TESTS[] = {
    {"names_match_as_documented", names_match_as_documented},
    {"bad_patterns_are_refused_with_the_reason", bad_patterns_are_refused_with_the_reason},
    {"a_long_pattern_is_refused", a_long_pattern_is_refused},
    {"an_exploding_expression_gives_up", an_exploding_expression_gives_up},
    {"an_expression_gives_up_on_a_name_that_is_not_utf8", an_expression_gives_up_on_a_name_that_is_not_utf8},
    {"a_glob_of_many_stars_is_quick", a_glob_of_many_stars_is_quick},
    {"a_compiled_pattern_is_used_again", a_compiled_pattern_is_used_again},
};
UNIT_MAIN(TESTS)
