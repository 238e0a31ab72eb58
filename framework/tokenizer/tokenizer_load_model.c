/* SPDX-License-Identifier: Apache-2.0
 *
 * The model of a tokenizer: its options, and the tables of tokens and merges, which are read piece by piece from where
 * they stand in the text. */
#include "tokenizer_parts.h"

#include <base/alloc.h>
#include <format/json_reader.h>

#define SPARSE_ROOM (1u << 18) /* ids a small vocabulary may leave unused */
#define MERGES_MAX (1u << 26)

static tsr_status fail_malformed(const struct loader *loader, const struct json_reader *reader, const char *where) {
    if (reader->unescaped.failed) return load_no_memory(loader);
    return load_fail(loader, TSR_E_INPUT, where, "malformed at byte %zu of the file", reader->at);
}

static int shown(size_t length) {
    return (int)(length < 30 ? length : 30);
}

/* ---- vocabulary ---- */

struct entry {
    struct piece_text text; /* in the arena */
    int64_t id;
};

struct entries {
    struct entry *items;
    uint64_t count, capacity;
};

static tsr_status add_entry(const struct loader *loader, struct entries *entries, const struct json_reader *reader) {
    if (entries->count == entries->capacity) {
        uint64_t capacity = entries->capacity ? 2 * entries->capacity : 1024;
        struct entry *grown = mem_resize(entries->items, capacity, sizeof *grown);
        if (!grown) return load_no_memory(loader);
        entries->items = grown;
        entries->capacity = capacity;
    }
    char *copy = arena_dup(&loader->tokenizer->arena, reader->value, reader->length);
    if (!copy) return load_no_memory(loader);
    entries->items[entries->count++] = (struct entry){{copy, reader->length}, 0};
    return TSR_OK;
}

/* {"token": id, ...} */
static tsr_status read_entries(const struct loader *loader, struct json_reader *reader, const char *where,
                               struct entries *entries) {
    if (json_next(reader) != '{') {
        return load_fail(loader, TSR_E_INPUT, where, "expected an object of tokens and ids");
    }
    int piece = json_next(reader);
    if (piece == '}') return TSR_OK;
    for (;; piece = json_next(reader)) {
        if (piece != JSON_TEXT) return fail_malformed(loader, reader, where);
        tsr_status st = add_entry(loader, entries, reader);
        if (st != TSR_OK) return st;
        struct entry *entry = &entries->items[entries->count - 1];
        if (json_next(reader) != ':') return fail_malformed(loader, reader, where);
        bool is_id = json_next(reader) == JSON_WHOLE && reader->number >= 0;
        entry->id = is_id ? reader->number : -1;
        if (!is_id) {
            return load_fail(loader, TSR_E_INPUT, where, "token \"%.40s\": expected an id", entry->text.text);
        }
        piece = json_next(reader);
        if (piece == '}') return TSR_OK;
        if (piece != ',') return fail_malformed(loader, reader, where);
    }
}

static tsr_status highest_id(const struct loader *loader, const struct entries *entries, const char *where,
                             uint64_t *size) {
    uint64_t limit = 16 * entries->count + SPARSE_ROOM;
    *size = 0;
    for (uint64_t i = 0; i < entries->count; i++) {
        uint64_t id = (uint64_t)entries->items[i].id;
        if (id >= limit) {
            return load_fail(loader, TSR_E_INPUT, where, "token \"%.40s\": expected an id below %llu",
                             entries->items[i].text.text, (unsigned long long)limit);
        }
        if (id + 1 > *size) *size = id + 1;
    }
    return *size < NO_TOKEN ? TSR_OK : load_fail(loader, TSR_E_LIMIT, where, "too many tokens");
}

static tsr_status add_model_token(const struct loader *loader, const struct entry *entry, const char *where) {
    struct vocabulary *vocabulary = &loader->tokenizer->vocabulary;
    struct token *token = &vocabulary->tokens[entry->id];
    if (token->text) {
        return load_fail(loader, TSR_E_INPUT, where, "tokens \"%.30s\" and \"%.30s\" have the same id %lld",
                         token->text, entry->text.text, (long long)entry->id);
    }
    if (entry->text.length > UINT32_MAX) return load_fail(loader, TSR_E_LIMIT, where, "a token is too long");
    if (vocabulary_find(vocabulary, entry->text.text, entry->text.length) != NO_TOKEN) {
        return load_fail(loader, TSR_E_INPUT, where, "token \"%.30s\" is there twice", entry->text.text);
    }
    *token = (struct token){entry->text.text, (uint32_t)entry->text.length, TOKEN_OF_MODEL};
    vocabulary_insert(vocabulary, (uint32_t)entry->id);
    vocabulary->model_count++;
    return TSR_OK;
}

static tsr_status add_entries(const struct loader *loader, const struct entries *entries, const char *where) {
    struct vocabulary *vocabulary = &loader->tokenizer->vocabulary;
    uint64_t size;
    tsr_status st = highest_id(loader, entries, where, &size);
    if (st == TSR_OK &&
        (!vocabulary_reserve(vocabulary, (uint32_t)size) || !vocabulary_index(vocabulary, entries->count))) {
        st = load_no_memory(loader);
    }
    for (uint64_t i = 0; i < entries->count && st == TSR_OK; i++) {
        st = add_model_token(loader, &entries->items[i], where);
    }
    return st;
}

tsr_status load_vocabulary(const struct loader *loader, const char *text, struct json_span span, const char *where) {
    struct json_reader reader = {.text = text, .size = span.end, .at = span.start};
    struct entries entries = {0};
    tsr_status st = read_entries(loader, &reader, where, &entries);
    if (st == TSR_OK && json_next(&reader) != JSON_END) st = fail_malformed(loader, &reader, where);
    if (st == TSR_OK) st = add_entries(loader, &entries, where);
    json_reader_clear(&reader);
    mem_free(entries.items);
    return st;
}

/* ---- merges ---- */

/* U+2581 may only begin what a merge adds when what stands before ends in it too. */
static bool merge_keeps_cuts(struct piece_text left, struct piece_text right) {
    static const char MARK[] = "\xE2\x96\x81";
    bool begins = right.length >= 3 && !memcmp(right.text, MARK, 3);
    bool ends = left.length >= 3 && !memcmp(left.text + left.length - 3, MARK, 3);
    return !begins || ends;
}

struct merging {
    const struct loader *loader;
    const char *where;
    struct str left, both; /* scratch */
    uint32_t rank;
};

static tsr_status add_merge(struct merging *merging, struct piece_text left, struct piece_text right) {
    const struct loader *loader = merging->loader;
    struct tokenizer *tokenizer = loader->tokenizer;
    struct str *both = &merging->both;
    size_t cut = tokenizer->prefix.length;
    if (right.length < cut) {
        return load_fail(loader, TSR_E_INPUT, merging->where, "merge %u: right side without the prefix",
                         (unsigned)merging->rank);
    }
    str_truncate(both, 0);
    str_add(both, left.text, left.length);
    str_add(both, right.text + cut, right.length - cut);
    if (both->failed) return load_no_memory(loader);
    uint32_t left_id = vocabulary_find(&tokenizer->vocabulary, left.text, left.length);
    uint32_t right_id = vocabulary_find(&tokenizer->vocabulary, right.text, right.length);
    uint32_t id = vocabulary_find(&tokenizer->vocabulary, both->length ? both->text : "", both->length);
    if (left_id == NO_TOKEN || right_id == NO_TOKEN || id == NO_TOKEN) {
        return load_fail(loader, TSR_E_INPUT, merging->where,
                         "merge %u: \"%.*s\" and \"%.*s\" or what they become is not in the vocabulary",
                         (unsigned)merging->rank, shown(left.length), left.text, shown(right.length), right.text);
    }
    merges_insert(&tokenizer->merges, (struct merge){(uint64_t)left_id << 32 | right_id, merging->rank++, id});
    if (!merge_keeps_cuts(left, right)) tokenizer->cut_at_metaspace = false;
    return TSR_OK;
}

/* "a b"; a line that states the version is no merge. */
static tsr_status add_merge_text(struct merging *merging, const char *text, size_t length) {
    static const char VERSION[] = "#version";
    const char *space = memchr(text, ' ', length);
    if (length >= sizeof VERSION - 1 && !memcmp(text, VERSION, sizeof VERSION - 1)) return TSR_OK;
    size_t left = space ? (size_t)(space - text) : 0;
    if (!space || memchr(space + 1, ' ', length - left - 1)) {
        return load_fail(merging->loader, TSR_E_INPUT, merging->where, "merge %u: expected \"a b\" or [\"a\", \"b\"]",
                         (unsigned)merging->rank);
    }
    return add_merge(merging, (struct piece_text){text, left}, (struct piece_text){space + 1, length - left - 1});
}

/* ["a", "b"], behind its bracket. */
static tsr_status add_merge_pair(struct merging *merging, struct json_reader *reader) {
    if (json_next(reader) != JSON_TEXT) return fail_malformed(merging->loader, reader, merging->where);
    str_truncate(&merging->left, 0);
    str_add(&merging->left, reader->value, reader->length);
    if (merging->left.failed) return load_no_memory(merging->loader);
    if (json_next(reader) != ',' || json_next(reader) != JSON_TEXT) {
        return fail_malformed(merging->loader, reader, merging->where);
    }
    struct piece_text left = {merging->left.length ? merging->left.text : "", merging->left.length};
    tsr_status st = add_merge(merging, left, (struct piece_text){reader->value, reader->length});
    return st == TSR_OK && json_next(reader) != ']' ? fail_malformed(merging->loader, reader, merging->where) : st;
}

static tsr_status read_merges(struct merging *merging, struct json_reader *reader) {
    tsr_status st = TSR_OK;
    int piece = json_next(reader);
    if (piece != '[') return load_fail(merging->loader, TSR_E_INPUT, merging->where, "expected a list");
    piece = json_next(reader);
    if (piece == ']') return TSR_OK;
    for (; st == TSR_OK; piece = json_next(reader)) {
        if (piece == JSON_TEXT) {
            st = add_merge_text(merging, reader->value, reader->length);
        } else {
            st = piece == '[' ? add_merge_pair(merging, reader)
                              : fail_malformed(merging->loader, reader, merging->where);
        }
        if (st != TSR_OK) break;
        piece = json_next(reader);
        if (piece == ']') break;
        if (piece != ',') st = fail_malformed(merging->loader, reader, merging->where);
    }
    return st;
}

static tsr_status reserve_merges(const struct loader *loader, uint64_t count, const char *where) {
    if (count > MERGES_MAX) return load_fail(loader, TSR_E_LIMIT, where, "too many merges");
    return merges_reserve(&loader->tokenizer->merges, count) ? TSR_OK : load_no_memory(loader);
}

/* At least as many as the list has. */
static uint64_t count_merges(const char *text, struct json_span span) {
    struct json_reader reader = {.text = text, .size = span.end, .at = span.start};
    uint64_t count = 0;
    int before = 0, piece = json_next(&reader);
    for (; piece != JSON_END && piece != JSON_BAD; before = piece, piece = json_next(&reader)) {
        count += piece == '[' || (piece == JSON_TEXT && before != '[');
    }
    json_reader_clear(&reader);
    return count;
}

tsr_status load_merges(const struct loader *loader, const char *text, struct json_span span, const char *where) {
    struct json_reader reader = {.text = text, .size = span.end, .at = span.start};
    struct merging merging = {.loader = loader, .where = where};
    tsr_status st = reserve_merges(loader, count_merges(text, span), where);
    if (st == TSR_OK) st = read_merges(&merging, &reader);
    json_reader_clear(&reader);
    str_clear(&merging.left);
    str_clear(&merging.both);
    return st;
}

tsr_status load_merge_lines(const struct loader *loader, const char *text, size_t size, const char *where) {
    struct merging merging = {.loader = loader, .where = where};
    uint64_t lines = 1;
    for (size_t at = 0; at < size; at++) lines += text[at] == '\n';
    tsr_status st = reserve_merges(loader, lines, where);
    for (size_t at = 0, length; at < size && st == TSR_OK; at += length + 1) {
        const char *newline = memchr(text + at, '\n', size - at);
        length = newline ? (size_t)(newline - text) - at : size - at;
        bool returns = length && text[at + length - 1] == '\r';
        if (length > returns) st = add_merge_text(&merging, text + at, length - returns);
    }
    str_clear(&merging.both);
    return st;
}

/* ---- options ---- */

static tsr_status load_unknown(const struct loader *loader, const json_t *model) {
    struct tokenizer *tokenizer = loader->tokenizer;
    struct piece_text unknown = {0};
    tsr_status st = load_text(loader, model, "model", "unk_token", false, &unknown);
    if (st != TSR_OK || !unknown.text) return st;
    tokenizer->unknown = vocabulary_find(&tokenizer->vocabulary, unknown.text, unknown.length);
    tokenizer->unknown_is_missing = tokenizer->unknown == NO_TOKEN;
    return TSR_OK;
}

static tsr_status load_options(const struct loader *loader, const json_t *model) {
    struct tokenizer *tokenizer = loader->tokenizer;
    const struct {
        const char *name;
        bool *value;
    } options[] = {{"fuse_unk", &tokenizer->fuse_unknown},
                   {"byte_fallback", &tokenizer->byte_fallback},
                   {"ignore_merges", &tokenizer->ignore_merges}};
    tsr_status st = TSR_OK;
    for (unsigned i = 0; i < 3 && st == TSR_OK; i++)
        st = load_bool(loader, model, "model", options[i].name, options[i].value);
    if (st == TSR_OK) st = load_text(loader, model, "model", "continuing_subword_prefix", false, &tokenizer->prefix);
    return st == TSR_OK ? load_text(loader, model, "model", "end_of_word_suffix", false, &tokenizer->suffix) : st;
}

tsr_status load_model(const struct loader *loader, const json_t *model, const struct model_tables *tables) {
    const char *type = json_string_value(json_object_get(model, "type"));
    if (!json_is_object(model)) return load_fail(loader, TSR_E_INPUT, "model", "expected an object");
    /* Old files have no type; a vocabulary that is an object and merges are BPE's alone. */
    if (type && strcmp(type, "BPE") != 0) return load_fail(loader, TSR_E_UNSUPPORTED, "model", "type \"%.60s\"", type);
    tsr_status st = load_options(loader, model);
    if (st == TSR_OK) st = load_vocabulary(loader, tables->text, tables->vocabulary, "model.vocab");
    if (st == TSR_OK) st = load_unknown(loader, model);
    return st == TSR_OK ? load_merges(loader, tables->text, tables->merges, "model.merges") : st;
}
