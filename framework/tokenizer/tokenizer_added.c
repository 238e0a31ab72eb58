/* SPDX-License-Identifier: Apache-2.0
 *
 * Added tokens in a text: at each place the longest one, found in a trie over bytes; places that no token can begin at
 * are passed by a table. A match that must be a single word and is not is passed over as a whole. */
#include "tokenizer_parts.h"

#include <base/alloc.h>

bool added_reserve(struct added *added, uint64_t count) {
    uint64_t size = 16;
    while (size < 2 * count) size *= 2;
    if (size > UINT32_MAX) return false;
    added->tokens = mem_alloc_array(count, sizeof *added->tokens);
    added->slots = mem_alloc_zero(size, sizeof *added->slots);
    added->slot_mask = (uint32_t)(size - 1);
    return added->tokens && added->slots;
}

/* The slot of this content, or the free one where it belongs. */
static uint32_t *find_slot(const struct added *added, const char *text, size_t length) {
    uint32_t at = (uint32_t)hash_text(text, length) & added->slot_mask;
    for (; added->slots[at]; at = (at + 1) & added->slot_mask) {
        const struct piece_text *content = &added->tokens[added->slots[at] - 1].content;
        if (content->length == length && !memcmp(content->text, text, length)) break;
    }
    return &added->slots[at];
}

void added_insert(struct added *added, const struct added_token *token) {
    uint32_t *slot = find_slot(added, token->content.text, token->content.length);
    added->tokens[added->count++] = *token;
    if (!*slot) *slot = added->count;
}

const struct added_token *added_find(const struct added *added, const char *text, size_t length) {
    uint32_t index = added->slots ? *find_slot(added, text, length) : 0;
    return index ? &added->tokens[index - 1] : NULL;
}

static uint32_t child_of(const struct trie *trie, uint32_t node, uint8_t byte) {
    uint32_t child = trie->nodes[node].child;
    while (child && trie->nodes[child].byte != byte) child = trie->nodes[child].sibling;
    return child;
}

static bool trie_node_add(struct trie *trie, uint8_t byte, uint32_t *node) {
    if (trie->count == trie->capacity) {
        uint32_t capacity = trie->capacity ? trie->capacity * 2 : 64;
        struct trie_node *grown = mem_resize(trie->nodes, capacity, sizeof *grown);
        if (!grown) return false;
        trie->nodes = grown;
        trie->capacity = capacity;
    }
    *node = trie->count++;
    trie->nodes[*node] = (struct trie_node){.id = NO_TOKEN, .byte = byte};
    return true;
}

/* Of equal contents the first one counts. */
static bool trie_add(struct trie *trie, struct piece_text content, uint32_t id) {
    uint32_t node = 0, added;
    if (!trie->count && !trie_node_add(trie, 0, &node)) return false;
    for (size_t i = 0; i < content.length; i++) {
        uint32_t child = child_of(trie, node, (uint8_t)content.text[i]);
        if (!child) {
            if (!trie_node_add(trie, (uint8_t)content.text[i], &added)) return false;
            trie->nodes[added].sibling = trie->nodes[node].child;
            trie->nodes[node].child = child = added;
        }
        node = child;
    }
    if (trie->nodes[node].id == NO_TOKEN) trie->nodes[node].id = id;
    if (content.length) trie->first[(uint8_t)content.text[0]] = true;
    return true;
}

static uint32_t trie_longest(const struct trie *trie, const char *text, size_t length, size_t *matched) {
    uint32_t id = NO_TOKEN, node = 0;
    for (size_t i = 0; i < length; i++) {
        node = child_of(trie, node, (uint8_t)text[i]);
        if (!node) break;
        if (trie->nodes[node].id != NO_TOKEN) {
            id = trie->nodes[node].id;
            *matched = i + 1;
        }
    }
    return id;
}

static tsr_status add_content(const struct loader *loader, uint32_t index) {
    struct tokenizer *tokenizer = loader->tokenizer;
    const struct added_token *token = &tokenizer->added.tokens[index];
    struct str text = {0};
    struct piece_text content = token->content;
    tsr_status st = TSR_OK;
    if (token->normalised) {
        st = normalise_text(tokenizer, content, &text, loader->err);
        content = (struct piece_text){text.text, text.length};
    }
    struct trie *trie = token->normalised ? &tokenizer->added.normalised : &tokenizer->added.raw;
    if (st == TSR_OK && !content.length) {
        st = load_fail(loader, TSR_E_UNSUPPORTED, "added_tokens", "\"%.40s\", which normalises to nothing,",
                       token->content.text);
    }
    if (st == TSR_OK && !trie_add(trie, content, token->id)) st = load_no_memory(loader);
    str_clear(&text);
    return st;
}

tsr_status added_build(const struct loader *loader) {
    const struct added *added = &loader->tokenizer->added;
    tsr_status st = TSR_OK;
    /* Special tokens first: of two equal contents theirs is found. */
    for (int special = 1; special >= 0; special--) {
        for (uint32_t i = 0; i < added->count && st == TSR_OK; i++) {
            if (added->tokens[i].special == (special == 1)) st = add_content(loader, i);
        }
    }
    return st;
}

void added_clear(struct added *added) {
    mem_free(added->tokens);
    mem_free(added->slots);
    mem_free(added->by_id);
    mem_free(added->raw.nodes);
    mem_free(added->normalised.nodes);
}

static bool is_single_word(const char *text, size_t length, size_t start, size_t end) {
    size_t size;
    if (start && is_word_character(utf8_at(text + utf8_before(text, start), &size))) return false;
    return end == length || !is_word_character(utf8_at(text + end, &size));
}

static void strip_around(const struct added_token *token, const char *text, size_t length, size_t taken,
                         struct added_match *match) {
    size_t size;
    while (token->left_strip && match->start > taken) {
        size_t before = utf8_before(text, match->start);
        if (!is_white_space(utf8_at(text + before, &size))) break;
        match->start = before;
    }
    if (match->start < taken) match->start = taken;
    while (token->right_strip && match->end < length && is_white_space(utf8_at(text + match->end, &size)))
        match->end += size;
}

bool added_next(const struct tokenizer *tokenizer, const struct trie *trie, const char *text, size_t length, size_t *at,
                size_t taken, struct added_match *match) {
    if (!trie->nodes) return false;
    while (*at < length) {
        size_t matched = 0;
        uint32_t id = NO_TOKEN;
        if (trie->first[(uint8_t)text[*at]]) id = trie_longest(trie, text + *at, length - *at, &matched);
        if (id == NO_TOKEN) {
            ++*at;
            continue;
        }
        const struct added_token *token = &tokenizer->added.tokens[tokenizer->added.by_id[id] - 1];
        *match = (struct added_match){id, *at, *at + matched};
        *at += matched;
        if (token->single_word && !is_single_word(text, length, match->start, match->end)) continue;
        strip_around(token, text, length, taken, match);
        return true;
    }
    return false;
}
