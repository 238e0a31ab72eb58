/* SPDX-License-Identifier: Apache-2.0
 *
 * Folders without a tokenizer.json: vocab.json and merges.txt hold a byte-level BPE, and tokenizer_config.json (or else
 * config.json) says which pre-tokenizer its class has built in. The parts are put together as the document that a
 * tokenizer.json would be. A class that is not in the table is refused. */
#include "tokenizer_parts.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <stdlib.h>

#include "json.h"

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

static const struct {
    const char *name; /* tokenizer_class, or model_type of config.json */
    const char *parts;
} CLASSES[] = {{"GPT2Tokenizer", GPT2_PARTS},
               {"GPT2TokenizerFast", GPT2_PARTS},
               {"Qwen2Tokenizer", QWEN2_PARTS},
               {"Qwen2TokenizerFast", QWEN2_PARTS},
               {"gpt2", GPT2_PARTS},
               {"gpt_neo", GPT2_PARTS},
               {"qwen2", QWEN2_PARTS},
               {"qwen3", QWEN2_PARTS}};

static tsr_status read_file(const char *folder, const char *name, char **text, uint64_t *size, tsr_error *err) {
    char *path = fs_join(folder, name);
    if (!path) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", name);
    tsr_status st = fs_read_whole(path, FILE_BYTES_MAX, text, size, err);
    mem_free(path);
    return st;
}

static tsr_status read_json(const char *folder, const char *name, json_t **value, tsr_error *err) {
    char *text = NULL;
    uint64_t size;
    tsr_status st = read_file(folder, name, &text, &size, err);
    if (st == TSR_OK) st = json_parse(text, size, name, value, err);
    mem_free(text);
    return st;
}

static tsr_status read_json_if_there(const char *folder, const char *name, json_t **value, tsr_error *err) {
    char *path = fs_join(folder, name);
    if (!path) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", name);
    bool is_there = fs_kind_of(path) == FS_FILE;
    mem_free(path);
    return is_there ? read_json(folder, name, value, err) : TSR_OK;
}

/* merges.txt: a line a merge, in order of rank. */
static tsr_status read_merges(const char *folder, json_t *merges, tsr_error *err) {
    char *text = NULL;
    uint64_t size;
    tsr_status st = read_file(folder, "merges.txt", &text, &size, err);
    if (st != TSR_OK) return st;
    for (char *at = text, *end = text + size; at < end && st == TSR_OK;) {
        char *line_end = memchr(at, '\n', (size_t)(end - at));
        char *next = line_end ? line_end + 1 : end;
        size_t length = (size_t)((line_end ? line_end : end) - at);
        if (length && at[length - 1] == '\r') length--;
        if (length && json_array_append_new(merges, json_stringn(at, length)) != 0) {
            st = tsr_fail(err, TSR_E_INPUT, "merges.txt: merge %zu: not UTF-8, or out of memory",
                          json_array_size(merges));
        }
        at = next;
    }
    mem_free(text);
    return st;
}

static const char *parts_of_class(const json_t *tokenizer_config, const json_t *config, const char **name) {
    *name = json_string_value(json_object_get(tokenizer_config, "tokenizer_class"));
    if (!*name) *name = json_string_value(json_object_get(config, "model_type"));
    for (unsigned i = 0; *name && i < sizeof CLASSES / sizeof *CLASSES; i++) {
        if (!strcmp(CLASSES[i].name, *name)) return CLASSES[i].parts;
    }
    return NULL;
}

static int by_id(const void *a, const void *b) {
    json_int_t left = json_integer_value(json_object_get(*(json_t *const *)a, "id"));
    json_int_t right = json_integer_value(json_object_get(*(json_t *const *)b, "id"));
    return (left > right) - (left < right);
}

/* added_tokens_decoder as the list of a tokenizer.json, by id. */
static tsr_status list_added(const json_t *tokenizer_config, json_t *list, tsr_error *err) {
    json_t *decoder = json_object_get(tokenizer_config, "added_tokens_decoder"), *token;
    const char *key;
    json_object_foreach(decoder, key, token) {
        char *end;
        long id = strtol(key, &end, 10);
        if (*end || end == key || id < 0 || !json_is_object(token)) {
            return tsr_fail(err, TSR_E_INPUT,
                            "tokenizer_config.json: added_tokens_decoder: expected ids and tokens, found \"%.40s\"",
                            key);
        }
        json_t *copy = json_copy(token);
        if (!copy || json_object_set_new(copy, "id", json_integer(id)) != 0 || json_array_append(list, copy) != 0) {
            json_decref(copy);
            return tsr_fail(err, TSR_E_NOMEM, "tokenizer_config.json: out of memory");
        }
        json_decref(copy);
    }
    return TSR_OK;
}

static tsr_status sort_added(json_t *list, tsr_error *err) {
    size_t count = json_array_size(list);
    json_t **items = mem_alloc_array(count + 1, sizeof *items);
    if (!items) return tsr_fail(err, TSR_E_NOMEM, "tokenizer_config.json: out of memory");
    for (size_t i = 0; i < count; i++) items[i] = json_incref(json_array_get(list, i));
    qsort(items, count, sizeof(json_t *), by_id);
    for (size_t i = 0; i < count; i++) (void)json_array_set_new(list, i, items[i]);
    mem_free(items);
    return TSR_OK;
}

/* The one token these classes have without its being said. */
static tsr_status add_end_of_text(const json_t *vocabulary, json_t *list, tsr_error *err) {
    static const char TOKEN[] = "<|endoftext|>";
    const json_t *known = json_object_get(vocabulary, TOKEN);
    json_int_t id = known ? json_integer_value(known) : (json_int_t)json_object_size(vocabulary);
    if (json_array_size(list)) return TSR_OK;
    json_t *token = json_pack("{s:I,s:s,s:b}", "id", id, "content", TOKEN, "special", 1);
    if (token && json_array_append_new(list, token) == 0) return TSR_OK;
    return tsr_fail(err, TSR_E_NOMEM, "vocab.json: out of memory");
}

struct files {
    json_t *config, *tokenizer_config, *vocabulary, *document, *merges, *added;
};

static tsr_status read_files(const char *folder, struct files *files, tsr_error *err) {
    tsr_status st = read_json_if_there(folder, "tokenizer_config.json", &files->tokenizer_config, err);
    if (st == TSR_OK) st = read_json_if_there(folder, "config.json", &files->config, err);
    if (st == TSR_OK) st = read_json(folder, "vocab.json", &files->vocabulary, err);
    files->merges = json_array();
    files->added = json_array();
    if (st == TSR_OK) st = read_merges(folder, files->merges, err);
    if (st == TSR_OK) st = list_added(files->tokenizer_config, files->added, err);
    if (st == TSR_OK) st = sort_added(files->added, err);
    return st == TSR_OK ? add_end_of_text(files->vocabulary, files->added, err) : st;
}

static tsr_status apply_prefix_space(const struct files *files) {
    const json_t *prefix = json_object_get(files->tokenizer_config, "add_prefix_space");
    json_t *splitter = json_object_get(files->document, "pre_tokenizer");
    if (!json_is_true(prefix) || strcmp(json_string_value(json_object_get(splitter, "type")), "ByteLevel") != 0)
        return TSR_OK;
    return json_object_set_new(splitter, "add_prefix_space", json_true()) == 0 ? TSR_OK : TSR_E_NOMEM;
}

static tsr_status put_together(const struct files *files, tsr_error *err) {
    json_t *model = json_pack("{s:s,s:O,s:O}", "type", "BPE", "vocab", files->vocabulary, "merges", files->merges);
    if (!model || json_object_set_new(files->document, "model", model) != 0 ||
        json_object_set(files->document, "added_tokens", files->added) != 0 || apply_prefix_space(files) != TSR_OK) {
        return tsr_fail(err, TSR_E_NOMEM, "vocab.json: out of memory");
    }
    return TSR_OK;
}

static tsr_status load_from_files(const char *folder, struct files *files, struct tokenizer *tokenizer,
                                  tsr_error *err) {
    const char *name;
    struct loader loader = {tokenizer, "vocab.json", err};
    tsr_status st = read_files(folder, files, err);
    if (st != TSR_OK) return st;
    const char *parts = parts_of_class(files->tokenizer_config, files->config, &name);
    if (!parts) {
        return tsr_fail(err, TSR_E_UNSUPPORTED,
                        "%s: vocab.json without tokenizer.json: tokenizer_class %.60s is not supported (GPT2Tokenizer "
                        "and Qwen2Tokenizer are)",
                        fs_base_name(folder), name ? name : "(not stated)");
    }
    st = json_parse(parts, strlen(parts), "built-in tokenizer", &files->document, err);
    if (st == TSR_OK) st = put_together(files, err);
    return st == TSR_OK ? load_document(&loader, files->document) : st;
}

tsr_status load_vocabulary_files(const char *folder, struct tokenizer **tokenizer, tsr_error *err) {
    struct files files = {0};
    char *vocabulary = fs_join(folder, "vocab.json");
    struct tokenizer *created = tokenizer_create();
    tsr_status st = TSR_OK;
    if (!vocabulary || !created) st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", folder);
    if (st == TSR_OK && fs_kind_of(vocabulary) != FS_FILE) {
        st = tsr_fail(err, TSR_E_INPUT, "%s: no tokenizer.json, and no vocab.json with merges.txt", folder);
    }
    if (st == TSR_OK) st = load_from_files(folder, &files, created, err);
    json_t *values[] = {files.config,   files.tokenizer_config, files.vocabulary,
                        files.document, files.merges,           files.added};
    for (unsigned i = 0; i < sizeof values / sizeof *values; i++) json_decref(values[i]);
    mem_free(vocabulary);
    if (st != TSR_OK)
        tokenizer_close(created);
    else
        *tokenizer = created;
    return st;
}
