/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte-pair merging of one word: always the pair of lowest rank, and of equal ranks the leftmost. Short words look at
 * all pairs again after each merge; long ones keep candidates in a heap and the symbols in a linked list, n log n for
 * any text. A candidate is stale when the pair at its place no longer merges into what it says. */
#include "tokenizer_parts.h"

#include <base/alloc.h>

#define SHORT_WORD 40 /* symbols; up to here scanning beats the heap */
#define NO_SYMBOL UINT32_MAX

struct symbol {
    uint32_t id;
    uint32_t previous, next; /* NO_SYMBOL at the ends */
    uint32_t rank;           /* of merging with the next one, in short words */
};

struct candidate {
    uint64_t order; /* rank << 32 | place */
    uint32_t id;    /* what the two become */
};

struct bpe_scratch {
    struct symbol *symbols;
    uint64_t symbol_count, symbol_capacity;
    struct candidate *heap;
    uint64_t heap_count, heap_capacity;
    uint32_t pending_unknown; /* NO_TOKEN: none; unknown characters wait to be fused */
    struct str letter;        /* a character with prefix and suffix */
};

struct bpe_scratch *bpe_scratch_create(void) {
    struct bpe_scratch *scratch = mem_alloc_zero(1, sizeof *scratch);
    if (scratch) scratch->pending_unknown = NO_TOKEN;
    return scratch;
}

void bpe_scratch_destroy(struct bpe_scratch *scratch) {
    if (!scratch) return;
    mem_free(scratch->symbols);
    mem_free(scratch->heap);
    str_clear(&scratch->letter);
    mem_free(scratch);
}

/* Makes room for one more; false when memory is short. */
static bool grow(void **items, uint64_t *capacity, uint64_t count, size_t size) {
    if (count < *capacity) return true;
    uint64_t wanted = *capacity ? *capacity * 2 : 64;
    void *grown = mem_resize(*items, wanted, size);
    if (!grown) return false;
    *items = grown;
    *capacity = wanted;
    return true;
}

/* ---- a word as its first symbols ---- */

static bool add_symbol(struct bpe_scratch *scratch, uint32_t id) {
    void *items = scratch->symbols;
    bool grown = grow(&items, &scratch->symbol_capacity, scratch->symbol_count, sizeof *scratch->symbols);
    scratch->symbols = items;
    if (grown) scratch->symbols[scratch->symbol_count++].id = id;
    return grown;
}

static bool flush_unknown(struct bpe_scratch *scratch) {
    uint32_t unknown = scratch->pending_unknown;
    scratch->pending_unknown = NO_TOKEN;
    return unknown == NO_TOKEN || add_symbol(scratch, unknown);
}

/* A character as "<0xNN>" tokens; *done is false when one of them is missing. As in the reference, unknown characters
 * that wait stay behind these. */
static tsr_status add_fallback(struct encoder *encoder, struct piece_text letter, bool *done) {
    const struct tokenizer *tokenizer = encoder->tokenizer;
    *done = false;
    for (size_t i = 0; i < letter.length; i++) {
        if (tokenizer->fallback_ids[(uint8_t)letter.text[i]] == NO_TOKEN) return TSR_OK;
    }
    for (size_t i = 0; i < letter.length; i++) {
        if (!add_symbol(encoder->bpe, tokenizer->fallback_ids[(uint8_t)letter.text[i]]))
            return encoder_no_memory(encoder);
    }
    *done = true;
    return TSR_OK;
}

static tsr_status add_unknown(struct encoder *encoder, struct piece_text letter) {
    const struct tokenizer *tokenizer = encoder->tokenizer;
    struct bpe_scratch *scratch = encoder->bpe;
    if (tokenizer->byte_fallback) {
        bool done;
        tsr_status st = add_fallback(encoder, letter, &done);
        if (st != TSR_OK || done) return st;
    }
    if (tokenizer->unknown_is_missing) {
        return tsr_fail(encoder->err, TSR_E_INPUT,
                        "a character is not in the vocabulary, and neither is its unk_token");
    }
    if (tokenizer->unknown == NO_TOKEN) return TSR_OK; /* dropped, as the format has it */
    if (!tokenizer->fuse_unknown && !flush_unknown(scratch)) return encoder_no_memory(encoder);
    scratch->pending_unknown = tokenizer->unknown;
    return TSR_OK;
}

/* The character as the vocabulary spells it inside of a word. */
static tsr_status decorate(struct encoder *encoder, struct piece_text *letter, bool is_first, bool is_last) {
    const struct tokenizer *tokenizer = encoder->tokenizer;
    struct str *text = &encoder->bpe->letter;
    if ((is_first || !tokenizer->prefix.length) && (!is_last || !tokenizer->suffix.length)) return TSR_OK;
    str_truncate(text, 0);
    if (!is_first) str_add(text, tokenizer->prefix.text, tokenizer->prefix.length);
    str_add(text, letter->text, letter->length);
    if (is_last) str_add(text, tokenizer->suffix.text, tokenizer->suffix.length);
    if (text->failed) return encoder_no_memory(encoder);
    *letter = (struct piece_text){text->text, text->length};
    return TSR_OK;
}

static tsr_status add_letters(struct encoder *encoder, const char *text, size_t length) {
    const struct tokenizer *tokenizer = encoder->tokenizer;
    bool plain = !tokenizer->prefix.length && !tokenizer->suffix.length;
    for (size_t at = 0, size; at < length; at += size) {
        (void)utf8_at(text + at, &size);
        struct piece_text letter = {text + at, size};
        uint32_t id;
        if (plain && size == 1) {
            id = tokenizer->ascii_ids[(uint8_t)text[at]];
        } else {
            tsr_status st = decorate(encoder, &letter, at == 0, at + size == length);
            if (st != TSR_OK) return st;
            id = vocabulary_find(&tokenizer->vocabulary, letter.text, letter.length);
        }
        if (id == NO_TOKEN) {
            tsr_status st = add_unknown(encoder, letter);
            if (st != TSR_OK) return st;
        } else if (!flush_unknown(encoder->bpe) || !add_symbol(encoder->bpe, id)) {
            return encoder_no_memory(encoder);
        }
    }
    return flush_unknown(encoder->bpe) ? TSR_OK : encoder_no_memory(encoder);
}

/* Every byte has a token: words need not be spelled in the byte-level alphabet first. */
static tsr_status add_bytes(struct encoder *encoder, const char *text, size_t length, bool *done) {
    const struct tokenizer *tokenizer = encoder->tokenizer;
    *done = false;
    if (tokenizer->prefix.length || tokenizer->suffix.length) return TSR_OK;
    for (size_t i = 0; i < length; i++) {
        uint32_t id = tokenizer->byte_ids[(uint8_t)text[i]];
        if (id == NO_TOKEN) {
            encoder->bpe->symbol_count = 0;
            return TSR_OK;
        }
        if (!add_symbol(encoder->bpe, id)) return encoder_no_memory(encoder);
    }
    *done = true;
    return TSR_OK;
}

/* ---- short words ---- */

static uint32_t rank_of(const struct merges *merges, const struct symbol *symbol) {
    const struct merge *merge = merges_find(merges, symbol[0].id, symbol[1].id);
    return merge ? merge->rank : NO_TOKEN;
}

static void merge_short(const struct merges *merges, struct symbol *symbols, uint64_t *symbol_count) {
    uint64_t count = *symbol_count;
    for (uint64_t i = 0; i + 1 < count; i++) symbols[i].rank = rank_of(merges, &symbols[i]);
    while (count > 1) {
        uint64_t best = 0;
        for (uint64_t i = 1; i + 1 < count; i++) {
            if (symbols[i].rank < symbols[best].rank) best = i;
        }
        if (symbols[best].rank == NO_TOKEN) break;
        symbols[best].id = merges_find(merges, symbols[best].id, symbols[best + 1].id)->id;
        count--;
        memmove(&symbols[best + 1], &symbols[best + 2], (count - best - 1) * sizeof *symbols);
        if (best + 1 < count) symbols[best].rank = rank_of(merges, &symbols[best]);
        if (best) symbols[best - 1].rank = rank_of(merges, &symbols[best - 1]);
    }
    *symbol_count = count;
}

/* ---- long words ---- */

static void sift_up(struct candidate *heap, uint64_t at) {
    struct candidate moved = heap[at];
    for (; at && moved.order < heap[(at - 1) / 4].order; at = (at - 1) / 4) heap[at] = heap[(at - 1) / 4];
    heap[at] = moved;
}

static void sift_down(struct candidate *heap, uint64_t count, uint64_t at) {
    struct candidate moved = heap[at];
    for (;;) {
        uint64_t child = at * 4 + 1, least = child;
        if (child >= count) break;
        for (uint64_t i = child + 1; i < child + 4 && i < count; i++) {
            if (heap[i].order < heap[least].order) least = i;
        }
        if (moved.order <= heap[least].order) break;
        heap[at] = heap[least];
        at = least;
    }
    heap[at] = moved;
}

static bool push(struct bpe_scratch *scratch, const struct merges *merges, uint32_t place) {
    const struct symbol *symbol = &scratch->symbols[place];
    if (symbol->next == NO_SYMBOL) return true;
    const struct merge *merge = merges_find(merges, symbol->id, scratch->symbols[symbol->next].id);
    if (!merge) return true;
    void *items = scratch->heap;
    bool grown = grow(&items, &scratch->heap_capacity, scratch->heap_count, sizeof *scratch->heap);
    scratch->heap = items;
    if (!grown) return false;
    scratch->heap[scratch->heap_count] = (struct candidate){(uint64_t)merge->rank << 32 | place, merge->id};
    sift_up(scratch->heap, scratch->heap_count++);
    return true;
}

static struct candidate pop(struct bpe_scratch *scratch) {
    struct candidate top = scratch->heap[0];
    scratch->heap[0] = scratch->heap[--scratch->heap_count];
    if (scratch->heap_count) sift_down(scratch->heap, scratch->heap_count, 0);
    return top;
}

/* Merges the symbol at `place` with the next one, unless the candidate is stale. */
static bool apply(struct bpe_scratch *scratch, const struct merges *merges, struct candidate candidate) {
    uint32_t place = (uint32_t)candidate.order;
    struct symbol *symbol = &scratch->symbols[place];
    if (symbol->id == NO_TOKEN || symbol->next == NO_SYMBOL) return true;
    struct symbol *right = &scratch->symbols[symbol->next];
    const struct merge *merge = merges_find(merges, symbol->id, right->id);
    if (!merge || merge->id != candidate.id) return true;
    symbol->id = candidate.id;
    symbol->next = right->next;
    right->id = NO_TOKEN;
    if (symbol->next != NO_SYMBOL) scratch->symbols[symbol->next].previous = place;
    if (symbol->previous != NO_SYMBOL && !push(scratch, merges, symbol->previous)) return false;
    return push(scratch, merges, place);
}

static bool merge_long(struct bpe_scratch *scratch, const struct merges *merges) {
    uint64_t count = scratch->symbol_count, kept = 0;
    scratch->heap_count = 0;
    for (uint64_t i = 0; i < count; i++) {
        scratch->symbols[i].previous = i ? (uint32_t)i - 1 : NO_SYMBOL;
        scratch->symbols[i].next = i + 1 < count ? (uint32_t)i + 1 : NO_SYMBOL;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (!push(scratch, merges, (uint32_t)i)) return false;
    }
    while (scratch->heap_count) {
        if (!apply(scratch, merges, pop(scratch))) return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (scratch->symbols[i].id != NO_TOKEN) scratch->symbols[kept++] = scratch->symbols[i];
    }
    scratch->symbol_count = kept;
    return true;
}

/* ---- a word ---- */

/* A whole word that is a token, for ignore_merges. */
static bool whole_word(struct encoder *encoder, const char *text, size_t length, tsr_status *st) {
    uint32_t id = vocabulary_find(&encoder->tokenizer->vocabulary, text, length);
    if (id != NO_TOKEN) *st = token_ids_add(encoder, &id, 1);
    return id != NO_TOKEN;
}

static tsr_status first_symbols(struct encoder *encoder, const char *text, size_t length, bool bytes, bool *whole) {
    const struct tokenizer *tokenizer = encoder->tokenizer;
    tsr_status st = TSR_OK;
    bool done = false;
    *whole = false;
    encoder->bpe->symbol_count = 0;
    if (bytes && !tokenizer->ignore_merges) {
        st = add_bytes(encoder, text, length, &done);
        if (st != TSR_OK || done) return st;
    }
    if (bytes) {
        str_truncate(&encoder->word, 0);
        bytes_to_letters(text, length, &encoder->word);
        if (encoder->word.failed) return encoder_no_memory(encoder);
        text = encoder->word.text;
        length = encoder->word.length;
    }
    if (tokenizer->ignore_merges && whole_word(encoder, text, length, &st)) {
        *whole = true;
        return st;
    }
    return add_letters(encoder, text, length);
}

tsr_status bpe_word(struct encoder *encoder, const char *text, size_t length, bool bytes) {
    struct bpe_scratch *scratch = encoder->bpe;
    const struct merges *merges = &encoder->tokenizer->merges;
    bool whole;
    tsr_status st = first_symbols(encoder, text, length, bytes, &whole);
    if (st != TSR_OK || whole) return st;
    if (scratch->symbol_count <= SHORT_WORD) {
        merge_short(merges, scratch->symbols, &scratch->symbol_count);
    } else if (!merge_long(scratch, merges)) {
        return encoder_no_memory(encoder);
    }
    for (uint64_t i = 0; i < scratch->symbol_count && st == TSR_OK; i++) {
        st = token_ids_add(encoder, &scratch->symbols[i].id, 1);
    }
    return st;
}
