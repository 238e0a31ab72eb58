/* SPDX-License-Identifier: Apache-2.0
 *
 * The config language: what a right one means, and a table of planted mistakes, each with its place and words. */
#include "unit.h"

#include <base/pool.h>
#include <policy/config.h>

#include "fake_codecs.h"

struct setup {
    struct env env;
    struct registry *registry;
    struct arena arena;
};

static struct setup begin(void) {
    struct setup setup = {.env = {.pool = pool_create(1)}};
    setup.registry = fake_registry(&setup.env);
    CU_ASSERT_PTR_NOT_NULL_FATAL(setup.registry);
    return setup;
}

static void end(struct setup *setup) {
    registry_destroy(setup->registry);
    pool_destroy(setup->env.pool);
    arena_clear(&setup->arena);
}

struct mistake {
    const char *text;
    const char *place;   /* "line:column" */
    const char *message; /* part of what follows */
};

#define HEAD "tessera: 1\nrules:\n  - "

static const struct mistake MISTAKES[] = {
    /* the document */
    {"", "1:1", "the file is empty"},
    {"[1, 2]", "1:1", "a config: expected a map, found a list"},
    {"hello", "1:1", "a config: expected a map, found a single value"},
    {"rules:\n  - {codec: passthrough}\n", "1:1", "the key \"tessera\" is missing"},
    {"tessera: 2\nrules:\n  - {codec: passthrough}\n", "1:10", "version \"2\" is not known here, expected 1"},
    {"tessera: '1'\nrules: []\n", "1:10", "version \"1\" is not known here"},
    {"tessera: [1]\nrules: []\n", "1:10", "tessera: expected a single value, found a list"},
    {"tessera: 1\n", "1:1", "the key \"rules\" is missing"},
    {"tessera: 1\nrules: []\n", "2:8", "rules: the list is empty"},
    {"tessera: 1\nrules: {codec: passthrough}\n", "2:8", "rules: expected a list, found a map"},
    {"tessera: 1\nrule:\n  - {codec: passthrough}\n", "2:1", "unknown key \"rule\"; did you mean \"rules\"?"},
    {"tessera: 1\nseed: 4\nrules: []\n", "2:1", "unknown key \"seed\""},
    {"tessera: 1\ntessera: 1\nrules: []\n", "2:1", "key \"tessera\" is given twice, first in line 1"},
    {"tessera: 1\n---\ntessera: 1\n", "2:1", "a second document begins"},
    {"tessera: 1\nrules: &r\n  - {codec: passthrough}\n", "2:8", "anchors are not allowed: &r"},
    {"a: &a [x,x]\nb: &b [*a,*a]\n", "1:4", "anchors are not allowed"},
    {"tessera: 1\nrules: *r\n", "2:8", "aliases are not allowed"},
    {"tessera: 1\nrules: !!seq []\n", "2:8", "tags are not allowed"},
    {"tessera: 1\nrules:\n  - {codec: passthrough\n", "4:1", "did not find expected ',' or '}'"},
    {"tessera: 1\nrules:\n\t- codec\n", "3:1", "cannot start any token"},
    {"tessera: 1\nroles: [a]\nrules: []\n", "2:8", "roles: expected a single value, found a list"},
    {"tessera: 1\nroles:\nrules: []\n", "2:7", "roles: the value is missing"},
    {"tessera: 1\nroles: ../llama\nrules: []\n", "2:8", "expected auto, a name, or a path that ends in .yaml"},
    /* a rule's keys */
    {HEAD "passthrough\n", "3:5", "a rule: expected a map, found a single value"},
    {HEAD "{role: attn_q}\n", "3:5", "the rule has no codec"},
    {HEAD "{codecs: passthrough}\n", "3:6", "unknown key \"codecs\"; did you mean \"codec\"?"},
    {HEAD "{codec: passthrough, param: {}}\n", "3:26", "unknown key \"param\"; did you mean \"params\"?"},
    {HEAD "{codec: passthrough, roles: mlp_up}\n", "3:26", "unknown key \"roles\"; did you mean \"role\"?"},
    {HEAD "{codec: passthrough, weight: 2}\n", "3:26", "unknown key \"weight\""},
    {HEAD "{codec: passthrough, codec: quant}\n", "3:26", "key \"codec\" is given twice"},
    /* which tensors */
    {HEAD "{role: atn_q, codec: quant}\n", "3:12", "unknown role \"atn_q\"; did you mean \"attn_q\"?"},
    {HEAD "{role: [mlp_up, mlp_dawn], codec: quant}\n", "3:21", "unknown role \"mlp_dawn\"; did you mean \"mlp_down\"?"},
    {HEAD "{role: [mlp_up, mlp_up], codec: quant}\n", "3:21", "role \"mlp_up\" is given twice"},
    {HEAD "{role: [], codec: quant}\n", "3:12", "role: the list is empty"},
    {HEAD "{role: {a: b}, codec: quant}\n", "3:12", "role: expected names, found a map"},
    {HEAD "{role: [[mlp_up]], codec: quant}\n", "3:13", "role: expected a single value, found a list"},
    {HEAD "{role: , codec: quant}\n", "3:12", "role: the value is missing"},
    {HEAD "{match: \"re:[a\", codec: quant}\n", "3:13", "match: "},
    {HEAD "{match: [\"a.*\", \"{layer\"], codec: quant}\n", "3:21", "match: "},
    {HEAD "{match: \"\", codec: quant}\n", "3:13", "match: the value is missing"},
    {HEAD "{dtype: BF17, codec: quant}\n", "3:13", "unknown dtype \"BF17\"; did you mean \"BF16\"?"},
    {HEAD "{dtype: [F32, bfloat16], codec: quant}\n", "3:19", "unknown dtype \"bfloat16\""},
    {HEAD "{regime: exakt, codec: passthrough}\n", "3:14", "unknown regime \"exakt\"; did you mean \"exact\"?"},
    {HEAD "{regime: [exact, index], codec: passthrough}\n", "3:14", "regime: expected a single value"},
    /* codecs */
    {HEAD "{codec: passthru}\n", "3:13", "unknown codec \"passthru\"; did you mean \"passthrough\"?"},
    {HEAD "{codec: zzz}\n", "3:13", "unknown codec \"zzz\""},
    {HEAD "{codec: }\n", "3:13", "codec: the value is missing"},
    {HEAD "{codec: {name: quant}}\n", "3:13", "codec: expected names, found a map"},
    {HEAD "{codec: address}\n", "3:13", "makes signatures: an address is not a reconstruction"},
    {HEAD "{codec: quant, index: {codec: quant}}\n", "3:35", "codec quant makes no signatures"},
    {HEAD "{codec: quant, index: address}\n", "3:27", "index: expected a map, found a single value"},
    {HEAD "{codec: quant, index: {}}\n", "3:27", "the index has no codec"},
    {HEAD "{codec: quant, index: {codecs: address}}\n", "3:28", "unknown key \"codecs\"; did you mean \"codec\"?"},
    {HEAD "{codec: quant, index: {codec: addres}}\n", "3:35", "did you mean \"address\"?"},
    {HEAD "{regime: exact, codec: quant}\n", "3:28", "the exact regime demands an exact codec"},
    /* parameters */
    {HEAD "{codec: quant, params: [4]}\n", "3:28", "params: expected a map, found a list"},
    {HEAD "{codec: quant, params: {bts: 4}}\n", "3:29", "codec quant has no parameter \"bts\"; did you mean \"bits\"?"},
    {HEAD "{codec: quant, params: {bits: 9}}\n", "3:35", "\"bits\": 9 is outside 1..8"},
    {HEAD "{codec: quant, params: {bits: 0}}\n", "3:35", "\"bits\": 0 is outside 1..8"},
    {HEAD "{codec: quant, params: {bits: 4.5}}\n", "3:35", "found \"4.5\", expected an integer"},
    {HEAD "{codec: quant, params: {bits: four}}\n", "3:35", "found \"four\", expected an integer"},
    {HEAD "{codec: quant, params: {bits: '4'}}\n", "3:35", "found quoted text \"4\", expected it unquoted"},
    {HEAD "{codec: quant, params: {bits: [4]}}\n", "3:35", "found \"[4]\", expected an integer"},
    {HEAD "{codec: quant, params: {bits: {n: 4}}}\n", "3:35", "parameter \"bits\": found a map"},
    {HEAD "{codec: quant, params: {bits: }}\n", "3:35", "bits: the value is missing"},
    {HEAD "{codec: quant, params: {centroids: yes}}\n", "3:40", "found \"yes\", expected true or false"},
    {HEAD "{codec: quant, params: {ladder: [1, 256]}}\n", "3:37", "\"ladder\": [1, 256] is outside 2..4096"},
    {HEAD "{codec: quant, params: {row_error_max: nan}}\n", "3:44", "found \"nan\", expected a number"},
    {HEAD "{codec: passthrough, params: {level: defualt}}\n", "3:42", "did you mean \"default\"?"},
    {HEAD "{codec: quant,\n     params: {bits: 4,\n              bits: 5}}\n", "5:15", "key \"bits\" is given twice"},
    /* numbers of a rule */
    {HEAD "{codec: quant, feedback: true}\n", "3:30", "does not quantise some columns at a time"},
    {HEAD "{codec: passthrough, feedback: no}\n", "3:36", "feedback: expected true or false, found \"no\""},
    {HEAD "{codec: quant, damping: 0}\n", "3:29", "damping: 0 is outside"},
    {HEAD "{codec: quant, stride: 0}\n", "3:28", "stride: 0 is outside 1..4294967295"},
    {HEAD "{codec: quant, stride: three}\n", "3:28", "stride: expected a whole number, found \"three\""},
    {HEAD "{codec: quant, row_error_max: 1.5}\n", "3:35", "row_error_max: 1.5 is outside 0..1"},
    {HEAD "{codec: quant, row_error_max: 0.1, params: {row_error_max: 0.1}}\n", "3:35", "row_error_max is given twice"},
    {HEAD "{codec: quant, max_bits: 0}\n", "3:30", "max_bits: 0 is outside 0.001..64"},
    {HEAD "{codec: quant, max_bits: many}\n", "3:30", "max_bits: expected a number, found \"many\""},
    {HEAD "{codec: quant, min_ratio: 0.5}\n", "3:31", "min_ratio: 0.5 is outside 1..1e+06"},
    {HEAD "{codec: quant, min_cos: 1.01}\n", "3:29", "min_cos: 1.01 is outside 0.001..1"},
    {HEAD "{codec: quant, min_cos: \"0.9\"}\n", "3:29", "min_cos: expected a number, found \"0.9\""},
    {HEAD "{codec: quant, max_error: 0}\n", "3:31", "max_error: 0 is outside 1e-12..1"},
    {HEAD "{codec: quant, optional: maybe}\n", "3:30", "optional: expected true or false, found \"maybe\""},
    /* groups and stacks */
    {HEAD "{codec: quant, group: role}\n", "3:27", "codec quant shares nothing between tensors"},
    {HEAD "{codec: quant, group: [role]}\n", "3:27", "group: expected a single value"},
    {HEAD "{codec: [quant, passthrough]}\n", "3:21", "codec passthrough cannot encode what quant leaves over"},
    {HEAD "{codec: [passthrough, quant]}\n", "3:27", "codec passthrough leaves nothing over for quant"},
    {HEAD "{codec: [quant, quant]}\n", "3:21", "codec quant stands twice in the stack"},
    {HEAD "{codec: [quant, quart]}\n", "3:21", "did you mean \"quant\"?"},
    {HEAD "{codec: [quant, bloat, quant, bloat, quant]}\n", "3:13", "a stack of 5 codecs, at most 4 are possible"},
    {HEAD "{codec: [quant, address]}\n", "3:21", "codec address makes signatures"},
    {HEAD "{codec: [quant, rough], params: {bits: 4}}\n", "3:38", "unknown key \"bits\""},
    {HEAD "{codec: [quant, rough], params: {quant: {bits: 9}}}\n", "3:52", "9 is outside"},
    {HEAD "{regime: exact, codec: [quant, rough]}\n", "3:28", "the exact regime demands an exact codec"},
    {HEAD "{codec: []}\n", "3:13", "codec: the list is empty"},
    /* budgets */
    {HEAD "{codec: quant}\nbudget: 4.0\n", "4:9", "budget: expected a map"},
    {HEAD "{codec: quant}\nbudget: {bits_per_wait: 4.0}\n", "4:10", "did you mean \"bits_per_weight\"?"},
    {HEAD "{codec: quant}\nbudget: {bits_per_weight: 0}\n", "4:27", "bits_per_weight: 0 is outside 0.01..64"},
    {HEAD "{codec: quant}\nbudget: {bits_per_weight: 4, kld: 0.1}\n", "4:9", "kld is given too, one figure is enough"},
    {HEAD "{codec: quant}\nbudget: {text: a.txt}\n", "4:9", "needs bits_per_weight, bytes, free_bits, kld or top1"},
    {HEAD "{codec: quant}\nbudget: {}\n", "4:9", "needs bits_per_weight, bytes, free_bits, kld or top1"},
    {HEAD "{codec: quant}\nbudget: {bytes: 10parsecs}\n", "4:17", "bytes: \"10parsecs\" is not a size"},
    {HEAD "{codec: quant}\nbudget: {bytes: [1]}\n", "4:17", "bytes: expected a single value"},
    {HEAD "{codec: quant}\nbudget: {top1: 1.5}\n", "4:16", "top1: 1.5 is outside 0.01..0.999999"},
    {HEAD "{codec: quant}\nbudget: {kld: 0.1, positions: 0}\n", "4:31", "positions: 0 is outside"},
    {HEAD "{codec: quant}\nbudget: {kld: 0.1, confidence: 1}\n", "4:32", "confidence: 1 is outside"},
    {HEAD "{codec: quant, params: {bits: auto}}\nbudget: {kld: 0.1}\n", "3:35", "parameter \"bits\": found \"auto\", expected an integer"},
    {HEAD "{codec: quant}\ngates:\n  parity: {min_top1: 0.97}\n", "5:3", "parity: needs text"},
    {HEAD "{codec: quant}\ngates:\n  parity: {text: a.txt}\n", "5:3", "parity: needs min_top1 or max_kld"},
    {HEAD "{codec: quant}\ngates:\n  chain: {min_cos: 0.9}\n", "5:3", "chain: needs text, its own or parity's"},
    {HEAD "{codec: quant}\ngates:\n  storage: {optional: 1}\n", "5:23", "optional: expected true or false"},
    {HEAD "{codec: quant}\ngates:\n  paritty: {}\n", "5:3", "unknown key \"paritty\"; did you mean \"parity\"?"},
    {HEAD "{codec: quant}\ngates:\n  parity: {min_top1: 1.97}\n", "5:22", "min_top1: 1.97 is outside 0..1"},
    {HEAD "{codec: quant}\ngates:\n  speech: {profile: default}\n", "5:3", "speech: needs text"},
    {HEAD "{codec: quant}\ngates:\n  speech: {profile: loud, text: x}\n", "5:3", "the one profile is default"},
};

static void each_planted_mistake_has_its_place_and_words(void) {
    struct setup setup = begin();
    size_t count = sizeof MISTAKES / sizeof MISTAKES[0];
    CU_ASSERT_TRUE(count >= 50);
    for (size_t i = 0; i < count; i++) {
        const struct mistake *mistake = &MISTAKES[i];
        struct config config;
        tsr_error err = {0};
        char prefix[64];
        (void)snprintf(prefix, sizeof prefix, "job.yaml:%s: ", mistake->place);
        tsr_status st = config_parse(mistake->text, strlen(mistake->text), "job.yaml", setup.registry, &setup.arena,
                                     &config, &err);
        bool placed = !strncmp(err.message, prefix, strlen(prefix));
        if (st != TSR_E_CONFIG || !placed || !strstr(err.message, mistake->message)) {
            printf("  mistake %zu at %s \"%s\": status %d, \"%s\"\n", i, mistake->place, mistake->message, (int)st,
                   err.message);
            CU_FAIL("message");
        }
    }
    end(&setup);
}

static const char RIGHT[] =
    "tessera: 1\n"
    "roles: qwen3\n"
    "rules:\n"
    "  - {role: [attn_q, attn_k], dtype: [BF16, F16], regime: argmax, codec: quant, stride: 3,\n"
    "     params: {bits: 4, ladder: [256, 128], centroids: false}, row_error_max: 0.05}\n"
    "  - match: [\"model.layers.{layer}.mlp.*\", \"re:x+\"]\n"
    "    codec: org.example.quant\n"
    "    max_bits: 5\n"
    "    min_ratio: 3\n"
    "    min_cos: 0.99\n"
    "    max_error: 1e-2\n"
    "    optional: true\n"
    "  - {codec: passthrough, params: {level: 'max'}}\n";

static void a_right_config_means_what_it_says(void) {
    struct setup setup = begin();
    struct config config;
    tsr_error err = {0};
    tsr_status st = config_parse(RIGHT, sizeof RIGHT - 1, "j", setup.registry, &setup.arena, &config, &err);
    CU_ASSERT_EQUAL_FATAL(st, TSR_OK);
    CU_ASSERT_EQUAL_FATAL(config.rule_count, 3);
    CU_ASSERT_STRING_EQUAL(config.roles, "qwen3");
    const struct config_rule *first = &config.rules[0], *second = &config.rules[1], *third = &config.rules[2];
    CU_ASSERT_STRING_EQUAL(first->roles[1], "attn_k");
    CU_ASSERT_PTR_NULL(first->roles[2]);
    CU_ASSERT_EQUAL(first->dtypes, TSR_DTYPE_BIT(TSR_DTYPE_BF16) | TSR_DTYPE_BIT(TSR_DTYPE_F16));
    CU_ASSERT_EQUAL(first->regime, TSR_REGIME_ARGMAX);
    CU_ASSERT_EQUAL(first->stride, 3);
    CU_ASSERT_EQUAL(first->row_error_max, 0.05);
    CU_ASSERT_EQUAL(first->line, 4);
    CU_ASSERT_STRING_EQUAL(first->params.canonical, "bits=4 row_error_max=0 centroids=false ladder=[256,128]");
    CU_ASSERT_STRING_EQUAL(pattern_text(second->patterns[1]), "re:x+");
    CU_ASSERT_PTR_EQUAL(second->codec, &FAKE_QUANT);
    CU_ASSERT_EQUAL(second->regime, -1);
    CU_ASSERT_EQUAL(second->row_error_max, -1);
    CU_ASSERT_TRUE(second->optional);
    CU_ASSERT_EQUAL(second->request.max_bits, 5);
    CU_ASSERT_EQUAL(second->request.min_ratio, 3);
    CU_ASSERT_EQUAL(second->request.min_cos, 0.99);
    CU_ASSERT_EQUAL(second->request.max_error, 0.01);
    CU_ASSERT_STRING_EQUAL(third->params.canonical, "level=max");
    CU_ASSERT_PTR_NULL(third->roles);
    CU_ASSERT_FALSE(third->optional);
    CU_ASSERT_STRING_EQUAL(third->plugin->path, "(built in)");
    end(&setup);
}

static void the_default_is_lossless_for_everything(void) {
    struct setup setup = begin();
    struct config config;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(config_default(setup.registry, &setup.arena, &config, &err), TSR_OK);
    CU_ASSERT_EQUAL(config.rule_count, 1);
    CU_ASSERT_PTR_EQUAL(config.rules[0].codec, &FAKE_COPY);
    CU_ASSERT_STRING_EQUAL(config.roles, "auto");
    end(&setup);
}

static void errors_of_rules_carry_their_place(void) {
    struct config config = {.path = "a.yaml"};
    struct config_rule rule = {.line = 7, .column = 5};
    tsr_error err = {0};
    CU_ASSERT_EQUAL(config_rule_fail(&err, &config, &rule, "no %s", "way"), TSR_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(err.message, "a.yaml:7:5: no way");
}

static const struct unit_test TESTS[] = {
    {"each_planted_mistake_has_its_place_and_words", each_planted_mistake_has_its_place_and_words},
    {"a_right_config_means_what_it_says", a_right_config_means_what_it_says},
    {"the_default_is_lossless_for_everything", the_default_is_lossless_for_everything},
    {"errors_of_rules_carry_their_place", errors_of_rules_carry_their_place},
};
UNIT_MAIN(TESTS)
