/* SPDX-License-Identifier: Apache-2.0
 *
 * One text through all stages, and the cache of words. Words repeat, so their tokens are remembered: a direct-mapped
 * table over a pool of fixed size, which is emptied when full. It belongs to one call, since a tokenizer is shared
 * by threads and does not change. */
#include "tokenizer_parts.h"

#include <base/alloc.h>
#include <base/checked.h>

#define TEXT_MAX ((size_t)INT32_MAX)
#define CACHED_WORD_MAX 128 /* bytes */
#define CACHE_SLOTS_MAX 32768
#define CACHE_SLOTS_MIN 64
#define CACHE_BYTES_PER_SLOT 16
#define CACHE_IDS_PER_SLOT 6

void token_ids_clear(struct token_ids *ids) {
    mem_free(ids->ids);
    *ids = (struct token_ids){0};
}

tsr_status encoder_no_memory(const struct encoder *encoder) {
    return tsr_fail(encoder->err, TSR_E_NOMEM, "out of memory for the tokens of a text");
}

tsr_status token_ids_add(struct encoder *encoder, const uint32_t *ids, uint64_t count) {
    struct token_ids *list = encoder->ids;
    if (count > list->capacity - list->count) {
        uint64_t capacity = max_u64(64, max_u64(list->capacity * 2, list->count + count));
        uint32_t *grown = mem_resize(list->ids, capacity, sizeof *grown);
        if (!grown) return encoder_no_memory(encoder);
        list->ids = grown;
        list->capacity = capacity;
    }
    if (count) memcpy(list->ids + list->count, ids, count * sizeof *ids);
    list->count += count;
    return TSR_OK;
}

/* ---- the cache ---- */

struct cached_word {
    uint32_t text, length; /* length 0: a free slot */
    uint32_t ids, count;
};

struct word_cache {
    struct cached_word *slots;
    uint64_t mask;
    char *text;
    uint32_t *ids;
    uint64_t text_used, text_size, ids_used, ids_size;
};

static void cache_destroy(struct word_cache *cache) {
    if (!cache) return;
    mem_free(cache->slots);
    mem_free(cache->text);
    mem_free(cache->ids);
    mem_free(cache);
}

/* As large as a text of this length can profit from. */
static struct word_cache *cache_create(size_t text_length) {
    uint64_t slots = CACHE_SLOTS_MIN;
    while (slots < CACHE_SLOTS_MAX && slots < text_length / 16) slots *= 2;
    struct word_cache *cache = mem_alloc_zero(1, sizeof *cache);
    if (!cache) return NULL;
    cache->mask = slots - 1;
    cache->text_size = slots * CACHE_BYTES_PER_SLOT;
    cache->ids_size = slots * CACHE_IDS_PER_SLOT;
    cache->slots = mem_alloc_zero(slots, sizeof *cache->slots);
    cache->text = mem_alloc_array(cache->text_size, 1);
    cache->ids = mem_alloc_array(cache->ids_size, sizeof *cache->ids);
    if (cache->slots && cache->text && cache->ids) return cache;
    cache_destroy(cache);
    return NULL;
}

static void cache_store(struct word_cache *cache, struct cached_word *slot, struct piece_text word, const uint32_t *ids,
                        uint64_t count) {
    if (count > CACHED_WORD_MAX) return;
    if (word.length > cache->text_size - cache->text_used || count > cache->ids_size - cache->ids_used) {
        memset(cache->slots, 0, (cache->mask + 1) * sizeof *cache->slots);
        cache->text_used = cache->ids_used = 0;
    }
    *slot = (struct cached_word){(uint32_t)cache->text_used, (uint32_t)word.length, (uint32_t)cache->ids_used,
                                 (uint32_t)count};
    memcpy(cache->text + cache->text_used, word.text, word.length);
    memcpy(cache->ids + cache->ids_used, ids, count * sizeof *ids);
    cache->text_used += word.length;
    cache->ids_used += count;
}

tsr_status word_encode(struct encoder *encoder, const char *text, size_t length) {
    struct word_cache *cache = encoder->cache;
    bool bytes = encoder->tokenizer->bytes_last;
    if (length > CACHED_WORD_MAX) return bpe_word(encoder, text, length, bytes);
    struct cached_word *slot = &cache->slots[hash_text(text, length) & cache->mask];
    if (slot->length == length && !memcmp(cache->text + slot->text, text, length)) {
        return token_ids_add(encoder, cache->ids + slot->ids, slot->count);
    }
    uint64_t before = encoder->ids->count;
    tsr_status st = bpe_word(encoder, text, length, bytes);
    if (st != TSR_OK || encoder->ids->count == before) return st;
    cache_store(cache, slot, (struct piece_text){text, length}, encoder->ids->ids + before,
                encoder->ids->count - before);
    return TSR_OK;
}

/* ---- the stages ---- */

/* Text between added tokens of raw text: normalised, and cut at the added tokens of normalised text. */
static tsr_status encode_normalised(struct encoder *encoder, struct piece piece) {
    const struct tokenizer *tokenizer = encoder->tokenizer;
    size_t at = 0, taken = 0;
    struct added_match match;
    tsr_status st = normalise_piece(encoder, &piece);
    while (st == TSR_OK &&
           added_next(tokenizer, &tokenizer->added.normalised, piece.text, piece.length, &at, taken, &match)) {
        if (taken < match.start) {
            st =
                split_piece(encoder, 0, (struct piece){piece.text + taken, match.start - taken, piece.first && !taken});
        }
        if (st == TSR_OK) st = token_ids_add(encoder, &match.id, 1);
        taken = match.end;
    }
    if (st == TSR_OK && taken < piece.length) {
        st = split_piece(encoder, 0, (struct piece){piece.text + taken, piece.length - taken, piece.first && !taken});
    }
    return st;
}

static tsr_status encode_text(struct encoder *encoder, const char *text, size_t length) {
    const struct tokenizer *tokenizer = encoder->tokenizer;
    size_t at = 0, taken = 0;
    struct added_match match;
    tsr_status st = TSR_OK;
    while (st == TSR_OK && added_next(tokenizer, &tokenizer->added.raw, text, length, &at, taken, &match)) {
        if (taken < match.start) {
            st = encode_normalised(encoder, (struct piece){text + taken, match.start - taken, !taken});
        }
        if (st == TSR_OK) st = token_ids_add(encoder, &match.id, 1);
        taken = match.end;
    }
    if (st == TSR_OK && taken < length) {
        st = encode_normalised(encoder, (struct piece){text + taken, length - taken, !taken});
    }
    return st;
}

static void encoder_clear(struct encoder *encoder) {
    for (unsigned i = 0; i < 2; i++) str_clear(&encoder->normal[i]);
    for (unsigned i = 0; i < STEPS_MAX; i++) str_clear(&encoder->staged[i]);
    str_clear(&encoder->word);
    regex_scratch_destroy(encoder->regex);
    bpe_scratch_destroy(encoder->bpe);
    cache_destroy(encoder->cache);
    mem_free(encoder->codepoints);
}

static tsr_status encoder_init(struct encoder *encoder, size_t length) {
    encoder->regex = regex_scratch_create();
    encoder->bpe = bpe_scratch_create();
    encoder->cache = cache_create(length);
    return encoder->regex && encoder->bpe && encoder->cache ? TSR_OK : encoder_no_memory(encoder);
}

static tsr_status check_text(const char *text, size_t length, tsr_error *err) {
    if (length > TEXT_MAX)
        return tsr_fail(err, TSR_E_LIMIT, "text of %zu bytes: at most %zu are encoded at once", length, TEXT_MAX);
    size_t valid = utf8_valid_length(text, length);
    if (valid == length) return TSR_OK;
    tsr_status st = tsr_fail(err, TSR_E_INPUT, "text: byte %zu is not UTF-8", valid);
    if (err) err->offset = valid;
    return st;
}

tsr_status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length, bool add_special,
                            struct token_ids *ids, tsr_error *err) {
    struct encoder encoder = {.tokenizer = tokenizer, .ids = ids, .err = err};
    uint64_t before = ids->count;
    tsr_status st = check_text(text, length, err);
    if (st == TSR_OK) st = encoder_init(&encoder, length);
    if (st == TSR_OK && add_special) st = token_ids_add(&encoder, tokenizer->before.ids, tokenizer->before.count);
    if (st == TSR_OK) st = encode_text(&encoder, text, length);
    if (st == TSR_OK && add_special) st = token_ids_add(&encoder, tokenizer->after.ids, tokenizer->after.count);
    encoder_clear(&encoder);
    if (st != TSR_OK) ids->count = before;
    return st;
}

tsr_status normalise_text(const struct tokenizer *tokenizer, struct piece_text in, struct str *out, tsr_error *err) {
    struct token_ids none = {0};
    struct encoder encoder = {.tokenizer = tokenizer, .ids = &none, .err = err};
    struct piece piece = {in.text, in.length, true};
    tsr_status st = encoder_init(&encoder, 0);
    if (st == TSR_OK) st = normalise_piece(&encoder, &piece);
    if (st == TSR_OK) str_add(out, piece.text, piece.length);
    if (st == TSR_OK && out->failed) st = encoder_no_memory(&encoder);
    encoder_clear(&encoder);
    return st;
}
