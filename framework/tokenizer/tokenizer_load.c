/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading tokenizer.json: its parts but for the model (tokenizer_load_model.c), and opening. Every member that changes
 * results is either understood or refused. */
#include "tokenizer_parts.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <format/json.h>

#define FILE_BYTES_MAX (512u << 20)
#define SPARSE_ROOM (1u << 18) /* ids a small vocabulary may leave unused */

/* ---- members ---- */

tsr_status load_fail(const struct loader *loader, tsr_status status, const char *where, const char *format, ...) {
    char reason[160];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return tsr_fail(loader->err, status, "%s: %s: %s%s", loader->subject, where, reason,
                    status == TSR_E_UNSUPPORTED ? " is not supported" : "");
}

tsr_status load_no_memory(const struct loader *loader) {
    return tsr_fail(loader->err, TSR_E_NOMEM, "%s: out of memory", loader->subject);
}

tsr_status load_bool(const struct loader *loader, const json_t *object, const char *where, const char *name,
                     bool *value) {
    const json_t *member = json_object_get(object, name);
    if (!member || json_is_null(member)) return TSR_OK;
    if (!json_is_boolean(member)) return load_fail(loader, TSR_E_INPUT, where, "%s: expected true or false", name);
    *value = json_is_true(member);
    return TSR_OK;
}

tsr_status load_text(const struct loader *loader, const json_t *object, const char *where, const char *name,
                     bool required, struct piece_text *text) {
    const json_t *member = json_object_get(object, name);
    if (!member || json_is_null(member)) {
        return required ? load_fail(loader, TSR_E_INPUT, where, "%s is missing", name) : TSR_OK;
    }
    if (!json_is_string(member)) return load_fail(loader, TSR_E_INPUT, where, "%s: expected a text", name);
    text->length = json_string_length(member);
    text->text = arena_dup(&loader->tokenizer->arena, json_string_value(member), text->length);
    return text->text ? TSR_OK : load_no_memory(loader);
}

tsr_status load_count(const struct loader *loader, const json_t *object, const char *where, const char *name,
                      uint64_t *value) {
    const json_t *member = json_object_get(object, name);
    if (!json_is_integer(member) || json_integer_value(member) < 0) {
        return load_fail(loader, TSR_E_INPUT, where, "%s: expected a whole number", name);
    }
    *value = (uint64_t)json_integer_value(member);
    return TSR_OK;
}

/* ---- added tokens ---- */

/* A token keeps the id it has; a new one goes behind all others, which must be the id the file states. */
static tsr_status place_added(const struct loader *loader, struct piece_text content, uint64_t stated,
                              const char *where, uint32_t *id) {
    struct vocabulary *vocabulary = &loader->tokenizer->vocabulary;
    const struct added_token *known = added_find(&loader->tokenizer->added, content.text, content.length);
    *id = known ? known->id : vocabulary_find(vocabulary, content.text, content.length);
    bool is_new = *id == NO_TOKEN;
    if (is_new) *id = (uint32_t)stated;
    if (*id != stated) {
        return load_fail(loader, TSR_E_INPUT, where, "\"%.40s\" has id %llu here and %u in the vocabulary",
                         content.text, (unsigned long long)stated, (unsigned)*id);
    }
    if (!is_new) return TSR_OK;
    if (stated < vocabulary->size && vocabulary->tokens[stated].text) {
        return load_fail(loader, TSR_E_INPUT, where, "\"%.40s\" has the id %llu of \"%.40s\"", content.text,
                         (unsigned long long)stated, vocabulary->tokens[stated].text);
    }
    if (!vocabulary_reserve(vocabulary, *id + 1)) return load_no_memory(loader);
    vocabulary->tokens[*id].text = content.text;
    vocabulary->tokens[*id].length = (uint32_t)content.length;
    return TSR_OK;
}

static tsr_status load_added_flags(const struct loader *loader, const json_t *item, const char *where,
                                   struct added_token *token) {
    const struct {
        const char *name;
        bool *value;
    } flags[] = {{"special", &token->special},
                 {"single_word", &token->single_word},
                 {"lstrip", &token->left_strip},
                 {"rstrip", &token->right_strip}};
    tsr_status st = TSR_OK;
    for (unsigned i = 0; i < 4 && st == TSR_OK; i++) st = load_bool(loader, item, where, flags[i].name, flags[i].value);
    token->normalised = !token->special;
    return st == TSR_OK ? load_bool(loader, item, where, "normalized", &token->normalised) : st;
}

tsr_status load_added_token(const struct loader *loader, const json_t *item, const char *where, uint64_t id) {
    struct tokenizer *tokenizer = loader->tokenizer;
    struct added_token token = {0};
    if (!json_is_object(item)) return load_fail(loader, TSR_E_INPUT, where, "expected an object");
    tsr_status st = load_added_flags(loader, item, where, &token);
    if (st == TSR_OK) st = load_text(loader, item, where, "content", true, &token.content);
    if (st != TSR_OK || !token.content.length) return st;
    if (id >= 16 * ((uint64_t)tokenizer->vocabulary.size + tokenizer->added.count) + SPARSE_ROOM) {
        return load_fail(loader, TSR_E_INPUT, where, "id %llu is far outside of the vocabulary",
                         (unsigned long long)id);
    }
    st = place_added(loader, token.content, id, where, &token.id);
    if (st != TSR_OK) return st;
    tokenizer->vocabulary.tokens[token.id].flags |= TOKEN_ADDED | (token.special ? TOKEN_SPECIAL : 0);
    added_insert(&tokenizer->added, &token);
    return TSR_OK;
}

tsr_status load_added(const struct loader *loader, const json_t *list) {
    tsr_status st = TSR_OK;
    char where[48];
    uint64_t id = 0;
    size_t i;
    json_t *item;
    if (!list || json_is_null(list)) return TSR_OK;
    if (!json_is_array(list)) return load_fail(loader, TSR_E_INPUT, "added_tokens", "expected a list");
    if (!added_reserve(&loader->tokenizer->added, json_array_size(list))) return load_no_memory(loader);
    json_array_foreach(list, i, item) {
        if (st != TSR_OK) break;
        (void)snprintf(where, sizeof where, "added_tokens[%zu]", i);
        st = load_count(loader, item, where, "id", &id);
        if (st == TSR_OK) st = load_added_token(loader, item, where, id);
    }
    return st;
}

/* ---- what follows from the parts ---- */

static void note_letters(struct tokenizer *tokenizer) {
    const struct vocabulary *vocabulary = &tokenizer->vocabulary;
    for (unsigned byte = 0; byte < 256; byte++) {
        char letter[8];
        unsigned length = utf8_put(byte_letter((uint8_t)byte), letter);
        tokenizer->byte_ids[byte] = vocabulary_find(vocabulary, letter, length);
        (void)snprintf(letter, sizeof letter, "<0x%02X>", byte);
        tokenizer->fallback_ids[byte] = vocabulary_find(vocabulary, letter, 6);
        letter[0] = (char)byte;
        if (byte < 128) tokenizer->ascii_ids[byte] = vocabulary_find(vocabulary, letter, 1);
    }
}

static bool can_cut(const struct tokenizer *tokenizer) {
    return tokenizer->cut_at_metaspace && !tokenizer->bytes_last && !tokenizer->ignore_merges &&
           !tokenizer->prefix.length && !tokenizer->suffix.length &&
           vocabulary_find(&tokenizer->vocabulary, "\xE2\x96\x81", 3) != NO_TOKEN;
}

tsr_status load_finish(const struct loader *loader) {
    struct tokenizer *tokenizer = loader->tokenizer;
    note_letters(tokenizer);
    tokenizer->cut_at_metaspace = can_cut(tokenizer);
    tokenizer->added.by_id = mem_alloc_zero(tokenizer->vocabulary.size, sizeof *tokenizer->added.by_id);
    if (!tokenizer->added.by_id) return load_no_memory(loader);
    for (uint32_t i = 0; i < tokenizer->added.count; i++) tokenizer->added.by_id[tokenizer->added.tokens[i].id] = i + 1;
    return added_build(loader);
}

tsr_status load_parts(const struct loader *loader, const json_t *document) {
    tsr_status st = load_normalisers(loader, json_object_get(document, "normalizer"));
    if (st == TSR_OK) st = load_splitters(loader, json_object_get(document, "pre_tokenizer"));
    if (st == TSR_OK) st = load_added(loader, json_object_get(document, "added_tokens"));
    if (st == TSR_OK) st = load_post(loader, json_object_get(document, "post_processor"));
    if (st == TSR_OK) st = load_decoders(loader, json_object_get(document, "decoder"));
    return st == TSR_OK ? load_finish(loader) : st;
}

static tsr_status load_document(const struct loader *loader, const json_t *document,
                                const struct model_tables *tables) {
    if (!json_is_object(document)) return load_fail(loader, TSR_E_INPUT, "top level", "expected an object");
    const char *version = json_string_value(json_object_get(document, "version"));
    if (version && strcmp(version, "1.0") != 0)
        return load_fail(loader, TSR_E_UNSUPPORTED, "version", "\"%.20s\"", version);
    tsr_status st = load_model(loader, json_object_get(document, "model"), tables);
    return st == TSR_OK ? load_parts(loader, document) : st;
}

/* ---- opening ---- */

struct tokenizer *tokenizer_create(void) {
    struct tokenizer *tokenizer = mem_alloc_zero(1, sizeof *tokenizer);
    if (!tokenizer) return NULL;
    tokenizer->unknown = NO_TOKEN;
    tokenizer->cut_at_metaspace = true; /* until a merge forbids it */
    return tokenizer;
}

static void add_newlines(struct str *out, const char *text, struct json_span span) {
    for (size_t at = span.start; at < span.end; at++) {
        if (text[at] == '\n') str_add(out, "\n", 1);
    }
}

/* The document with null where the tables of its model stand, on the same lines: a tree of the tables would be the most
 * of the time. */
static void without_tables(const char *text, size_t size, const struct model_tables *tables, struct str *out) {
    const struct json_span *first = &tables->vocabulary, *second = &tables->merges;
    size_t at = 0;
    if (first->start > second->start) {
        first = &tables->merges;
        second = &tables->vocabulary;
    }
    for (const struct json_span *span = first; span; span = span == first ? second : NULL) {
        if (!span->end) continue;
        str_add(out, text + at, span->start - at);
        add_newlines(out, text, *span);
        str_add_text(out, " null");
        at = span->end;
    }
    str_add(out, text + at, size - at);
}

static tsr_status parse_document(const struct loader *loader, const char *json, size_t size) {
    static const char *const VOCABULARY[] = {"model", "vocab", NULL}, *const MERGES[] = {"model", "merges", NULL};
    struct model_tables tables = {.text = json};
    struct str rest = {0};
    json_t *document = NULL;
    if (!json_find(json, size, VOCABULARY, &tables.vocabulary)) tables.vocabulary = (struct json_span){0};
    if (!json_find(json, size, MERGES, &tables.merges)) tables.merges = (struct json_span){0};
    without_tables(json, size, &tables, &rest);
    tsr_status st = rest.failed
                        ? load_no_memory(loader)
                        : json_parse(rest.text ? rest.text : "", rest.length, loader->subject, &document, loader->err);
    str_clear(&rest);
    if (st == TSR_OK) st = load_document(loader, document, &tables);
    json_decref(document);
    return st;
}

tsr_status tokenizer_parse(const char *json, size_t size, const char *subject, struct tokenizer **tokenizer,
                           tsr_error *err) {
    struct tokenizer *created = tokenizer_create();
    struct loader loader = {created, subject, err};
    *tokenizer = NULL;
    if (!created) return load_no_memory(&loader);
    tsr_status st = parse_document(&loader, json, size);
    if (st != TSR_OK)
        tokenizer_close(created);
    else
        *tokenizer = created;
    return st;
}

static tsr_status open_file(const char *path, struct tokenizer **tokenizer, tsr_error *err) {
    char *text = NULL;
    uint64_t size;
    tsr_status st = fs_read_whole(path, FILE_BYTES_MAX, &text, &size, err);
    if (st == TSR_OK) st = tokenizer_parse(text, size, fs_base_name(path), tokenizer, err);
    mem_free(text);
    return st;
}

static tsr_status open_folder(const char *path, struct tokenizer **tokenizer, tsr_error *err) {
    char *file = fs_join(path, "tokenizer.json");
    if (!file) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    tsr_status st =
        fs_kind_of(file) == FS_FILE ? open_file(file, tokenizer, err) : load_vocabulary_files(path, tokenizer, err);
    mem_free(file);
    return st;
}

tsr_status tokenizer_open(const char *path, struct tokenizer **tokenizer, tsr_error *err) {
    *tokenizer = NULL;
    return fs_kind_of(path) == FS_FOLDER ? open_folder(path, tokenizer, err) : open_file(path, tokenizer, err);
}

static void clear_steps(struct steps *steps) {
    for (unsigned i = 0; i < steps->count; i++) regex_destroy(steps->items[i].regex);
}

void tokenizer_close(struct tokenizer *tokenizer) {
    if (!tokenizer) return;
    clear_steps(&tokenizer->normalisers);
    clear_steps(&tokenizer->splitters);
    clear_steps(&tokenizer->decoders);
    added_clear(&tokenizer->added);
    merges_clear(&tokenizer->merges);
    vocabulary_clear(&tokenizer->vocabulary);
    arena_clear(&tokenizer->arena);
    mem_free(tokenizer);
}

/* ---- vocabulary ---- */

uint32_t tokenizer_size(const struct tokenizer *tokenizer) {
    return tokenizer->vocabulary.size;
}

bool tokenizer_find(const struct tokenizer *tokenizer, const char *text, size_t length, uint32_t *id) {
    const struct added_token *added = added_find(&tokenizer->added, text, length);
    *id = added ? added->id : vocabulary_find(&tokenizer->vocabulary, text, length);
    return *id != NO_TOKEN;
}

const char *tokenizer_token(const struct tokenizer *tokenizer, uint32_t id, size_t *length) {
    if (id >= tokenizer->vocabulary.size) return NULL;
    if (length) *length = tokenizer->vocabulary.tokens[id].length;
    return tokenizer->vocabulary.tokens[id].text;
}

bool tokenizer_is_special(const struct tokenizer *tokenizer, uint32_t id) {
    return id < tokenizer->vocabulary.size && (tokenizer->vocabulary.tokens[id].flags & TOKEN_SPECIAL);
}
