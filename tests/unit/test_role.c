/* SPDX-License-Identifier: Apache-2.0
 *
 * Roles: every name of every family gets what tests/data/names says (format: README.md there), and every mistake in a
 * role file is named with its place. Run from the root of the repository. */
#include "unit.h"

#include <base/fs.h>
#include <base/str.h>
#include <inttypes.h>
#include <policy/role_set.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_FOLDER "tests/data/names"
#define RANGES_MAX 4

static const char *const FOLDERS[] = {"roles"};

static int warnings;

static void count_warning(void *ctx, int32_t level, const char *text) {
    (void)ctx;
    (void)text;
    if (level == TSR_LOG_WARNING) warnings++;
}

static const struct env ENV = {.log = count_warning};

/* ---- names of real checkpoints ---- */

struct name_line {
    char name[256], shape_text[64], role[32], regime[16], view[16], component[32];
    unsigned stride;
    uint64_t shape[TSR_RANK_MAX], rank;
};

struct range {
    const char *begin, *end; /* the text {a-b} in the template */
    unsigned first, last, value;
    bool is_layer;
};

struct family {
    struct arena arena;
    struct role_set *set;
    char model[128];
    bool used[512]; /* rules */
    unsigned expected_count, count, wrong;
};

static uint64_t parse_ranges(const char *template, struct range ranges[RANGES_MAX]) {
    uint64_t count = 0;
    for (const char *at = strchr(template, '{'); at; at = strchr(at + 1, '{')) {
        CU_ASSERT_FATAL(count < RANGES_MAX);
        struct range *range = &ranges[count++];
        const char *numbers = at + 1 + (at[1] == 'L');
        CU_ASSERT_EQUAL_FATAL(sscanf(numbers, "%u-%u", &range->first, &range->last), 2);
        range->begin = at;
        range->end = strchr(at, '}') + 1;
        range->value = range->first;
        range->is_layer = at[1] == 'L';
    }
    return count;
}

/* Next combination, the last range fastest. */
static bool advance(struct range *ranges, uint64_t count) {
    for (uint64_t i = count; i-- > 0;) {
        if (ranges[i].value < ranges[i].last) {
            ranges[i].value++;
            return true;
        }
        ranges[i].value = ranges[i].first;
    }
    return false;
}

static int64_t expand(const char *template, const struct range *ranges, uint64_t count, char name[512]) {
    const char *at = template;
    size_t length = 0;
    int64_t layer = -1;
    for (uint64_t i = 0; i < count; i++) {
        length += (size_t)snprintf(name + length, 512 - length, "%.*s%u", (int)(ranges[i].begin - at), at,
                                   ranges[i].value);
        at = ranges[i].end;
        if (ranges[i].is_layer) layer = ranges[i].value;
    }
    snprintf(name + length, 512 - length, "%s", at);
    return layer;
}

static void parse_shape(struct name_line *line) {
    line->rank = 0;
    for (char *at = line->shape_text; *at && *at != '-';) {
        line->shape[line->rank++] = strtoull(at, &at, 10);
        if (*at == ',') at++;
    }
}

static bool is_expected(const struct name_line *line, int64_t layer, const struct role_assignment *got) {
    static const char *const VIEWS[] = {"rows", "last", "transposed"};
    const char *component = strcmp(line->component, "-") ? line->component : "";
    return !strcmp(got->role, line->role) && !strcmp(regime_name(got->regime), line->regime) &&
           got->stride == line->stride && !strcmp(VIEWS[got->view], line->view) &&
           !strcmp(got->component, component) && got->layer == layer;
}

static void mark_used(struct family *family, uint32_t line) {
    for (uint64_t i = 0; i < family->set->rule_count; i++) {
        if (family->set->rules[i].line == line) family->used[i] = true;
    }
}

static void check_line(struct family *family, struct name_line *line) {
    struct range ranges[RANGES_MAX];
    uint64_t range_count = parse_ranges(line->name, ranges);
    parse_shape(line);
    do {
        char name[512];
        struct role_assignment got;
        tsr_error err = {0};
        int64_t layer = expand(line->name, ranges, range_count, name);
        tsr_status st = role_assign(family->set, name, line->rank, line->shape, &got, &err);
        family->count++;
        if (st == TSR_OK) mark_used(family, got.line);
        if (st == TSR_OK && is_expected(line, layer, &got)) continue;
        if (family->wrong++ < 5) {
            printf("  %s: %s: got %s %s %u view %d layer %" PRId64 " component \"%s\" %s\n", family->model, name,
                   got.role, regime_name(got.regime), (unsigned)got.stride, (int)got.view, got.layer, got.component,
                   err.message);
        }
    } while (advance(ranges, range_count));
}

static void end_model(const struct family *family) {
    if (family->count == family->expected_count) return;
    printf("  %s: %u names, expected %u\n", family->model, family->count, family->expected_count);
    CU_FAIL("count of names differs");
}

static void begin_model(struct family *family, const char *name, const char *text) {
    char type[64];
    int at = 0;
    CU_ASSERT_EQUAL_FATAL(sscanf(text, "model %63s %u %n", type, &family->expected_count, &at), 2);
    snprintf(family->model, sizeof family->model, "%s: %s", name, text + at);
    family->count = 0;
    struct role_set *set = NULL;
    tsr_error err = {0};
    warnings = 0;
    tsr_status st = role_find("auto", strcmp(type, "-") ? type : NULL, FOLDERS, 1, &ENV, &family->arena, &set, &err);
    if (st) printf("  %s\n", err.message);
    CU_ASSERT_EQUAL_FATAL(st, TSR_OK);
    CU_ASSERT_STRING_EQUAL(role_set_name(set), name);
    CU_ASSERT_EQUAL(warnings, !strcmp(name, "generic"));
    if (!family->set) family->set = set;
}

/* Rules that no name of the family uses are not tested, or hidden behind others. */
static void check_all_used(const struct family *family) {
    for (uint64_t i = 0; i < family->set->rule_count; i++) {
        if (family->used[i]) continue;
        printf("  %s:%u: no name uses \"%s\"\n", family->set->path, (unsigned)family->set->rules[i].line,
               pattern_text(family->set->rules[i].pattern));
        CU_FAIL("a rule without a name");
    }
}

static void check_family(const char *name) {
    struct family family = {0};
    char path[256], *text = NULL, *rest = NULL;
    uint64_t size = 0;
    snprintf(path, sizeof path, NAMES_FOLDER "/%s.txt", name);
    CU_ASSERT_EQUAL_FATAL(fs_read_whole(path, 1 << 20, &text, &size, NULL), TSR_OK);
    for (char *at = strtok_r(text, "\n", &rest); at; at = strtok_r(NULL, "\n", &rest)) {
        struct name_line line;
        if (*at == '#') continue;
        if (text_starts_with(at, "model ")) {
            if (family.set) end_model(&family);
            begin_model(&family, name, at);
            continue;
        }
        int fields = sscanf(at, "%255s %63s %31s %15s %u %15s %31s", line.name, line.shape_text, line.role, line.regime,
                            &line.stride, line.view, line.component);
        CU_ASSERT_EQUAL_FATAL(fields, 7);
        check_line(&family, &line);
    }
    end_model(&family);
    CU_ASSERT_EQUAL(family.wrong, 0);
    check_all_used(&family);
    free(text);
    arena_clear(&family.arena);
}

static void every_name_of_every_family_gets_its_role(void) {
    struct fs_list list = {0};
    CU_ASSERT_EQUAL_FATAL(fs_list("roles", false, &list, NULL), TSR_OK);
    CU_ASSERT_TRUE(list.count >= 36);
    for (uint64_t i = 0; i < list.count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", list.names[i]);
        *strstr(name, ".yaml") = '\0';
        check_family(name);
    }
    fs_list_clear(&list);
}

/* ---- single questions ---- */

#define HEAD "tessera_roles: 1\nfamily: f\nmodel_types: [f]\n"

static struct role_assignment ask(const char *rules, const char *name, uint64_t rank, const uint64_t *shape,
                                  tsr_error *err) {
    struct arena arena = {0};
    struct role_set *set = NULL;
    struct role_assignment got = {0};
    char text[2048];
    snprintf(text, sizeof text, HEAD "%s", rules);
    *err = (tsr_error){0};
    if (role_parse(text, strlen(text), "f.yaml", &arena, &set, err) == TSR_OK) {
        (void)role_assign(set, name, rank, shape, &got, err);
    }
    got.file = got.component = NULL; /* the arena's */
    arena_clear(&arena);
    return got;
}

static void the_first_rule_wins(void) {
    tsr_error err;
    const uint64_t shape[] = {8, 16};
    const char *rules = "rules:\n  - {match: 'a.q', role: attn_q}\n  - {match: 'a.*', role: router}\n";
    CU_ASSERT_STRING_EQUAL(ask(rules, "a.q", 2, shape, &err).role, "attn_q");
    CU_ASSERT_EQUAL(ask(rules, "a.q", 2, shape, &err).line, 5);
    CU_ASSERT_STRING_EQUAL(ask(rules, "a.k", 2, shape, &err).role, "router");
}

static void what_no_rule_matches_is_unknown_and_exact(void) {
    tsr_error err;
    struct role_assignment got = ask("rules: [{match: 'a', role: attn_q}]\n", "b", 0, NULL, &err);
    CU_ASSERT_STRING_EQUAL(got.role, "unknown");
    CU_ASSERT_EQUAL(got.regime, TSR_REGIME_EXACT);
    CU_ASSERT_EQUAL(got.layer, -1);
    CU_ASSERT_EQUAL(got.line, 0);
}

static void prefixes_are_tried_in_order(void) {
    tsr_error err;
    const char *rules = "prefixes: ['model.', '']\nrules: [{match: 'h.{layer}', role: attn_q}]\n";
    CU_ASSERT_EQUAL(ask(rules, "model.h.3", 0, NULL, &err).layer, 3);
    CU_ASSERT_EQUAL(ask(rules, "h.4", 0, NULL, &err).layer, 4);
    CU_ASSERT_STRING_EQUAL(ask(rules, "x.h.4", 0, NULL, &err).role, "unknown");
    CU_ASSERT_STRING_EQUAL(ask(rules, "model.model.h.4", 0, NULL, &err).role, "unknown");
}

static void a_rule_overrides_what_its_role_means(void) {
    tsr_error err;
    const uint64_t shape[] = {8, 16};
    const char *rules = "rules: [{match: 'a', role: conv, regime: argmax, stride: 7, view: last}, "
                        "{match: 'b', role: attn_q, regime: exact}]\n";
    struct role_assignment got = ask(rules, "a", 2, shape, &err);
    CU_ASSERT_EQUAL(got.regime, TSR_REGIME_ARGMAX);
    CU_ASSERT_EQUAL(got.stride, 7);
    CU_ASSERT_EQUAL(got.view, ROLE_VIEW_LAST);
    CU_ASSERT_EQUAL(ask(rules, "b", 2, shape, &err).regime, TSR_REGIME_EXACT);
}

static void a_written_stride_must_be_a_bijection(void) {
    tsr_error err;
    const uint64_t wide[] = {4, 8}, narrow[] = {8, 4};
    const char *rules = "rules: [{match: 'a', role: attn_q, stride: 4}]\n";
    CU_ASSERT_EQUAL(ask(rules, "a", 2, wide, &err).stride, 4);
    ask(rules, "a", 2, narrow, &err);
    CU_ASSERT_EQUAL(err.code, TSR_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(err.message,
                           "f.yaml:4: tensor \"a\": stride 4: no bijection over 4 columns, expected 1 to 3");
    rules = "rules: [{match: 'a', role: attn_q, stride: 4, view: transposed}]\n";
    CU_ASSERT_EQUAL(ask(rules, "a", 2, narrow, &err).stride, 4);
}

static void a_default_stride_gives_way_in_narrow_tensors(void) {
    tsr_error err;
    const uint64_t shape[] = {4, 8}, enough[] = {4, 9};
    const char *rules = "rules: [{match: 'a', role: mlp_gate}]\n";
    CU_ASSERT_EQUAL(ask(rules, "a", 2, shape, &err).stride, 1);
    CU_ASSERT_EQUAL(ask(rules, "a", 2, enough, &err).stride, 8);
}

static void strides_are_checked(void) {
    CU_ASSERT_EQUAL(role_check_stride(1, 0, NULL), TSR_OK);
    CU_ASSERT_EQUAL(role_check_stride(1, 1, NULL), TSR_OK);
    CU_ASSERT_EQUAL(role_check_stride(3, 6, NULL), TSR_OK); /* residue classes: no common divisor needed */
    CU_ASSERT_EQUAL(role_check_stride(5, 6, NULL), TSR_OK);
    CU_ASSERT_EQUAL(role_check_stride(6, 6, NULL), TSR_E_CONFIG);
    CU_ASSERT_EQUAL(role_check_stride(0, 6, NULL), TSR_E_CONFIG);
}

struct view_case {
    enum role_view view;
    uint64_t rank, shape[4], rows, columns;
};

static const struct view_case VIEWS[] = {
    {ROLE_VIEW_ROWS, 0, {0}, 1, 1},
    {ROLE_VIEW_ROWS, 1, {7}, 1, 7},
    {ROLE_VIEW_ROWS, 2, {3, 5}, 3, 5},
    {ROLE_VIEW_ROWS, 3, {3, 5, 7}, 3, 35},
    {ROLE_VIEW_ROWS, 2, {0, 5}, 0, 5},
    {ROLE_VIEW_LAST, 0, {0}, 1, 1},
    {ROLE_VIEW_LAST, 1, {7}, 1, 7},
    {ROLE_VIEW_LAST, 3, {3, 5, 7}, 15, 7},
    {ROLE_VIEW_TRANSPOSED, 0, {0}, 1, 1},
    {ROLE_VIEW_TRANSPOSED, 1, {7}, 1, 7},
    {ROLE_VIEW_TRANSPOSED, 2, {3, 5}, 5, 3},
    {ROLE_VIEW_TRANSPOSED, 3, {2, 3, 5}, 10, 3},
};

static void views_make_rows_of_output_units(void) {
    for (unsigned i = 0; i < sizeof VIEWS / sizeof VIEWS[0]; i++) {
        uint64_t rows, columns;
        CU_ASSERT_EQUAL(role_matrix(VIEWS[i].view, VIEWS[i].rank, VIEWS[i].shape, &rows, &columns, NULL), TSR_OK);
        CU_ASSERT_EQUAL(rows, VIEWS[i].rows);
        CU_ASSERT_EQUAL(columns, VIEWS[i].columns);
    }
    const uint64_t huge[] = {UINT64_C(1) << 32, UINT64_C(1) << 32};
    uint64_t rows, columns;
    CU_ASSERT_EQUAL(role_matrix(ROLE_VIEW_ROWS, 2, huge, &rows, &columns, NULL), TSR_E_LIMIT);
}

static void every_role_has_a_name_and_unknown_comes_last(void) {
    const char *const *names = role_names();
    uint64_t count = 0;
    for (; names[count]; count++) CU_ASSERT_EQUAL(!role_info_find(names[count]), !names[count + 1]);
    CU_ASSERT_STRING_EQUAL(names[count - 1], "unknown");
    CU_ASSERT_EQUAL(role_info_find("router")->regime, TSR_REGIME_EXACT);
}

/* ---- mistakes in role files ---- */

struct bad_file {
    const char *text, *message;
};

#define RULES "rules: [{match: a, role: norm}]\n"

static const struct bad_file BAD[] = {
    {"", "f.yaml:"},
    {"- a\n", "f.yaml:1:1: role file: expected a map, found a list"},
    {"family: f\nmodel_types: []\n" RULES, "f.yaml:1:1: key \"tessera_roles\" is missing"},
    {"tessera_roles: 2\nfamily: f\nmodel_types: []\n" RULES, "f.yaml:1:16: tessera_roles: 2 is outside 1..1"},
    {"tessera_roles: one\nfamily: f\nmodel_types: []\n" RULES, "expected a whole number, found \"one\""},
    {"tessera_roles: 1\nmodel_types: []\n" RULES, "key \"family\" is missing"},
    {"tessera_roles: 1\nfamily:\nmodel_types: []\n" RULES, "family: expected a name, found nothing"},
    {"tessera_roles: 1\nfamily: f\n" RULES, "key \"model_types\" is missing"},
    {"tessera_roles: 1\nfamily: f\nmodel_types: f\n" RULES, "f.yaml:3:14: model_types: expected a list"},
    {"tessera_roles: 1\nfamily: f\nmodel_types: [f, f]\n" RULES, "f.yaml:3:18: model_types: \"f\" twice"},
    {"tessera_roles: 1\nfamily: f\nmodel_types: [[f]]\n" RULES, "model_types: expected a single value"},
    {HEAD "rule: []\n", "f.yaml:4:1: unknown key \"rule\"; did you mean \"rules\"?"},
    {HEAD, "key \"rules\" is missing"},
    {HEAD "rules: []\n", "f.yaml:4:8: rules: expected at least one"},
    {HEAD "rules: {match: a, role: norm}\n", "f.yaml:4:8: rules: expected a list, found a map"},
    {HEAD "rules: [a]\n", "f.yaml:4:9: rule: expected a map, found a single value"},
    {HEAD "rules: [{role: norm}]\n", "f.yaml:4:9: key \"match\" is missing"},
    {HEAD "rules: [{match: a}]\n", "f.yaml:4:9: key \"role\" is missing"},
    {HEAD "rules: [{match: , role: norm}]\n", "match: expected a name, found nothing"},
    {HEAD "rules: [{match: [a], role: norm}]\n", "match: expected a single value, found a list"},
    {HEAD "rules: [{match: 'a{', role: norm}]\n", "f.yaml:4:17: pattern \"a{\": expected a name and \"}\""},
    {HEAD "rules: [{match: 're:(', role: norm}]\n", "f.yaml:4:17: pattern \"re:(\": character 5: missing closing"},
    {HEAD "rules: [{match: a, role: attn_qq}]\n", "f.yaml:4:26: unknown role \"attn_qq\"; did you mean \"attn_q\"?"},
    {HEAD "rules: [{match: a, role: zzzzzzzz}]\n", "f.yaml:4:26: unknown role \"zzzzzzzz\""},
    {HEAD "rules: [{match: a, role: unknown}]\n", "role \"unknown\" is for what no rule matches"},
    {HEAD "rules: [{match: a, rol: norm}]\n", "unknown key \"rol\"; did you mean \"role\"?"},
    {HEAD "rules: [{match: a, role: norm, regime: exakt}]\n", "unknown regime \"exakt\"; did you mean \"exact\"?"},
    {HEAD "rules: [{match: a, role: norm, view: cols}]\n", "unknown view \"cols\""},
    {HEAD "rules: [{match: a, role: norm, stride: 0}]\n", "f.yaml:4:40: stride: 0 is outside 1..65535"},
    {HEAD "rules: [{match: a, role: norm, stride: three}]\n", "stride: expected a whole number"},
    {HEAD "rules: [{match: a, role: norm, component: [x]}]\n", "component: expected a single value"},
    {HEAD "rules:\n  - {match: a, role: norm}\n  - {match: a, role: bias}\n",
     "f.yaml:6:13: match \"a\" is already in line 5"},
    {HEAD "rules: [{match: a, match: b, role: norm}]\n", "f.yaml:4:20: "},
    {HEAD "prefixes: []\n" RULES, "f.yaml:4:11: prefixes: expected at least one"},
    {HEAD "prefixes: ['', '']\n" RULES, "prefixes: \"\" twice"},
    {HEAD "prefixes: [[a]]\n" RULES, "prefixes: expected a single value"},
};

static void every_mistake_in_a_role_file_is_named(void) {
    for (unsigned i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct arena arena = {0};
        struct role_set *set = NULL;
        tsr_error err = {0};
        tsr_status st = role_parse(BAD[i].text, strlen(BAD[i].text), "f.yaml", &arena, &set, &err);
        if (st != TSR_E_CONFIG || set || !strstr(err.message, BAD[i].message)) {
            printf("  expected \"%s\", got %d \"%s\"\n", BAD[i].message, (int)st, err.message);
            CU_FAIL("message differs");
        }
        arena_clear(&arena);
    }
}

/* ---- finding the file ---- */

static char scratch[] = "/tmp/tessera-role-XXXXXX";

static void write_file(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch, folder);
    CU_ASSERT_EQUAL_FATAL(fs_make_folder(path, NULL), TSR_OK);
    snprintf(path, sizeof path, "%s/%s/%s", scratch, folder, name);
    CU_ASSERT_EQUAL_FATAL(fs_replace(path, text, strlen(text), NULL), TSR_OK);
}

struct finding {
    tsr_status status;
    char family[32];
    tsr_error err;
};

static struct finding find(const char *name, const char *type, const char *first, const char *second) {
    struct arena arena = {0};
    struct role_set *set = NULL;
    struct finding found = {0};
    char paths[2][128];
    snprintf(paths[0], sizeof paths[0], "%s/%s", scratch, first);
    snprintf(paths[1], sizeof paths[1], "%s/%s", scratch, second);
    const char *const folders[] = {paths[0], paths[1]};
    warnings = 0;
    found.status = role_find(name, type, folders, 2, &ENV, &arena, &set, &found.err);
    if (set) snprintf(found.family, sizeof found.family, "%s", role_set_name(set));
    arena_clear(&arena);
    return found;
}

#define FILE_OF(family, types) "tessera_roles: 1\nfamily: " family "\nmodel_types: [" types "]\n" RULES

static void make_folders(void) {
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(scratch));
    write_file("own", "mine.yaml", FILE_OF("mine", "llama"));
    write_file("own", "notes.txt", "no role file");
    write_file("system", "generic.yaml", FILE_OF("generic", ""));
    write_file("system", "llama.yaml", FILE_OF("llama", "llama, yi"));
    write_file("twice", "a.yaml", FILE_OF("a", "x"));
    write_file("twice", "b.yaml", FILE_OF("b", "x, y"));
    write_file("broken", "a.yaml", "tessera_roles: 3\n");
}

static void a_file_is_found_by_type_or_name(void) {
    make_folders();
    CU_ASSERT_STRING_EQUAL(find("auto", "llama", "own", "system").family, "mine"); /* the first folder wins */
    CU_ASSERT_STRING_EQUAL(find("auto", "llama", "system", "own").family, "llama");
    CU_ASSERT_STRING_EQUAL(find("auto", "yi", "own", "system").family, "llama");
    CU_ASSERT_STRING_EQUAL(find("auto", "y", "twice", "system").family, "b");
    CU_ASSERT_EQUAL(warnings, 0);
    CU_ASSERT_STRING_EQUAL(find("mine", "yi", "absent", "own").family, "mine");
    char path[128];
    snprintf(path, sizeof path, "%s/own/mine.yaml", scratch);
    CU_ASSERT_STRING_EQUAL(find(path, NULL, "system", "absent").family, "mine");
}

static void a_type_nobody_lists_gets_generic_with_a_warning(void) {
    CU_ASSERT_STRING_EQUAL(find("auto", "new", "own", "system").family, "generic");
    CU_ASSERT_EQUAL(warnings, 1);
    CU_ASSERT_STRING_EQUAL(find("auto", NULL, "own", "system").family, "generic");
    CU_ASSERT_EQUAL(warnings, 1);
    CU_ASSERT_EQUAL(find("auto", "new", "own", "absent").status, TSR_E_CONFIG);
}

static void what_cannot_be_found_is_named(void) {
    struct finding found = find("auto", "x", "twice", "system");
    CU_ASSERT_EQUAL(found.status, TSR_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(found.err.message, "twice/b.yaml: model type \"x\" is already listed by a.yaml"));
    found = find("lama", NULL, "own", "system");
    CU_ASSERT_EQUAL(found.status, TSR_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(found.err.message, "roles \"lama\": no such role file; did you mean \"llama\"?");
    found = find("zzzzzzzz", NULL, "own", "system");
    CU_ASSERT_PTR_NOT_NULL(strstr(found.err.message, "roles \"zzzzzzzz\": no zzzzzzzz.yaml in "));
    found = find("auto", "x", "broken", "system");
    CU_ASSERT_PTR_NOT_NULL(strstr(found.err.message, "broken/a.yaml:1:16: "));
    CU_ASSERT_EQUAL(find("absent.yaml", NULL, "own", "system").status, TSR_E_INPUT);
    CU_ASSERT_EQUAL(fs_remove_tree(scratch, NULL), TSR_OK);
}

static const struct unit_test TESTS[] = {
    {"every_name_of_every_family_gets_its_role", every_name_of_every_family_gets_its_role},
    {"the_first_rule_wins", the_first_rule_wins},
    {"what_no_rule_matches_is_unknown_and_exact", what_no_rule_matches_is_unknown_and_exact},
    {"prefixes_are_tried_in_order", prefixes_are_tried_in_order},
    {"a_rule_overrides_what_its_role_means", a_rule_overrides_what_its_role_means},
    {"a_written_stride_must_be_a_bijection", a_written_stride_must_be_a_bijection},
    {"a_default_stride_gives_way_in_narrow_tensors", a_default_stride_gives_way_in_narrow_tensors},
    {"strides_are_checked", strides_are_checked},
    {"views_make_rows_of_output_units", views_make_rows_of_output_units},
    {"every_role_has_a_name_and_unknown_comes_last", every_role_has_a_name_and_unknown_comes_last},
    {"every_mistake_in_a_role_file_is_named", every_mistake_in_a_role_file_is_named},
    {"a_file_is_found_by_type_or_name", a_file_is_found_by_type_or_name},
    {"a_type_nobody_lists_gets_generic_with_a_warning", a_type_nobody_lists_gets_generic_with_a_warning},
    {"what_cannot_be_found_is_named", what_cannot_be_found_is_named},
};
UNIT_MAIN(TESTS)
