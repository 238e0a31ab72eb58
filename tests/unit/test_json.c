/* SPDX-License-Identifier: Apache-2.0
 *
 * Strict JSON: what is refused and where the message points, and what text comes out. */
#include "unit.h"

#include <base/alloc.h>
#include <base/rng.h>
#include <format/json.h>
#include <format/json_reader.h>
#include <string.h>

static const struct {
    const char *text, *message;
} REFUSED[] = {
    {"", "x.json:1:0: "},
    {"{\"a\":1,\n \"a\":2}", "x.json:2:4: duplicate object key"},
    {"{\"a\":1,\"\\u0061\":2}", "duplicate object key"},
    {"{} 1", "x.json:1:4: end of file expected"},
    {"[1,]", "x.json:1:4: "},
    {"{\n  'a': 1}", "x.json:2:"},
    {"[NaN]", "x.json:1:4: invalid token"},
    {"[-Infinity]", "invalid token"},
    {"[1e999]", "real number overflow"},
    {"[18446744073709551616]", "too big integer"},
    {"[01]", "x.json:1:"},
    {"[\"\xC3\"]", "unable to decode byte"},
    {"[\"\xED\xA0\x80\"]", "unable to decode byte"},
    {"[\"\\u0000\"]", "NUL"},
    {"[\"\\ud800\"]", "invalid Unicode"},
    {"// comment\n{}", "x.json:1:"},
};

static void what_is_not_strict_is_refused_with_its_place(void) {
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++) {
        json_t *value;
        tsr_error err = {0};
        tsr_status st = json_parse(REFUSED[i].text, strlen(REFUSED[i].text), "x.json", &value, &err);
        CU_ASSERT_EQUAL(st, TSR_E_INPUT);
        CU_ASSERT_PTR_NULL(value);
        if (!strstr(err.message, REFUSED[i].message) || strncmp(err.message, "x.json:", 7) != 0) {
            printf("  %s: \"%s\"\n", REFUSED[i].text, err.message);
            CU_FAIL("refused for another reason");
        }
    }
}

static void a_nul_behind_the_text_is_refused(void) {
    json_t *value;
    CU_ASSERT_EQUAL(json_parse("{}\0", 3, "x.json", &value, NULL), TSR_E_INPUT);
}

static void text_comes_out_in_the_order_of_insertion(void) {
    json_t *value;
    const char *text = "{\"z\":1,\"a\":[0.1,true,null],\"\xC3\xA9\":\"/\"}";
    CU_ASSERT_EQUAL_FATAL(json_parse(text, strlen(text), "x.json", &value, NULL), TSR_OK);
    char *out = json_to_text(value, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    CU_ASSERT_STRING_EQUAL(out, text);
    mem_free(out);
    out = json_to_text(json_object_get(value, "a"), 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    CU_ASSERT_STRING_EQUAL(out, "[\n  0.1,\n  true,\n  null\n]");
    mem_free(out);
    json_decref(value);
}

/* ---- piece by piece ---- */

static bool reads_as_the_tree(const char *text, size_t size) {
    struct json_reader reader = {.text = text, .size = size};
    json_t *value = NULL;
    bool is_text = json_next(&reader) == JSON_TEXT && json_next(&reader) == JSON_END;
    bool same = is_text == (json_parse(text, size, "x.json", &value, NULL) == TSR_OK);
    if (is_text && same) {
        same = reader.length == json_string_length(value) &&
               !memcmp(reader.value, json_string_value(value), reader.length);
    }
    if (!same) printf("  %.*s\n", (int)size, text);
    json_reader_clear(&reader);
    json_decref(value);
    return same;
}

static void texts_are_read_as_the_tree_has_them(void) {
    static const char *const PARTS[] = {
        "a",  "\\n", "\\u0041", "\\u00e9", "\\ud83d\\ude00", "\\ud83d", "\\u0000", "\\\\", "\xC3\xA9", "\xC3",
        "\t", "\\x", "\\\"",    "\\/",     "\\u12",          "\"",      "\\udE00", "\x7F", " ",        "\xE2\x96\x81"};
    struct rng rng = {11};
    for (int i = 0; i < 20000; i++) {
        char text[128] = "\"";
        for (uint64_t parts = rng_next(&rng) % 6; parts; parts--) strcat(text, PARTS[rng_next(&rng) % 20]);
        strcat(text, "\"");
        CU_ASSERT_FATAL(reads_as_the_tree(text, strlen(text)));
    }
}

static void a_value_is_found_behind_others(void) {
    static const char TEXT[] = "{\"x\":{\"b\":1},\"\\u0061\":{\"c\":[\"}\",{}],\"b\": [1,\"]\"] },\"b\":2}";
    static const char *const PATH[] = {"a", "b", NULL}, *const ABSENT[] = {"a", "d", NULL},
                             *const DEEP[] = {"b", "b", NULL};
    struct json_span span;
    CU_ASSERT_FATAL(json_find(TEXT, strlen(TEXT), PATH, &span));
    CU_ASSERT_EQUAL(span.end - span.start, strlen(" [1,\"]\"]"));
    CU_ASSERT(!memcmp(TEXT + span.start, " [1,\"]\"]", span.end - span.start));
    CU_ASSERT_FALSE(json_find(TEXT, strlen(TEXT), ABSENT, &span));
    CU_ASSERT_FALSE(json_find(TEXT, strlen(TEXT), DEEP, &span));
    for (size_t size = 0; size < strlen("{\"x\":{\"b\":1},\"\\u0061\":{\"c\":[\"}\",{}],\"b\": [1,\"]\"]"); size++) {
        CU_ASSERT_FALSE(json_find(TEXT, size, PATH, &span));
    }
}

static void whole_numbers_are_told_from_others(void) {
    static const struct {
        const char *text;
        int piece;
        int64_t number;
    } WORDS[] = {{"0", JSON_WHOLE, 0},
                 {"-7", JSON_WHOLE, -7},
                 {"123456789012345678", JSON_WHOLE, 123456789012345678},
                 {"1234567890123456789", JSON_OTHER, 0},
                 {"01", JSON_OTHER, 0},
                 {"1.0", JSON_OTHER, 0},
                 {"1e3", JSON_OTHER, 0},
                 {"-", JSON_OTHER, 0},
                 {"true", JSON_OTHER, 0},
                 {"'", JSON_BAD, 0},
                 {"  ", JSON_END, 0},
                 {"}", '}', 0}};
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        struct json_reader reader = {.text = WORDS[i].text, .size = strlen(WORDS[i].text)};
        CU_ASSERT_EQUAL(json_next(&reader), WORDS[i].piece);
        if (WORDS[i].piece == JSON_WHOLE) CU_ASSERT_EQUAL(reader.number, WORDS[i].number);
        json_reader_clear(&reader);
    }
}

static const struct unit_test TESTS[] = {
    {"what_is_not_strict_is_refused_with_its_place", what_is_not_strict_is_refused_with_its_place},
    {"a_nul_behind_the_text_is_refused", a_nul_behind_the_text_is_refused},
    {"text_comes_out_in_the_order_of_insertion", text_comes_out_in_the_order_of_insertion},
    {"texts_are_read_as_the_tree_has_them", texts_are_read_as_the_tree_has_them},
    {"a_value_is_found_behind_others", a_value_is_found_behind_others},
    {"whole_numbers_are_told_from_others", whole_numbers_are_told_from_others},
};
UNIT_MAIN(TESTS)
