/* SPDX-License-Identifier: Apache-2.0
 *
 * The YAML tree: positions are kept, and everything that is not plain data is one error at its place. */
#include "unit.h"

#include <base/alloc.h>
#include <format/yaml.h>
#include <string.h>

struct mistake {
    const char *text;
    const char *message; /* of the whole error */
};

static const struct mistake MISTAKES[] = {
    {"", "t.yaml:1:1: the file is empty, expected a document"},
    {"# nothing\n", "t.yaml:1:1: the file is empty, expected a document"},
    {"a: &x 1\n", "t.yaml:1:4: anchors are not allowed: &x"},
    {"a: &x [1]\n", "t.yaml:1:4: anchors are not allowed: &x"},
    {"a: 1\nb: *x\n", "t.yaml:2:4: aliases are not allowed: *x"},
    {"a: !!int 1\n", "t.yaml:1:4: tags are not allowed: tag:yaml.org,2002:int"},
    {"a: !mine {b: 1}\n", "t.yaml:1:4: tags are not allowed: !mine"},
    {"%TAG ! tag:x,2000:\n---\na: 1\n", "t.yaml:1:1: tags are not allowed: %TAG"},
    {"a: 1\n---\nb: 2\n", "t.yaml:2:1: a second document begins, expected one"},
    {"a: 1\nb: 2\na: 3\n", "t.yaml:3:1: key \"a\" is given twice, first in line 1"},
    {"b: {c: 1, d: 2, d: 3, c: 4}\n", "t.yaml:1:17: key \"d\" is given twice, first in line 1"},
    {"a: [1, 2\n", "t.yaml:2:1: YAML: did not find expected ',' or ']' while parsing a flow sequence that began at "
                   "line 1"},
    {"[a]: 1\n", "t.yaml:1:1: a key must be plain text, found a list"},
    {"{a: 1}: 1\n", "t.yaml:1:1: a key must be plain text, found a map"},
    {"\"\": 1\n", "t.yaml:1:1: a key is missing in front of the colon"},
    {"a: 1\n b: 2\n", "t.yaml:2:3: YAML: mapping values are not allowed in this context"},
    {"a: \"x\\0y\"\n", "t.yaml:1:4: text must not contain \\0"},
    {"a: 1\nb: \xC3\xA9\xFF\n", "t.yaml:2:5: the bytes here are not UTF-8"},
    {"a: \xED\xA0\x80\n", "t.yaml:1:4: the bytes here are not UTF-8"},
    {"a: 1\nb: \x01\n", "t.yaml:2:4: control characters are not allowed"},
};

static void each_mistake_is_one_error_at_its_place(void) {
    for (size_t i = 0; i < sizeof MISTAKES / sizeof MISTAKES[0]; i++) {
        struct arena arena = {0};
        struct yaml_node root;
        tsr_error err = {0};
        tsr_status st = yaml_parse(MISTAKES[i].text, strlen(MISTAKES[i].text), "t.yaml", &arena, &root, &err);
        if (st != TSR_E_CONFIG || strcmp(err.message, MISTAKES[i].message)) {
            printf("  mistake %zu: status %d, \"%s\"\n", i, (int)st, err.message);
            CU_FAIL("message");
        }
        arena_clear(&arena);
    }
}

static void positions_and_values_are_kept(void) {
    static const char text[] = "\xEF\xBB\xBFtessera: 1\nrules:\n  - {role: [attn_q, 'x y'], n: 4.5}\n  - b:\n";
    struct arena arena = {0};
    struct yaml_node root;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(yaml_parse(text, sizeof text - 1, "t", &arena, &root, &err), TSR_OK);
    const struct yaml_node *rules = yaml_get(&root, "rules");
    CU_ASSERT_PTR_NOT_NULL_FATAL(rules);
    CU_ASSERT_EQUAL(rules->kind, YAML_LIST);
    CU_ASSERT_EQUAL_FATAL(rules->count, 2);
    CU_ASSERT_EQUAL(rules->items[0].line, 3);
    CU_ASSERT_EQUAL(rules->items[0].column, 5);
    const struct yaml_node *role = yaml_get(&rules->items[0], "role");
    CU_ASSERT_PTR_NOT_NULL_FATAL(role);
    CU_ASSERT_EQUAL(role->column, 12);
    CU_ASSERT_STRING_EQUAL(role->items[1].text, "x y");
    CU_ASSERT_TRUE(role->items[1].quoted);
    CU_ASSERT_FALSE(role->items[0].quoted);
    CU_ASSERT_STRING_EQUAL(yaml_get(&rules->items[0], "n")->text, "4.5");
    CU_ASSERT_STRING_EQUAL(yaml_get(&rules->items[1], "b")->text, "");
    CU_ASSERT_PTR_NULL(yaml_get(&root, "rule"));
    CU_ASSERT_PTR_NULL(yaml_get(rules, "b"));
    arena_clear(&arena);
}

static tsr_status parse_nested(unsigned levels, const char *open, tsr_error *err) {
    static char text[100000];
    char *end = text;
    for (unsigned i = 0; i < levels; i++) end += sprintf(end, "%s", open);
    struct arena arena = {0};
    struct yaml_node root;
    for (unsigned i = 0; i < levels; i++) *end++ = *open == '[' ? ']' : '}';
    tsr_status st = yaml_parse(text, (size_t)(end - text), "t", &arena, &root, err);
    arena_clear(&arena);
    return st;
}

static void depth_is_limited(void) {
    tsr_error err = {0};
    CU_ASSERT_EQUAL(parse_nested(YAML_LEVELS_MAX, "[", &err), TSR_OK);
    CU_ASSERT_EQUAL(parse_nested(YAML_LEVELS_MAX + 1, "[", &err), TSR_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(err.message, "t:1:65: nested deeper than 64 levels");
    CU_ASSERT_EQUAL(parse_nested(20000, "{a: ", &err), TSR_E_CONFIG);
}

static void size_is_limited(void) {
    size_t size = YAML_BYTES_MAX + 1;
    char *text = mem_alloc(size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (size_t i = 0; i < size; i++) text[i] = i % 3 == 0 ? 'a' : i % 3 == 1 ? ',' : ' ';
    struct arena arena = {0};
    struct yaml_node root;
    tsr_error err = {0};
    CU_ASSERT_EQUAL(yaml_parse(text, size, "t", &arena, &root, &err), TSR_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(err.message, "t:1:1: the file is larger than 1 MiB, the limit of a YAML file");
    CU_ASSERT_EQUAL(yaml_parse(text, size - 1, "t", &arena, &root, &err), TSR_OK);
    arena_clear(&arena);
    mem_free(text);
}

static void many_keys_cost_no_square_of_time(void) {
    size_t size = 0;
    char *text = mem_alloc(YAML_BYTES_MAX);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (unsigned i = 0; i < 100000; i++) size += (size_t)sprintf(text + size, "k%u:\n", i);
    struct arena arena = {0};
    struct yaml_node root;
    tsr_error err = {0};
    CU_ASSERT_EQUAL(yaml_parse(text, size, "t", &arena, &root, &err), TSR_OK);
    CU_ASSERT_EQUAL(root.count, 100000);
    size += (size_t)sprintf(text + size, "k7:\n");
    CU_ASSERT_EQUAL(yaml_parse(text, size, "t", &arena, &root, &err), TSR_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(err.message, "t:100001:1: key \"k7\" is given twice, first in line 8");
    arena_clear(&arena);
    mem_free(text);
}

static tsr_status integer_of(const char *text, int64_t *value, tsr_error *err) {
    struct arena arena = {0};
    struct yaml_node root;
    tsr_status st = yaml_parse(text, strlen(text), "t", &arena, &root, err);
    if (!st) st = yaml_integer(yaml_get(&root, "a"), "a", -5, 100, "t", value, err);
    arena_clear(&arena);
    return st;
}

static void whole_numbers_are_strict(void) {
    static const char *const bad[] = {"a: '7'", "a: 1.5", "a: 0x10", "a: x", "a: 101", "a: -6", "a: [1]", "a:",
                                      "a: 99999999999999999999", "a: --1", "a: 1 2"};
    int64_t value = 0;
    tsr_error err = {0};
    CU_ASSERT_EQUAL(integer_of("a: -5", &value, &err), TSR_OK);
    CU_ASSERT_EQUAL(value, -5);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CU_ASSERT_EQUAL(integer_of(bad[i], &value, &err), TSR_E_CONFIG);
    }
    CU_ASSERT_EQUAL(integer_of("a: 101", &value, &err), TSR_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(err.message, "t:1:4: a: 101 is outside -5..100");
}

static const struct unit_test TESTS[] = {
    {"each_mistake_is_one_error_at_its_place", each_mistake_is_one_error_at_its_place},
    {"positions_and_values_are_kept", positions_and_values_are_kept},
    {"depth_is_limited", depth_is_limited},
    {"size_is_limited", size_is_limited},
    {"many_keys_cost_no_square_of_time", many_keys_cost_no_square_of_time},
    {"whole_numbers_are_strict", whole_numbers_are_strict},
};
UNIT_MAIN(TESTS)
