/* SPDX-License-Identifier: Apache-2.0
 *
 * Added tokens of a folder without tokenizer.json, from the files that transformers reads them from: those with ids
 * (added_tokens_decoder of tokenizer_config.json, or else added_tokens.json), then the special tokens that have no id
 * yet (special_tokens_map.json over tokenizer_config.json over what the class has built in), in the order of their
 * roles. */
#include "tokenizer_files.h"

#include <base/alloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char *const ROLES[] = {"bos_token", "eos_token", "unk_token",  "sep_token",
                                    "pad_token", "cls_token", "mask_token", NULL};
static const char MORE[] = "additional_special_tokens";

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "tokenizer_config.json: out of memory");
}

/* A token is a text, or an object with its content and flags. */
static const char *content_of(const json_t *token) {
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

/* True when tokenizer_config.json says everything, so that the older files are not asked. */
static bool states_all(const struct token_files *files) {
    return json_is_object(json_object_get(files->tokenizer_config, "added_tokens_decoder"));
}

/* The token of a role; NULL when there is none. Borrowed. */
static const json_t *special_of(const struct token_files *files, const char *role) {
    const json_t *stated = states_all(files) ? NULL : json_object_get(files->special_map, role);
    if (!stated) stated = json_object_get(files->tokenizer_config, role);
    return stated ? stated : json_object_get(files->defaults, role);
}

static bool lists(const json_t *list, const char *content) {
    size_t i;
    json_t *token;
    json_array_foreach(list, i, token) {
        const char *other = content_of(token);
        if (other && !strcmp(other, content)) return true;
    }
    return false;
}

static bool is_special(const struct token_files *files, const char *content) {
    for (const char *const *role = ROLES; *role; role++) {
        const char *special = content_of(special_of(files, *role));
        if (special && !strcmp(special, content)) return true;
    }
    return lists(json_object_get(files->special_map, MORE), content) ||
           lists(json_object_get(files->tokenizer_config, MORE), content);
}

/* ---- tokens with ids ---- */

static int by_id(const void *a, const void *b) {
    json_int_t left = json_integer_value(json_object_get(*(json_t *const *)a, "id"));
    json_int_t right = json_integer_value(json_object_get(*(json_t *const *)b, "id"));
    return (left > right) - (left < right);
}

static tsr_status sort_by_id(json_t *list, tsr_error *err) {
    size_t count = json_array_size(list);
    json_t **items = mem_alloc_array(count + 1, sizeof *items);
    if (!items) return no_memory(err);
    for (size_t i = 0; i < count; i++) items[i] = json_incref(json_array_get(list, i));
    qsort(items, count, sizeof(json_t *), by_id);
    for (size_t i = 0; i < count; i++) (void)json_array_set_new(list, i, items[i]);
    mem_free(items);
    return TSR_OK;
}

static tsr_status add_decoder(const json_t *decoder, json_t *list, tsr_error *err) {
    json_t *token;
    const char *key;
    json_object_foreach((json_t *)(uintptr_t)decoder, key, token) {
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
            return no_memory(err);
        }
        json_decref(copy);
    }
    return TSR_OK;
}

/* added_tokens.json: {"token": id}. */
static tsr_status add_ids(const struct token_files *files, json_t *list, tsr_error *err) {
    json_t *id;
    const char *content;
    if (files->added && !json_is_object(files->added)) {
        return tsr_fail(err, TSR_E_INPUT, "added_tokens.json: expected an object of tokens and ids");
    }
    json_object_foreach((json_t *)(uintptr_t)files->added, content, id) {
        if (!json_is_integer(id) || json_integer_value(id) < 0) {
            return tsr_fail(err, TSR_E_INPUT, "added_tokens.json: \"%.40s\": expected an id", content);
        }
        json_t *token = json_pack("{s:O,s:s,s:b}", "id", id, "content", content, "special", is_special(files, content));
        if (!token || json_array_append_new(list, token) != 0) return no_memory(err);
    }
    return TSR_OK;
}

/* ---- special tokens without ids ---- */

/* The id a token has in the vocabulary, or else the next free one behind vocabulary and list. */
static json_int_t id_for(const struct tokenizer *tokenizer, const json_t *list, const char *content) {
    uint32_t known;
    if (tokenizer_find(tokenizer, content, strlen(content), &known)) return known;
    json_int_t next = tokenizer_size(tokenizer);
    size_t i;
    json_t *token;
    json_array_foreach(list, i, token) {
        json_int_t id = json_integer_value(json_object_get(token, "id"));
        if (id >= next) next = id + 1;
    }
    return next;
}

static tsr_status add_special(const struct token_files *files, const json_t *token, const char *role, json_t *list,
                              tsr_error *err) {
    const char *content = content_of(token);
    if (!token || json_is_null(token)) return TSR_OK;
    if (!content) return tsr_fail(err, TSR_E_INPUT, "tokenizer_config.json: %s: expected a token", role);
    if (!content[0] || lists(list, content)) return TSR_OK;
    json_t *made =
        json_is_object(token) ? json_copy((json_t *)(uintptr_t)token) : json_pack("{s:s}", "content", content);
    json_t *id = json_integer(id_for(files->tokenizer, list, content));
    if (json_object_set_new(made, "id", id) != 0 || json_object_set_new(made, "special", json_true()) != 0 ||
        json_array_append(list, made) != 0) {
        json_decref(made);
        return no_memory(err);
    }
    json_decref(made);
    return TSR_OK;
}

static tsr_status add_more(const struct token_files *files, const json_t *from, json_t *list, tsr_error *err) {
    const json_t *tokens = json_object_get(from, MORE);
    size_t i;
    json_t *token;
    json_array_foreach(tokens, i, token) {
        tsr_status st = add_special(files, token, MORE, list, err);
        if (st != TSR_OK) return st;
    }
    return TSR_OK;
}

tsr_status files_added_tokens(const struct token_files *files, json_t *list, tsr_error *err) {
    bool stated = states_all(files);
    tsr_status st = stated ? add_decoder(json_object_get(files->tokenizer_config, "added_tokens_decoder"), list, err)
                           : add_ids(files, list, err);
    if (st == TSR_OK) st = sort_by_id(list, err);
    for (const char *const *role = ROLES; *role && st == TSR_OK; role++) {
        st = add_special(files, special_of(files, *role), *role, list, err);
    }
    if (st == TSR_OK) st = add_more(files, files->tokenizer_config, list, err);
    return st == TSR_OK && !stated ? add_more(files, files->special_map, list, err) : st;
}

tsr_status files_begin_token(const struct token_files *files, const json_t *list, json_t **post, tsr_error *err) {
    const char *content = content_of(special_of(files, ROLES[0]));
    json_t *token;
    size_t i;
    *post = NULL;
    if (!json_is_true(json_object_get(files->tokenizer_config, "add_bos_token"))) return TSR_OK;
    if (!content) return tsr_fail(err, TSR_E_INPUT, "tokenizer_config.json: add_bos_token without a bos_token");
    json_array_foreach(list, i, token) {
        if (strcmp(content_of(token), content) != 0) continue;
        *post = json_pack("{s:s,s:[{s:{s:s}},{s:{s:s}}],s:{s:{s:[O]}}}", "type", "TemplateProcessing", "single",
                          "SpecialToken", "id", "bos", "Sequence", "id", "A", "special_tokens", "bos", "ids",
                          json_object_get(token, "id"));
        break;
    }
    return *post ? TSR_OK : no_memory(err);
}
