/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokenizer against golden encodings of Hugging Face tokenizers and of llama.cpp, and what it refuses. */
#include "unit.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <format/json.h>
#include <model/tokenize.h>
#include <string.h>
#include <tokenizer/tokenizer.h>

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
    CU_ASSERT_EQUAL_FATAL(fs_read_whole(path, 1 << 21, &text, &size, &err), TSR_OK);
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

static unsigned count_equal(const struct tokenizer *tokenizer, const char *name) {
    static const char SEPARATOR[] = "\n__ggml_vocab_test__\n";
    char path[160];
    tsr_error err = {0};
    unsigned equal = 0;
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
    return equal;
}

static unsigned count_equal_vectors(const char *model, const char *name) {
    struct tokenizer *tokenizer = NULL;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(tokenizer_open(model, &tokenizer, &err), TSR_OK);
    unsigned equal = count_equal(tokenizer, name);
    tokenizer_close(tokenizer);
    return equal;
}

static void vectors_of_llama_cpp_are_equal(void) {
    CU_ASSERT_EQUAL(count_equal_vectors(DATA "gpt2", "gpt-2"), 46);
    CU_ASSERT_EQUAL(count_equal_vectors(DATA "qwen2", "qwen2"), 46);
    CU_ASSERT_EQUAL(count_equal_vectors(DATA "llama2", "llama-spm"), 46);
    CU_ASSERT_EQUAL(count_equal_vectors(DATA "llama-bpe", "llama-bpe"), 46);
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

/* Phi-3 has the vocabulary of Llama 2 and these tokens behind it. */
static void vectors_of_phi_3_are_equal(void) {
    static const char *const ADDED[] = {"<|endoftext|>",    "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>",
                                        "<|placeholder3|>", "<|placeholder4|>", "<|system|>",    "<|end|>",
                                        "<|placeholder5|>", "<|placeholder6|>", "<|user|>"};
    char *text = read_text(DATA "llama2/tokenizer.json");
    json_t *document = NULL;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(json_parse(text, strlen(text), "llama2", &document, &err), TSR_OK);
    for (int i = 0; i < 11; i++) {
        json_t *token = json_pack("{s:i,s:s,s:b,s:b,s:b}", "id", 32000 + i, "content", ADDED[i], "rstrip", 1,
                                  "normalized", 0, "special", 1);
        CU_ASSERT_EQUAL(json_array_append_new(json_object_get(document, "added_tokens"), token), 0);
    }
    struct tokenizer *tokenizer = parse_document(document, &err);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tokenizer);
    CU_ASSERT_EQUAL(tokenizer_size(tokenizer), 32011);
    CU_ASSERT_EQUAL(count_equal(tokenizer, "phi-3"), 46);
    tokenizer_close(tokenizer);
    json_decref(document);
    mem_free(text);
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

/* ---- folders without tokenizer.json ---- */

static void write_in(const char *folder, const char *name, const char *text) {
    char *path = fs_join(folder, name);
    CU_ASSERT_EQUAL_FATAL(fs_replace(path, text, strlen(text), NULL), TSR_OK);
    mem_free(path);
}

static void write_json_in(const char *folder, const char *name, const json_t *value) {
    char *text = json_to_text(value, 0);
    write_in(folder, name, text);
    mem_free(text);
}

static void write_base(const char *folder, const json_t *base) {
    struct str merges = {0};
    size_t i;
    json_t *merge;
    str_add_text(&merges, "#version: 0.2\n");
    json_array_foreach(json_object_get(base, "merges"), i, merge) {
        str_add_format(&merges, "%s\n", json_string_value(merge));
    }
    write_json_in(folder, "vocab.json", json_object_get(base, "vocab"));
    write_in(folder, "merges.txt", merges.text);
    str_clear(&merges);
}

static void check_folder(const json_t *bases, const json_t *item) {
    char folder[] = "/tmp/tessera-tokenizer-XXXXXX";
    const char *name;
    struct tokenizer *tokenizer = NULL;
    tsr_error err = {0};
    json_t *file, *each;
    size_t i;
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    write_base(folder, json_object_get(bases, json_string_value(json_object_get(item, "base"))));
    json_object_foreach(json_object_get(item, "files"), name, file) write_json_in(folder, name, file);
    CU_ASSERT_EQUAL(tokenizer_open(folder, &tokenizer, &err), TSR_OK);
    json_array_foreach(json_object_get(item, "cases"), i, each) {
        bool equal = tokenizer && case_is_equal(tokenizer, each);
        if (!equal) printf("  %s: case %zu %s\n", json_string_value(json_object_get(item, "name")), i, err.message);
        CU_ASSERT(equal);
    }
    tokenizer_close(tokenizer);
    (void)fs_remove_tree(folder, NULL);
}

static void folders_of_vocabulary_and_merges_are_as_the_reference_has_them(void) {
    char *text = read_text(DATA "folders.json");
    json_t *all = NULL, *item;
    size_t i;
    tsr_error err = {0};
    CU_ASSERT_EQUAL_FATAL(json_parse(text, strlen(text), "folders.json", &all, &err), TSR_OK);
    CU_ASSERT_EQUAL(json_array_size(json_object_get(all, "folders")), 15);
    json_array_foreach(json_object_get(all, "folders"), i, item) check_folder(json_object_get(all, "bases"), item);
    json_decref(all);
    mem_free(text);
}

static const struct {
    const char *file, *text;
    tsr_status status;
    const char *words;
} BAD_FILES[] = {
    {"tokenizer_config.json", "{\"tokenizer_class\":\"BertTokenizer\"}", TSR_E_UNSUPPORTED, "BertTokenizer"},
    {"tokenizer_config.json", "{}", TSR_E_UNSUPPORTED, "(not stated)"},
    {"tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\",\"bos_token\":null,\"add_bos_token\":true}", TSR_E_INPUT,
     "without a bos_token"},
    {"tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\",\"pad_token\":7}", TSR_E_INPUT, "pad_token"},
    {"tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\",\"added_tokens_decoder\":{\"x\":{}}}", TSR_E_INPUT,
     "added_tokens_decoder"},
    {"added_tokens.json", "{\"a\":-1}", TSR_E_INPUT, "added_tokens.json: \"a\""},
    {"added_tokens.json", "[]", TSR_E_INPUT, "added_tokens.json"},
    {"added_tokens.json", "{\"a\":5}", TSR_E_INPUT, "\"a\" has id 5"},
    {"merges.txt", "a b c\n", TSR_E_INPUT, "merge 0"},
    {"merges.txt", "a \xFF\n", TSR_E_INPUT, "merges.txt"},
    {"vocab.json", "[]", TSR_E_INPUT, "vocab"},
};

static void bad_folders_are_named_with_their_file(void) {
    for (unsigned i = 0; i < sizeof BAD_FILES / sizeof *BAD_FILES; i++) {
        char folder[] = "/tmp/tessera-tokenizer-XXXXXX";
        struct tokenizer *tokenizer = NULL;
        tsr_error err = {0};
        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
        write_in(folder, "vocab.json", "{\"a\":0,\"b\":1,\"ab\":2}");
        write_in(folder, "merges.txt", "a b\n");
        write_in(folder, "tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\"}");
        write_in(folder, BAD_FILES[i].file, BAD_FILES[i].text);
        tsr_status st = tokenizer_open(folder, &tokenizer, &err);
        if (st != BAD_FILES[i].status || !strstr(err.message, BAD_FILES[i].words)) {
            printf("  %s: %d %s\n", BAD_FILES[i].text, st, err.message);
        }
        CU_ASSERT_EQUAL(st, BAD_FILES[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, BAD_FILES[i].words));
        tokenizer_close(tokenizer);
        (void)fs_remove_tree(folder, NULL);
    }
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
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", TSR_E_INPUT, "\"a\" is there twice"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0 \"b\":1},\"merges\":[]}}", TSR_E_INPUT, "malformed at byte 41"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0.5},\"merges\":[]}}", TSR_E_INPUT, "\"a\": expected an id"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a\",]}}", TSR_E_INPUT, "merge 0"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", TSR_E_INPUT, "model.merges: malformed"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", TSR_E_INPUT, "model.merges: expected a list"},
    {"{\n\"model\":{\"vocab\":{\n\"a\":0},\n\"merges\":[]},\nx}", TSR_E_INPUT, "t.json:5:"},
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
    {"vectors_of_phi_3_are_equal", vectors_of_phi_3_are_equal},
    {"random_components_are_as_the_reference_has_them", random_components_are_as_the_reference_has_them},
    {"random_models_are_as_the_reference_has_them", random_models_are_as_the_reference_has_them},
    {"folders_of_vocabulary_and_merges_are_as_the_reference_has_them",
     folders_of_vocabulary_and_merges_are_as_the_reference_has_them},
    {"bad_folders_are_named_with_their_file", bad_folders_are_named_with_their_file},
    {"bad_files_are_named_with_their_member", bad_files_are_named_with_their_member},
    {"bad_text_and_ids_are_refused_and_nothing_is_added", bad_text_and_ids_are_refused_and_nothing_is_added},
    {"a_megabyte_of_one_letter_is_encoded", a_megabyte_of_one_letter_is_encoded},
    {"tokens_are_found_by_text_and_by_id", tokens_are_found_by_text_and_by_id},
};

UNIT_MAIN(TESTS)
