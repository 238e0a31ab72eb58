/* SPDX-License-Identifier: Apache-2.0
 *
 * Strict JSON: what is refused and where the message points, and what text comes out. */
#include "unit.h"

#include <base/alloc.h>
#include <format/json.h>
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

static const struct unit_test TESTS[] = {
    {"what_is_not_strict_is_refused_with_its_place", what_is_not_strict_is_refused_with_its_place},
    {"a_nul_behind_the_text_is_refused", a_nul_behind_the_text_is_refused},
    {"text_comes_out_in_the_order_of_insertion", text_comes_out_in_the_order_of_insertion},
};
UNIT_MAIN(TESTS)
