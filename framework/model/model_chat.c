/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks where transformers looks, in its order. */
#include "model_chat.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/fs.h>
#include <format/document.h>
#include <string.h>

#define CONFIG_BYTES_MAX ((uint64_t)16 << 20)

static const tsr_node *find(const tsr_node *map, const char *key) {
    for (uint64_t i = 0; map->kind == TSR_NODE_MAP && i < map->count; i++) {
        if (!strcmp(map->children[i].key, key) && map->children[i].kind != TSR_NODE_NULL) return &map->children[i];
    }
    return NULL;
}

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "chat template: out of memory");
}

/* The text of a file of the folder in the arena; NULL when there is no such file. */
static tsr_status read_file(const char *folder, const char *name, struct arena *arena, char **text, tsr_error *err) {
    char *path = fs_join(folder, name), *bytes = NULL;
    uint64_t size = 0;
    *text = NULL;
    tsr_status st = path ? TSR_OK : no_memory(err);
    if (st == TSR_OK && fs_kind_of(path) == FS_FILE) {
        st = fs_read_whole(path, CONFIG_BYTES_MAX, &bytes, &size, err);
        if (st == TSR_OK && (memchr(bytes, 0, size) || !text_is_utf8(bytes, size))) {
            st = tsr_fail(err, TSR_E_INPUT, "%s: is not text in UTF-8", path);
        }
        if (st == TSR_OK) *text = arena_dup(arena, bytes, size);
        if (st == TSR_OK && !*text) st = no_memory(err);
    }
    mem_free(bytes);
    mem_free(path);
    return st;
}

/* An empty node when there is no such file. */
static tsr_status read_config(const char *folder, const char *name, struct arena *arena, tsr_node *root,
                              tsr_error *err) {
    char *text = NULL;
    *root = (tsr_node){.key = "", .text = ""};
    tsr_status st = read_file(folder, name, arena, &text, err);
    return st == TSR_OK && text ? document_from_json(text, strlen(text), name, arena, root, err) : st;
}

/* A token is a text, or an object whose content is. */
static const char *token_text(const tsr_node *config, const char *key) {
    const tsr_node *token = find(config, key);
    if (token && token->kind == TSR_NODE_MAP) token = find(token, "content");
    return token && token->kind == TSR_NODE_TEXT ? token->text : NULL;
}

/* The template of a config: a text, or a list of named ones. NULL: it has none. */
static tsr_status take_template(const tsr_node *config, const char *name, const char **text, tsr_error *err) {
    const tsr_node *value = find(config, "chat_template");
    *text = NULL;
    if (!value) return TSR_OK;
    if (value->kind == TSR_NODE_TEXT) {
        *text = value->text;
        return TSR_OK;
    }
    for (uint64_t i = 0; value->kind == TSR_NODE_LIST && i < value->count; i++) {
        const tsr_node *of = find(&value->children[i], "name"), *body = find(&value->children[i], "template");
        if (of && body && !strcmp(of->text, "default") && body->kind == TSR_NODE_TEXT) *text = body->text;
    }
    if (*text) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: chat_template: expected a text or a list with one named \"default\"",
                    name);
}

static tsr_status read_template(const char *folder, const tsr_node *config, struct model_chat *chat, const char **text,
                                const char **name, tsr_error *err) {
    char *file = NULL;
    tsr_node other;
    *name = "chat_template.jinja";
    tsr_status st = read_file(folder, *name, &chat->arena, &file, err);
    *text = file;
    if (st != TSR_OK || file) return st;
    *name = "tokenizer_config.json";
    st = take_template(config, *name, text, err);
    if (st != TSR_OK || *text) return st;
    *name = "chat_template.json";
    st = read_config(folder, *name, &chat->arena, &other, err);
    return st == TSR_OK ? take_template(&other, *name, text, err) : st;
}

tsr_status model_chat_read(const char *folder, struct model_chat *chat, tsr_error *err) {
    const char *text = NULL, *name = NULL;
    tsr_node config, tokens;
    tsr_status st = read_config(folder, "tokenizer_config.json", &chat->arena, &config, err);
    if (st == TSR_OK) st = read_config(folder, "special_tokens_map.json", &chat->arena, &tokens, err);
    if (st == TSR_OK) st = read_template(folder, &config, chat, &text, &name, err);
    if (st == TSR_OK) {
        chat->bos = token_text(&config, "bos_token");
        chat->eos = token_text(&config, "eos_token");
        if (!chat->bos) chat->bos = token_text(&tokens, "bos_token");
        if (!chat->eos) chat->eos = token_text(&tokens, "eos_token");
        chat->has_template = text != NULL;
        name = arena_format(&chat->arena, "%s/%s", folder, name);
        if (!name) return no_memory(err);
        if (!text) return TSR_OK;
        st = chat_recognise(text, strlen(text), &chat->style, err);
        if (st != TSR_OK) return error_context(err, st, "%s", name);
    }
    return st == TSR_OK ? st : error_context(err, st, "%s", folder);
}

void model_chat_clear(struct model_chat *chat) {
    chat_style_clear(&chat->style);
    arena_clear(&chat->arena);
    *chat = (struct model_chat){0};
}
