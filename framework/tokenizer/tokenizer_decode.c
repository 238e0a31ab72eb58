/* SPDX-License-Identifier: Apache-2.0
 *
 * Ids to text: the tokens as a list of texts, changed by one decoder after the other, and joined. The stream decodes a
 * short window again with each id and gives away what is longer than before: window and text before it are kept as long
 * as a later token can change them. */
#include "tokenizer_parts.h"

#include <base/alloc.h>
#include <base/checked.h>

/* ---- lists of texts ---- */

struct text_list {
    struct str text; /* one behind the other */
    size_t *ends;
    uint64_t count, capacity;
};

struct decoding {
    const struct tokenizer *tokenizer;
    struct text_list lists[2];
    unsigned turn; /* the list that holds the texts */
    struct regex_scratch *regex;
    bool keep_bytes; /* the byte-level decoder leaves broken UTF-8 as it is */
    bool failed;     /* out of memory */
    tsr_error *err;
};

static void list_end(struct decoding *d, struct text_list *list) {
    if (list->count == list->capacity) {
        uint64_t capacity = max_u64(64, list->capacity * 2);
        size_t *grown = mem_resize(list->ends, capacity, sizeof *grown);
        if (!grown) {
            d->failed = true;
            return;
        }
        list->ends = grown;
        list->capacity = capacity;
    }
    list->ends[list->count++] = list->text.length;
    if (list->text.failed) d->failed = true;
}

static void list_add(struct decoding *d, struct text_list *list, const char *text, size_t length) {
    str_add(&list->text, text, length);
    list_end(d, list);
}

static struct piece_text list_at(const struct text_list *list, uint64_t i) {
    size_t start = i ? list->ends[i - 1] : 0;
    return (struct piece_text){list->text.length ? list->text.text + start : "", list->ends[i] - start};
}

static struct text_list *other_list(struct decoding *d) {
    struct text_list *list = &d->lists[d->turn ^ 1];
    list->count = 0;
    str_truncate(&list->text, 0);
    return list;
}

/* ---- decoders ---- */

/* The bytes a token spells in the alphabet, or the token itself when a character is not in it. */
static void add_spelled(struct piece_text token, struct str *out) {
    size_t before = out->length, size;
    for (size_t at = 0; at < token.length; at += size) {
        int byte = byte_of_letter(utf8_at(token.text + at, &size));
        if (byte < 0) {
            str_truncate(out, before);
            str_add(out, token.text, token.length);
            return;
        }
        char c = (char)byte;
        str_add(out, &c, 1);
    }
}

static void decode_bytes(struct decoding *d, const struct text_list *in, struct text_list *out) {
    struct str bytes = {0};
    for (uint64_t i = 0; i < in->count; i++) add_spelled(list_at(in, i), d->keep_bytes ? &out->text : &bytes);
    if (!d->keep_bytes) utf8_add_lossy(&out->text, bytes.text, bytes.length);
    d->failed |= bytes.failed;
    str_clear(&bytes);
    list_end(d, out);
}

static void decode_metaspace(struct decoding *d, const struct step *step, const struct text_list *in,
                             struct text_list *out) {
    for (uint64_t i = 0; i < in->count; i++) {
        struct step replace = {.pattern = step->content, .content = {" ", 1}};
        if (i == 0 && step->scheme != PREPEND_NEVER) replace.content.length = 0;
        (void)replace_text(&replace, NULL, list_at(in, i), &out->text, NULL);
        list_end(d, out);
    }
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The byte of "<0xNN>", or -1. */
static int byte_token(struct piece_text token) {
    if (token.length != 6 || memcmp(token.text, "<0x", 3) != 0 || token.text[5] != '>') return -1;
    int high = hex_digit(token.text[3]), low = hex_digit(token.text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* A run of byte tokens is text as a whole, or as many U+FFFD. */
static void end_byte_run(struct decoding *d, struct str *run, struct text_list *out) {
    if (!run->length) return;
    if (text_is_utf8(run->text, run->length)) {
        list_add(d, out, run->text, run->length);
    } else {
        for (size_t i = 0; i < run->length; i++) list_add(d, out, "\xEF\xBF\xBD", 3);
    }
    str_truncate(run, 0);
}

static void decode_fallback(struct decoding *d, const struct text_list *in, struct text_list *out) {
    struct str run = {0};
    for (uint64_t i = 0; i < in->count; i++) {
        struct piece_text token = list_at(in, i);
        int byte = byte_token(token);
        char c = (char)byte;
        if (byte >= 0) {
            str_add(&run, &c, 1);
            continue;
        }
        end_byte_run(d, &run, out);
        list_add(d, out, token.text, token.length);
    }
    end_byte_run(d, &run, out);
    d->failed |= run.failed;
    str_clear(&run);
}

static void decode_fuse(struct decoding *d, const struct text_list *in, struct text_list *out) {
    str_add(&out->text, in->text.text, in->text.length);
    list_end(d, out);
}

static tsr_status decode_replace(struct decoding *d, const struct step *step, const struct text_list *in,
                                 struct text_list *out) {
    for (uint64_t i = 0; i < in->count; i++) {
        tsr_status st = replace_text(step, d->regex, list_at(in, i), &out->text, d->err);
        if (st != TSR_OK) return st;
        list_end(d, out);
    }
    return TSR_OK;
}

static struct piece_text strip_token(struct piece_text token, const struct step *step) {
    size_t size = step->content.length;
    for (uint64_t i = 0; i < step->start && token.length >= size && !memcmp(token.text, step->content.text, size);
         i++) {
        token.text += size;
        token.length -= size;
    }
    for (uint64_t i = 0; i < step->stop && token.length >= size; i++) {
        if (memcmp(token.text + token.length - size, step->content.text, size) != 0) break;
        token.length -= size;
    }
    return token;
}

static void decode_strip(struct decoding *d, const struct step *step, const struct text_list *in,
                         struct text_list *out) {
    for (uint64_t i = 0; i < in->count; i++) {
        struct piece_text token = strip_token(list_at(in, i), step);
        list_add(d, out, token.text, token.length);
    }
}

static void decode_bpe(struct decoding *d, const struct step *step, const struct text_list *in, struct text_list *out) {
    for (uint64_t i = 0; i < in->count; i++) {
        struct step replace = {.pattern = step->content, .content = {" ", i + 1 < in->count}};
        (void)replace_text(&replace, NULL, list_at(in, i), &out->text, NULL);
        list_end(d, out);
    }
}

static tsr_status decode_with(struct decoding *d, const struct step *step) {
    const struct text_list *in = &d->lists[d->turn];
    struct text_list *out = other_list(d);
    tsr_status st = TSR_OK;
    switch (step->kind) {
    case DECODE_BYTE_LEVEL:
        decode_bytes(d, in, out);
        break;
    case DECODE_METASPACE:
        decode_metaspace(d, step, in, out);
        break;
    case DECODE_BYTE_FALLBACK:
        decode_fallback(d, in, out);
        break;
    case DECODE_FUSE:
        decode_fuse(d, in, out);
        break;
    case DECODE_REPLACE:
        st = decode_replace(d, step, in, out);
        break;
    case DECODE_STRIP:
        decode_strip(d, step, in, out);
        break;
    default:
        decode_bpe(d, step, in, out);
    }
    d->turn ^= 1;
    return st;
}

/* ---- ids ---- */

static tsr_status list_tokens(struct decoding *d, const uint32_t *ids, uint64_t count, bool skip_special) {
    const struct tokenizer *tokenizer = d->tokenizer;
    for (uint64_t i = 0; i < count; i++) {
        size_t length;
        const char *token = tokenizer_token(tokenizer, ids[i], &length);
        if (!token) {
            return tsr_fail(d->err, TSR_E_INPUT, "id %u at position %llu is not in the vocabulary of %u",
                            (unsigned)ids[i], (unsigned long long)i, (unsigned)tokenizer->vocabulary.size);
        }
        if (!skip_special || !tokenizer_is_special(tokenizer, ids[i])) list_add(d, &d->lists[0], token, length);
    }
    return TSR_OK;
}

static void join(const struct decoding *d, struct str *text) {
    const struct text_list *list = &d->lists[d->turn];
    for (uint64_t i = 0; i < list->count; i++) {
        struct piece_text token = list_at(list, i);
        if (i && !d->tokenizer->has_decoder) str_add(text, " ", 1);
        str_add(text, token.text, token.length);
    }
}

static void decoding_clear(struct decoding *d) {
    for (unsigned i = 0; i < 2; i++) {
        str_clear(&d->lists[i].text);
        mem_free(d->lists[i].ends);
    }
    regex_scratch_destroy(d->regex);
}

static tsr_status decode(const struct tokenizer *tokenizer, struct token_ids ids, bool skip_special, bool keep_bytes,
                         struct str *text, tsr_error *err) {
    struct decoding d = {.tokenizer = tokenizer, .keep_bytes = keep_bytes, .err = err};
    size_t before = text->length;
    tsr_status st = TSR_OK;
    d.regex = regex_scratch_create();
    d.failed = !d.regex;
    if (!d.failed) st = list_tokens(&d, ids.ids, ids.count, skip_special);
    for (unsigned i = 0; i < tokenizer->decoders.count && st == TSR_OK && !d.failed && d.lists[d.turn].count; i++) {
        st = decode_with(&d, &tokenizer->decoders.items[i]);
    }
    if (st == TSR_OK && !d.failed) join(&d, text);
    if (st == TSR_OK && (d.failed || text->failed))
        st = tsr_fail(err, TSR_E_NOMEM, "out of memory for the text of tokens");
    decoding_clear(&d);
    if (st != TSR_OK && text->length > before) str_truncate(text, before);
    return st;
}

tsr_status tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, uint64_t count, bool skip_special,
                            struct str *text, tsr_error *err) {
    struct token_ids list = {.ids = (uint32_t *)(uintptr_t)ids, .count = count};
    return decode(tokenizer, list, skip_special, false, text, err);
}

/* ---- streams ---- */

struct token_stream {
    const struct tokenizer *tokenizer;
    bool skip_special;
    bool holds_all;          /* a decoder looks at the end of the text: nothing is final before it is there */
    struct token_ids window; /* the last ids */
    size_t given;            /* bytes of the window's text that were given away */
    struct str text;         /* of the window */
};

/* Whether what a step makes of a text stays when the text grows, though the tokens are joined to one. */
static bool is_stable_when_joined(const struct step *step) {
    size_t size = 0;
    if (step->kind == DECODE_REPLACE) (void)utf8_at(step->pattern.text, &size);
    return step->kind == DECODE_FUSE || step->kind == DECODE_STRIP || (size && size == step->pattern.length);
}

/* Whether tokens that follow can change a text before its end. */
static bool looks_behind(const struct steps *decoders) {
    bool joined = false;
    for (unsigned i = 0; i < decoders->count; i++) {
        const struct step *step = &decoders->items[i];
        if ((step->kind == DECODE_STRIP && step->stop) || (step->kind == DECODE_REPLACE && step->regex)) return true;
        if (step->kind == DECODE_BPE || (joined && !is_stable_when_joined(step))) return true;
        if (step->kind == DECODE_BYTE_LEVEL && decoders->count > 1) return true;
        joined |= step->kind == DECODE_FUSE;
    }
    return false;
}

struct token_stream *token_stream_create(const struct tokenizer *tokenizer, bool skip_special) {
    struct token_stream *stream = mem_alloc_zero(1, sizeof *stream);
    if (!stream) return NULL;
    stream->tokenizer = tokenizer;
    stream->skip_special = skip_special;
    stream->holds_all = looks_behind(&tokenizer->decoders);
    return stream;
}

void token_stream_destroy(struct token_stream *stream) {
    if (!stream) return;
    token_ids_clear(&stream->window);
    str_clear(&stream->text);
    mem_free(stream);
}

static tsr_status decode_window(struct token_stream *stream, uint64_t first, uint64_t count, bool keep_bytes,
                                tsr_error *err) {
    struct token_ids part = {.ids = count ? stream->window.ids + first : NULL, .count = count};
    str_truncate(&stream->text, 0);
    return decode(stream->tokenizer, part, stream->skip_special, keep_bytes, &stream->text, err);
}

/* Ids at the end of the window that may belong to a character not complete yet. */
static uint64_t open_run(const struct token_stream *stream) {
    uint64_t run = 0;
    while (run < stream->window.count) {
        size_t length;
        const char *token =
            tokenizer_token(stream->tokenizer, stream->window.ids[stream->window.count - 1 - run], &length);
        if (!token || byte_token((struct piece_text){token, length}) < 0) break;
        run++;
    }
    return run;
}

/* Bytes without the beginning of a character at the end. */
static size_t whole_length(const char *text, size_t length) {
    for (size_t back = 1; back < 4 && back <= length; back++) {
        uint8_t byte = (uint8_t)text[length - back];
        bool whole;
        if ((byte & 0xC0) == 0x80) continue;
        if (byte >= 0xC0 && utf8_sequence(text + length - back, back, &whole) == back && !whole) return length - back;
        break;
    }
    return length;
}

/* Keeps as many ids as are needed so that the next one is decoded as if all before it were there. */
static tsr_status shorten(struct token_stream *stream, uint64_t final_ids, tsr_error *err) {
    uint64_t kept = 1;
    if (final_ids != stream->window.count) return TSR_OK;
    tsr_status st = decode_window(stream, final_ids - kept, kept, false, err);
    if (st != TSR_OK || !stream->text.length) return st;
    stream->given = stream->text.length;
    memmove(stream->window.ids, stream->window.ids + final_ids - kept, kept * sizeof *stream->window.ids);
    stream->window.count = kept;
    return TSR_OK;
}

static tsr_status give_final(struct token_stream *stream, struct str *text, bool at_end, tsr_error *err) {
    uint64_t ids = stream->window.count - (at_end ? 0 : open_run(stream));
    /* A text that is decoded once, at its end, is decoded as tokenizer_decode does it. */
    tsr_status st = decode_window(stream, 0, ids, !stream->holds_all, err);
    if (st != TSR_OK) return st;
    size_t whole = at_end ? stream->text.length : whole_length(stream->text.text, stream->text.length);
    bool all = whole == stream->text.length;
    struct str lossy = {0};
    if (whole) utf8_add_lossy(&lossy, stream->text.text, whole);
    if (lossy.length > stream->given) {
        str_add(text, lossy.text + stream->given, lossy.length - stream->given);
        stream->given = lossy.length;
    }
    if (lossy.failed || text->failed) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for the text of tokens");
    str_clear(&lossy);
    return st == TSR_OK && all && !at_end ? shorten(stream, ids, err) : st;
}

tsr_status token_stream_step(struct token_stream *stream, uint32_t id, struct str *text, tsr_error *err) {
    struct encoder list = {.ids = &stream->window, .err = err};
    if (!tokenizer_token(stream->tokenizer, id, NULL)) {
        return tsr_fail(err, TSR_E_INPUT, "id %u is not in the vocabulary of %u", (unsigned)id,
                        (unsigned)stream->tokenizer->vocabulary.size);
    }
    tsr_status st = token_ids_add(&list, &id, 1);
    return st == TSR_OK && !stream->holds_all ? give_final(stream, text, false, err) : st;
}

tsr_status token_stream_end(struct token_stream *stream, struct str *text, tsr_error *err) {
    tsr_status st = give_final(stream, text, true, err);
    stream->window.count = 0;
    stream->given = 0;
    return st;
}
