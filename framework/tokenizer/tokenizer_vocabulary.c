/* SPDX-License-Identifier: Apache-2.0
 *
 * The two tables every merge asks: text to id and pair to merge. Both are open addressing at most half full, so a
 * search ends at a free slot. Added tokens live in the same list by id but are not in the text table: a word never
 * becomes an added token by its letters alone. */
#include "tokenizer_parts.h"

#include <base/alloc.h>

static uint64_t table_size(uint64_t count) {
    uint64_t size = 16;
    while (size < 2 * count) size *= 2;
    return size;
}

uint32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t length) {
    uint32_t at = (uint32_t)hash_text(text, length) & vocabulary->slot_mask;
    for (; vocabulary->slots[at]; at = (at + 1) & vocabulary->slot_mask) {
        const struct token *token = &vocabulary->tokens[vocabulary->slots[at] - 1];
        if (token->length == length && !memcmp(token->text, text, length)) return vocabulary->slots[at] - 1;
    }
    return NO_TOKEN;
}

bool vocabulary_reserve(struct vocabulary *vocabulary, uint32_t size) {
    if (size > vocabulary->capacity) {
        struct token *tokens = mem_resize(vocabulary->tokens, size, sizeof *tokens);
        if (!tokens) return false;
        memset(tokens + vocabulary->capacity, 0, (size - vocabulary->capacity) * sizeof *tokens);
        vocabulary->tokens = tokens;
        vocabulary->capacity = size;
    }
    if (size > vocabulary->size) vocabulary->size = size;
    return true;
}

bool vocabulary_index(struct vocabulary *vocabulary, uint64_t count) {
    uint64_t size = table_size(count);
    if (size > UINT32_MAX) return false;
    vocabulary->slots = mem_alloc_zero(size, sizeof *vocabulary->slots);
    vocabulary->slot_mask = (uint32_t)(size - 1);
    return vocabulary->slots != NULL;
}

void vocabulary_insert(struct vocabulary *vocabulary, uint32_t id) {
    const struct token *token = &vocabulary->tokens[id];
    uint32_t at = (uint32_t)hash_text(token->text, token->length) & vocabulary->slot_mask;
    while (vocabulary->slots[at]) at = (at + 1) & vocabulary->slot_mask;
    vocabulary->slots[at] = id + 1;
}

void vocabulary_clear(struct vocabulary *vocabulary) {
    mem_free(vocabulary->tokens);
    mem_free(vocabulary->slots);
}

bool merges_reserve(struct merges *merges, uint64_t count) {
    uint64_t size = table_size(count);
    if (!count) return true;
    merges->slots = mem_alloc_array(size, sizeof *merges->slots);
    if (!merges->slots) return false;
    merges->mask = size - 1;
    for (uint64_t i = 0; i < size; i++) merges->slots[i].rank = NO_TOKEN;
    return true;
}

void merges_insert(struct merges *merges, struct merge merge) {
    uint64_t at = hash_mix(merge.pair * 0xD6E8FEB86659FD93u) & merges->mask;
    while (merges->slots[at].rank != NO_TOKEN && merges->slots[at].pair != merge.pair) at = (at + 1) & merges->mask;
    merges->slots[at] = merge;
}

void merges_clear(struct merges *merges) {
    mem_free(merges->slots);
}
