/* SPDX-License-Identifier: Apache-2.0
 *
 * Folders without a tokenizer.json: vocab.json and merges.txt hold a byte-level BPE, and tokenizer_config.json (or else
 * config.json) says which pre-tokenizer its class has built in. The parts are put together as the document that a
 * tokenizer.json would be. A class that is not in the table is refused. */
#include "tokenizer_files.h"
#include "tokenizer_parts.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <format/json.h>

#define FILE_BYTES_MAX (256u << 20)

static const char GPT2_PARTS[] =
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
    "\"decoder\":{\"type\":\"ByteLevel\"}}";
static const char QWEN2_PARTS[] =
    "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
    "\"Split\","
    "\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\","
    "\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
    "\"decoder\":{\"type\":\"ByteLevel\"}}";

/* Qwen3-TTS: the official code loads its tokenizer with fix_mistral_regex, and transformers 4.57.3 then puts this pattern in
 * place of Qwen's own, for folders whose vocabulary has more than 100,000 entries and whose config.json was written by a
 * version above 4.57.2 (docs/tokenizer.md, "Qwen3-TTS"). */
static const char SWAPPED_PATTERN[] =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}"
    "\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
#define SWAPPED_ENTRIES 100000

#define GPT2_DEFAULTS                                                                                                  \
    "{\"bos_token\":\"<|endoftext|>\",\"eos_token\":\"<|endoftext|>\",\"unk_token\":\"<|endoftext|>\"}"
#define QWEN2_DEFAULTS                                                                                                 \
    "{\"eos_token\":\"<|endoftext|>\",\"unk_token\":\"<|endoftext|>\",\"pad_token\":\"<|endoftext|>\"}"

struct token_class {
    const char *parts;    /* of a tokenizer.json */
    const char *defaults; /* special tokens */
    bool begins;          /* heeds add_bos_token and add_prefix_space */
};
static const struct token_class GPT2 = {GPT2_PARTS, GPT2_DEFAULTS, true}, QWEN2 = {QWEN2_PARTS, QWEN2_DEFAULTS, false};

static const struct {
    const char *name; /* tokenizer_class without "Fast", or model_type of config.json */
    const struct token_class *class;
} CLASSES[] = {{"GPT2Tokenizer", &GPT2},
               {"CodeGenTokenizer", &GPT2},
               {"Qwen2Tokenizer", &QWEN2},
               {"gpt2", &GPT2},
               {"gpt_neo", &GPT2},
               {"gptj", &GPT2},
               {"opt", &GPT2},
               {"phi", &GPT2},
               {"starcoder2", &GPT2},
               {"gpt_bigcode", &GPT2},
               {"codegen", &GPT2},
               {"qwen2", &QWEN2},
               {"qwen2_moe", &QWEN2},
               {"qwen3", &QWEN2},
               {"qwen3_moe", &QWEN2}};

static tsr_status read_file(const char *folder, const char *name, char **text, uint64_t *size, tsr_error *err) {
    char *path = fs_join(folder, name);
    if (!path) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", name);
    tsr_status st = fs_read_whole(path, FILE_BYTES_MAX, text, size, err);
    mem_free(path);
    return st;
}

typedef tsr_status (*json_parser)(const char *text, size_t size, const char *subject, json_t **value, tsr_error *err);

static tsr_status read_json(const char *folder, const char *name, json_parser parse, json_t **value, tsr_error *err) {
    char *text = NULL;
    uint64_t size;
    tsr_status st = read_file(folder, name, &text, &size, err);
    if (st == TSR_OK) st = parse(text, size, name, value, err);
    mem_free(text);
    return st;
}

static tsr_status read_json_if_there(const char *folder, const char *name, json_parser parse, json_t **value,
                                     tsr_error *err) {
    char *path = fs_join(folder, name);
    if (!path) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", name);
    bool is_there = fs_kind_of(path) == FS_FILE;
    mem_free(path);
    return is_there ? read_json(folder, name, parse, value, err) : TSR_OK;
}

/* The model's two files. */
static tsr_status load_tables(const char *folder, const struct loader *loader) {
    char *vocabulary = NULL, *merges = NULL;
    uint64_t size = 0, merges_size = 0;
    tsr_status st = read_file(folder, "vocab.json", &vocabulary, &size, loader->err);
    if (st == TSR_OK) st = read_file(folder, "merges.txt", &merges, &merges_size, loader->err);
    if (st == TSR_OK) st = load_vocabulary(loader, vocabulary, (struct json_span){0, (size_t)size}, "vocab.json");
    if (st == TSR_OK) st = load_merge_lines(loader, merges, (size_t)merges_size, "merges.txt");
    mem_free(vocabulary);
    mem_free(merges);
    return st;
}

static bool is_class(const char *name, const char *stated) {
    size_t length = strlen(name);
    return !strncmp(name, stated, length) && (!stated[length] || !strcmp(stated + length, "Fast"));
}

static const struct token_class *find_class(const struct token_files *files, const char **name) {
    *name = json_string_value(json_object_get(files->tokenizer_config, "tokenizer_class"));
    if (!*name) *name = json_string_value(json_object_get(files->config, "model_type"));
    for (unsigned i = 0; *name && i < sizeof CLASSES / sizeof *CLASSES; i++) {
        if (is_class(CLASSES[i].name, *name)) return CLASSES[i].class;
    }
    return NULL;
}

static tsr_status read_files(const char *folder, struct token_files *files, tsr_error *err) {
    /* A model_max_length of 1e30 stands in many as an integer. */
    tsr_status st = read_json_if_there(folder, "tokenizer_config.json", json_parse_reals, &files->tokenizer_config, err);
    if (st == TSR_OK) st = read_json_if_there(folder, "config.json", json_parse_reals, &files->config, err);
    if (st == TSR_OK) st = read_json_if_there(folder, "special_tokens_map.json", json_parse, &files->special_map, err);
    return st == TSR_OK ? read_json_if_there(folder, "added_tokens.json", json_parse, &files->added, err) : st;
}

/* The members that are not the model. */
static tsr_status put_together(const struct token_files *files, const struct token_class *class, json_t *document,
                               json_t *added, tsr_error *err) {
    json_t *post = NULL, *splitter = json_object_get(document, "pre_tokenizer");
    tsr_status st = files_added_tokens(files, added, err);
    if (st == TSR_OK && class->begins) st = files_begin_token(files, added, &post, err);
    if (st != TSR_OK) return st;
    bool failed = post && json_object_set_new(document, "post_processor", post) != 0;
    if (class->begins && json_is_true(json_object_get(files->tokenizer_config, "add_prefix_space"))) {
        failed |= json_object_set_new(splitter, "add_prefix_space", json_true()) != 0;
    }
    failed |= json_object_set(document, "added_tokens", added) != 0;
    return failed ? tsr_fail(err, TSR_E_NOMEM, "vocab.json: out of memory") : TSR_OK;
}

/* Above 4.57.2 and below 5. */
static bool is_swapping_version(const char *version) {
    unsigned parts[3] = {0};
    for (int i = 0; i < 3 && *version; i++) {
        for (; *version >= '0' && *version <= '9'; version++) parts[i] = parts[i] * 10 + (unsigned)(*version - '0') % 10;
        if (*version == '.') version++;
    }
    return parts[0] == 4 && (parts[1] > 57 || (parts[1] == 57 && parts[2] > 2));
}

static bool is_swapped(const struct token_files *files) {
    const char *model = json_string_value(json_object_get(files->config, "model_type"));
    const char *version = json_string_value(json_object_get(files->config, "transformers_version"));
    return model && !strcmp(model, "qwen3_tts") && version && is_swapping_version(version) &&
           files->tokenizer->vocabulary.model_count > SWAPPED_ENTRIES;
}

static tsr_status swap_pattern(json_t *document, tsr_error *err) {
    json_t *splitters = json_object_get(json_object_get(document, "pre_tokenizer"), "pretokenizers");
    json_t *pattern = json_object_get(json_array_get(splitters, 0), "pattern");
    int failed = json_object_set_new(pattern, "Regex", json_string(SWAPPED_PATTERN));
    return failed ? tsr_fail(err, TSR_E_NOMEM, "vocab.json: out of memory") : TSR_OK;
}

static tsr_status load_class(const char *folder, struct token_files *files, const struct token_class *class,
                             const struct loader *loader) {
    json_t *document = NULL, *added = json_array();
    tsr_status st = json_parse(class->parts, strlen(class->parts), "built-in tokenizer", &document, loader->err);
    if (st == TSR_OK) {
        st = json_parse(class->defaults, strlen(class->defaults), "built-in tokens", &files->defaults, loader->err);
    }
    if (st == TSR_OK) st = load_tables(folder, loader);
    if (st == TSR_OK && class == &QWEN2 && is_swapped(files)) st = swap_pattern(document, loader->err);
    if (st == TSR_OK) st = put_together(files, class, document, added, loader->err);
    if (st == TSR_OK) st = load_parts(loader, document);
    json_decref(document);
    json_decref(added);
    return st;
}

static tsr_status load_from_files(const char *folder, struct token_files *files, struct tokenizer *tokenizer,
                                  tsr_error *err) {
    const char *name;
    struct loader loader = {tokenizer, fs_base_name(folder), err};
    tsr_status st = read_files(folder, files, err);
    if (st != TSR_OK) return st;
    files->tokenizer = tokenizer;
    const struct token_class *class = find_class(files, &name);
    if (class) return load_class(folder, files, class, &loader);
    return tsr_fail(err, TSR_E_UNSUPPORTED,
                    "%s: vocab.json without tokenizer.json: tokenizer_class %.60s is not supported (GPT2Tokenizer, "
                    "CodeGenTokenizer and Qwen2Tokenizer are)",
                    fs_base_name(folder), name ? name : "(not stated)");
}

tsr_status load_vocabulary_files(const char *folder, struct tokenizer **tokenizer, tsr_error *err) {
    struct token_files files = {0};
    char *vocabulary = fs_join(folder, "vocab.json");
    struct tokenizer *created = tokenizer_create();
    tsr_status st = TSR_OK;
    if (!vocabulary || !created) st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", folder);
    if (st == TSR_OK && fs_kind_of(vocabulary) != FS_FILE) {
        st = tsr_fail(err, TSR_E_INPUT, "%s: no tokenizer.json, and no vocab.json with merges.txt", folder);
    }
    if (st == TSR_OK) st = load_from_files(folder, &files, created, err);
    json_t *values[] = {files.config, files.tokenizer_config, files.special_map, files.added, files.defaults};
    for (unsigned i = 0; i < sizeof values / sizeof *values; i++) json_decref(values[i]);
    mem_free(vocabulary);
    if (st != TSR_OK)
        tokenizer_close(created);
    else
        *tokenizer = created;
    return st;
}
