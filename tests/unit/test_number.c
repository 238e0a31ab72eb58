/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers of files in a locale with a decimal comma, which is made for the test: parameters, YAML, JSON and numbers
 * themselves read and print a point. */
#define _XOPEN_SOURCE 700
#include "comma.h"
#include "unit.h"

#include <base/arena.h>
#include <base/number.h>
#include <format/document.h>
#include <format/yaml.h>
#include <math.h>
#include <plugin/param_text.h>
#include <string.h>

static void numbers_have_a_point_in_a_locale_with_a_comma(void) {
    char text[NUMBER_TEXT], *end = NULL;
    CU_ASSERT_EQUAL(number_read("0.25x", &end), 0.25);
    CU_ASSERT_STRING_EQUAL(end, "x");
    CU_ASSERT_STRING_EQUAL(number_text(0.1, text), "0.1");
    CU_ASSERT_STRING_EQUAL(number_text(1.0 / 3, text), "0.3333333333333333");
    CU_ASSERT_EQUAL(number_read(text, NULL), 1.0 / 3);
    (void)snprintf(text, sizeof text, "%.1f", 0.5);
    CU_ASSERT_STRING_EQUAL(text, "0,5"); /* the caller's locale is as it was */
}

static void parameters_have_a_point(void) {
    char text[PARAM_REAL_TEXT];
    CU_ASSERT_STRING_EQUAL(param_real_text(2.5, text), "2.5");
}

static void yaml_has_a_point(void) {
    struct arena arena = {0};
    struct yaml_node node;
    double value = 0;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(yaml_parse("2.75", 4, "c.yaml", &arena, &node, &err), TSR_OK);
    CU_ASSERT_EQUAL(yaml_real(&node, "bits", 0, 8, "c.yaml", &value, &err), TSR_OK);
    CU_ASSERT_EQUAL(value, 2.75);
    arena_clear(&arena);
}

static void documents_have_a_point(void) {
    static const char JSON[] = "{\"a\": 1.5}", YAML[] = "a: 1.5\n";
    struct arena arena = {0};
    tsr_node json, yaml;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(document_from_json(JSON, sizeof JSON - 1, "c.json", &arena, &json, &err), TSR_OK);
    CU_ASSERT_EQUAL_FATAL(document_from_yaml(YAML, sizeof YAML - 1, "c.yaml", &arena, &yaml, &err), TSR_OK);
    CU_ASSERT(json.children[0].kind == TSR_NODE_NUMBER && json.children[0].number == 1.5);
    CU_ASSERT_STRING_EQUAL(json.children[0].text, "1.5");
    CU_ASSERT(yaml.children[0].kind == TSR_NODE_NUMBER && yaml.children[0].number == 1.5);
    arena_clear(&arena);
}

static const struct unit_test TESTS[] = {
    {"numbers_have_a_point_in_a_locale_with_a_comma", numbers_have_a_point_in_a_locale_with_a_comma},
    {"parameters_have_a_point", parameters_have_a_point},
    {"yaml_has_a_point", yaml_has_a_point},
    {"documents_have_a_point", documents_have_a_point},
};

int main(void) {
    if (!comma_begin()) {
        for (size_t i = 0; i < sizeof TESTS / sizeof TESTS[0]; i++) {
            printf("skip - %s: no locale with a comma could be made (localedef)\n", TESTS[i].name);
        }
        comma_end();
        return 0;
    }
    int result = unit_run(__FILE__, TESTS, sizeof TESTS / sizeof TESTS[0]);
    comma_end();
    return result;
}
