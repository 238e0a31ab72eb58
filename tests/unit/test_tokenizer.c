/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokenizer against golden encodings of Hugging Face tokenizers and of llama.cpp, and what it refuses. */
#include "unit.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <format/json.h>
#include <format/tokenizer.h>
#include <pipeline/tokenize.h>
#include <string.h>

#define DATA "tests/data/tokenizers/"

static void check_golden(const char *name) {
    char model[128], golden[160];
    json_t *result = NULL;
    tsr_error err = {0};
    (void)snprintf(model, sizeof model, DATA "%s", name);
    (void)snprintf(golden, sizeof golden, DATA "%s/golden.jsonl", name);
    tsr_status st = job_tokenize_golden(model, golden, &result, &err);
    CU_ASSERT_EQUAL(st, TSR_OK);
    if (st != TSR_OK) printf("  %s: %s\n", name, err.message);
    CU_ASSERT(json_integer_value(json_object_get(result, "lines")) >= 391);
    json_decref(result);
}

static void golden_encodings_are_equal(void) {
    check_golden("gpt2");
    check_golden("qwen2");
    check_golden("llama2");
    check_golden("tinystories32k");
}

static void another_tokenizer_fails_the_golden_file(void) {
    json_t *result = NULL;
    tsr_error err = {0};
    CU_ASSERT_EQUAL(job_tokenize_golden(DATA "qwen2", DATA "llama2/golden.jsonl", &result, &err), TSR_E_INPUT);
    CU_ASSERT_EQUAL(job_tokenize_golden(DATA "llama2", DATA "tinystories32k/golden.jsonl", &result, &err), TSR_E_GATE);
    CU_ASSERT(json_array_size(json_object_get(result, "differences")) == 10);
    json_decref(result);
}

/* ---- llama.cpp ---- */

static char *read_text(const char *path) {
    char *text = NULL;
    uint64_t size = 0;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(fs_read_whole(path, 1 << 20, &text, &size, &err), TSR_OK);
    return text;
}

static bool equals_line(const struct token_ids *ids, const char *line) {
    struct str text = {0};
    for (uint64_t i = 0; i < ids->count; i++) str_add_format(&text, " %u", (unsigned)ids->ids[i]);
    size_t length = strcspn(line, "\n");
    bool equal = text.length == length && (!length || !memcmp(text.text, line, length));
    str_clear(&text);
    return equal;
}

static unsigned count_equal_vectors(const char *model, const char *name) {
    static const char SEPARATOR[] = "\n__ggml_vocab_test__\n";
    char path[160];
    struct tokenizer *tokenizer = NULL;
    tsr_error err = {0};
    unsigned equal = 0;
    CU_ASSERT_EQUAL_FATAL(tokenizer_open(model, &tokenizer, &err), TSR_OK);
    (void)snprintf(path, sizeof path, DATA "vectors/%s.inp", name);
    char *texts = read_text(path);
    (void)snprintf(path, sizeof path, DATA "vectors/%s.out", name);
    char *lines = read_text(path);
    for (const char *text = texts, *line = lines; text && *line;) {
        const char *end = strstr(text, SEPARATOR);
        struct token_ids ids = {0};
        (void)tokenizer_encode(tokenizer, text, end ? (size_t)(end - text) : strlen(text), false, &ids, &err);
        equal += equals_line(&ids, line);
        token_ids_clear(&ids);
        line += strcspn(line, "\n");
        line += *line == '\n';
        text = end ? end + sizeof SEPARATOR - 1 : NULL;
    }
    mem_free(texts);
    mem_free(lines);
    tokenizer_close(tokenizer);
    return equal;
}

static void vectors_of_llama_cpp_are_equal(void) {
    CU_ASSERT_EQUAL(count_equal_vectors(DATA "gpt2", "gpt-2"), 46);
    CU_ASSERT_EQUAL(count_equal_vectors(DATA "qwen2", "qwen2"), 46);
    CU_ASSERT_EQUAL(count_equal_vectors(DATA "llama2", "llama-spm"), 46);
    CU_ASSERT(count_equal_vectors(DATA "gpt2", "qwen2") < 46);
}

/* ---- components ---- */

static struct tokenizer *parse_document(const json_t *document, tsr_error *err) {
    struct tokenizer *tokenizer = NULL;
    char *text = json_to_text(document, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    (void)tokenizer_parse(text, strlen(text), "test.json", &tokenizer, err);
    mem_free(text);
    return tokenizer;
}

static bool case_is_equal(const struct tokenizer *tokenizer, const json_t *item) {
    const json_t *text = json_object_get(item, "text"), *ids = json_object_get(item, "ids");
    const json_t *with = json_object_get(item, "ids_template"), *decoded = json_object_get(item, "decoded");
    bool equal = true;
    for (int special = 0; special < 2; special++) {
        struct token_ids found = {0};
        tsr_error err = {0};
        const json_t *expected = special && with ? with : ids;
        equal &= tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), special, &found,
                                  &err) == TSR_OK;
        equal &= found.count == json_array_size(expected);
        for (uint64_t i = 0; equal && i < found.count; i++) {
            equal = found.ids[i] == (uint32_t)json_integer_value(json_array_get(expected, i));
        }
        struct str back = {0};
        if (!special) {
            equal &= tokenizer_decode(tokenizer, found.ids, found.count, false, &back, &err) == TSR_OK;
            equal &= back.length == json_string_length(decoded) &&
                     (!back.length || !memcmp(back.text, json_string_value(decoded), back.length));
        }
        str_clear(&back);
        token_ids_clear(&found);
    }
    return equal;
}

/* A whole tokenizer.json; a model that is a number is one of the list. */
static json_t *compose(const json_t *models, json_t *item) {
    json_t *document = json_copy(item), *model = json_object_get(item, "model");
    if (json_is_integer(model)) {
        model = json_copy(json_array_get(models, (size_t)json_integer_value(model)));
        json_object_update(model, json_object_get(item, "options"));
        json_object_set_new(document, "model", model);
    }
    json_object_del(document, "cases");
    return document;
}

static void check_components(const char *name, size_t expected) {
    char path[160];
    (void)snprintf(path, sizeof path, DATA "%s", name);
    char *text = read_text(path);
    json_t *all = NULL, *item, *each;
    size_t i, k, cases = 0;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(json_parse_any_text(text, strlen(text), name, &all, &err), TSR_OK);
    json_array_foreach(json_object_get(all, "tokenizers"), i, item) {
        json_t *document = compose(json_object_get(all, "models"), item);
        struct tokenizer *tokenizer = parse_document(document, &err);
        CU_ASSERT_PTR_NOT_NULL(tokenizer);
        json_array_foreach(json_object_get(item, "cases"), k, each) {
            bool equal = tokenizer && case_is_equal(tokenizer, each);
            if (!equal) printf("  %s: tokenizer %zu, case %zu\n", name, i, k);
            CU_ASSERT(equal);
            cases++;
        }
        tokenizer_close(tokenizer);
        json_decref(document);
    }
    CU_ASSERT_EQUAL(cases, expected);
    json_decref(all);
    mem_free(text);
}

static void random_components_are_as_the_reference_has_them(void) {
    check_components("components.json", 840);
}

static void random_models_are_as_the_reference_has_them(void) {
    check_components("stress.json", 368);
}

/* ---- refusals ---- */

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

static const struct {
    const char *json;
    tsr_status status;
    const char *words;
} REFUSED[] = {
    {"", TSR_E_INPUT, "t.json"},
    {"[]", TSR_E_INPUT, "top level"},
    {"{}", TSR_E_INPUT, "model"},
    {"{\"model\":{\"type\":\"Unigram\"}}", TSR_E_UNSUPPORTED, "Unigram"},
    {"{\"model\":{\"type\":\"WordPiece\"}}", TSR_E_UNSUPPORTED, "WordPiece"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", TSR_E_INPUT, "same id"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", TSR_E_INPUT, "model.vocab"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999},\"merges\":[]}}", TSR_E_INPUT, "model.vocab"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}", TSR_E_INPUT, "merge 0"},
    {"{" MODEL ",\"normalizer\":{\"type\":\"Precompiled\"}}", TSR_E_UNSUPPORTED, "normalizer: type \"Precompiled\""},
    {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"UnicodeScripts\"}]}}",
     TSR_E_UNSUPPORTED, "pretokenizers[0]: type \"UnicodeScripts\""},
    {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"},\"behavior\":\"Isolated\"}}",
     TSR_E_UNSUPPORTED, "&&"},
    {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"},\"behavior\":\"Isolated\"}}",
     TSR_E_INPUT, "expression"},
    {"{" MODEL ",\"post_processor\":{\"type\":\"Odd\"}}", TSR_E_UNSUPPORTED, "post_processor"},
    {"{" MODEL ",\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"TemplateProcessing\",\"single\":[{"
     "\"SpecialToken\":{\"id\":\"s\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"s\":{\"ids\":[0]}}},{\"type\":"
     "\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":[\"b\",1]}]}}",
     TSR_E_UNSUPPORTED, "behind a template"},
    {"{" MODEL ",\"decoder\":{\"type\":\"WordPiece\"}}", TSR_E_UNSUPPORTED, "decoder: type \"WordPiece\""},
    {"{" MODEL ",\"added_tokens\":[{\"id\":1,\"content\":\"x\"}]}", TSR_E_INPUT, "added_tokens[0]"},
    {"{" MODEL ",\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true},\"added_tokens\":[{\"id\":3,\"content\":\" \"}]}",
     TSR_E_UNSUPPORTED, "normalises to nothing"},
};

static void bad_files_are_named_with_their_member(void) {
    for (unsigned i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        struct tokenizer *tokenizer = NULL;
        tsr_error err = {0};
        tsr_status st = tokenizer_parse(REFUSED[i].json, strlen(REFUSED[i].json), "t.json", &tokenizer, &err);
        if (st != REFUSED[i].status || !strstr(err.message, REFUSED[i].words)) {
            printf("  %s: %d %s\n", REFUSED[i].json, st, err.message);
        }
        CU_ASSERT_EQUAL(st, REFUSED[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, REFUSED[i].words));
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "t.json"));
        CU_ASSERT_PTR_NULL(tokenizer);
    }
}

static void bad_text_and_ids_are_refused_and_nothing_is_added(void) {
    struct tokenizer *tokenizer = NULL;
    struct token_ids ids = {0};
    struct str text = {0};
    tsr_error err = {0};
    const uint32_t outside[] = {5, 2048};
    CU_ASSERT_EQUAL_FATAL(tokenizer_open("demo/stories-1m", &tokenizer, &err), TSR_OK);
    CU_ASSERT_EQUAL(tokenizer_encode(tokenizer, "ab\xFF", 3, false, &ids, &err), TSR_E_INPUT);
    CU_ASSERT_EQUAL(err.offset, 2);
    CU_ASSERT_EQUAL(ids.count, 0);
    CU_ASSERT_EQUAL(tokenizer_decode(tokenizer, outside, 2, false, &text, &err), TSR_E_INPUT);
    CU_ASSERT_EQUAL(text.length, 0);
    token_ids_clear(&ids);
    tokenizer_close(tokenizer);
}

/* A quadratic merge would take hours. */
static void a_megabyte_of_one_letter_is_encoded(void) {
    enum { SIZE = 1000000 };
    struct tokenizer *tokenizer = NULL;
    struct token_ids ids = {0};
    struct str back = {0};
    tsr_error err = {0};
    char *text = mem_alloc(SIZE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, 'a', SIZE);
    CU_ASSERT_EQUAL_FATAL(tokenizer_open("demo/stories-1m", &tokenizer, &err), TSR_OK);
    CU_ASSERT_EQUAL(tokenizer_encode(tokenizer, text, SIZE, false, &ids, &err), TSR_OK);
    CU_ASSERT_EQUAL(tokenizer_decode(tokenizer, ids.ids, ids.count, false, &back, &err), TSR_OK);
    CU_ASSERT(back.length == SIZE && !memcmp(back.text, text, SIZE));
    str_clear(&back);
    token_ids_clear(&ids);
    tokenizer_close(tokenizer);
    mem_free(text);
}

static void tokens_are_found_by_text_and_by_id(void) {
    struct tokenizer *tokenizer = NULL;
    tsr_error err = {0};
    uint32_t id = 7;
    size_t length = 0;
    CU_ASSERT_EQUAL_FATAL(tokenizer_open("demo/stories-1m", &tokenizer, &err), TSR_OK);
    CU_ASSERT_EQUAL(tokenizer_size(tokenizer), 2048);
    CU_ASSERT(tokenizer_find(tokenizer, "<|endoftext|>", 13, &id));
    CU_ASSERT_EQUAL(id, 0);
    CU_ASSERT(tokenizer_is_special(tokenizer, 0));
    CU_ASSERT_FALSE(tokenizer_is_special(tokenizer, 1));
    CU_ASSERT_STRING_EQUAL(tokenizer_token(tokenizer, 0, &length), "<|endoftext|>");
    CU_ASSERT_EQUAL(length, 13);
    CU_ASSERT_PTR_NULL(tokenizer_token(tokenizer, 2048, NULL));
    CU_ASSERT_FALSE(tokenizer_find(tokenizer, "no such token", 13, &id));
    tokenizer_close(tokenizer);
}

static const struct unit_test TESTS[] = {
    {"golden_encodings_are_equal", golden_encodings_are_equal},
    {"another_tokenizer_fails_the_golden_file", another_tokenizer_fails_the_golden_file},
    {"vectors_of_llama_cpp_are_equal", vectors_of_llama_cpp_are_equal},
    {"random_components_are_as_the_reference_has_them", random_components_are_as_the_reference_has_them},
    {"random_models_are_as_the_reference_has_them", random_models_are_as_the_reference_has_them},
    {"bad_files_are_named_with_their_member", bad_files_are_named_with_their_member},
    {"bad_text_and_ids_are_refused_and_nothing_is_added", bad_text_and_ids_are_refused_and_nothing_is_added},
    {"a_megabyte_of_one_letter_is_encoded", a_megabyte_of_one_letter_is_encoded},
    {"tokens_are_found_by_text_and_by_id", tokens_are_found_by_text_and_by_id},
};

UNIT_MAIN(TESTS)
