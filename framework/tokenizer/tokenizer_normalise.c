/* SPDX-License-Identifier: Apache-2.0
 *
 * Normalisers. The normal forms are utf8proc's, except for characters that the format's own tables do not know yet:
 * those are left as they are and what stands around them is normalised apart. Marks are put in order by counting, so
 * that a long run of them takes linear time. */
#include "tokenizer_parts.h"

#include <base/alloc.h>
#include <utf8proc.h>

#define DECOMPOSED_MAX 32 /* code points one character may become (18 in Unicode 15) */

/* Goes on in the other buffer, emptied: the piece may lie in the one used last. */
static struct str *next_buffer(struct encoder *encoder) {
    struct str *out = &encoder->normal[encoder->turn ^= 1];
    str_truncate(out, 0);
    return out;
}

static tsr_status take(struct encoder *encoder, struct piece *piece, const struct str *out) {
    if (out->failed) return encoder_no_memory(encoder);
    piece->text = out->length ? out->text : "";
    piece->length = out->length;
    return TSR_OK;
}

/* ---- normal forms ---- */

static tsr_status reserve_code_points(struct encoder *encoder, size_t count) {
    if (count <= encoder->codepoint_capacity) return TSR_OK;
    size_t capacity = count + count / 2 + 256;
    int32_t *grown = mem_resize(encoder->codepoints, capacity, sizeof *grown);
    if (!grown) return encoder_no_memory(encoder);
    encoder->codepoints = grown;
    encoder->codepoint_capacity = capacity;
    return TSR_OK;
}

static tsr_status decompose(struct encoder *encoder, const char *text, size_t length, utf8proc_option_t options,
                            size_t *count) {
    *count = 0;
    for (size_t at = 0, size; at < length; at += size) {
        int32_t character = (int32_t)utf8_at(text + at, &size);
        int boundary = 0;
        tsr_status st = reserve_code_points(encoder, *count + DECOMPOSED_MAX);
        if (st != TSR_OK) return st;
        utf8proc_ssize_t parts =
            utf8proc_decompose_char(character, encoder->codepoints + *count, DECOMPOSED_MAX, options, &boundary);
        if (parts < 0 || parts > DECOMPOSED_MAX)
            return tsr_fail(encoder->err, TSR_E_LIMIT, "text: U+%04X is too long a character", (unsigned)character);
        *count += (size_t)parts;
    }
    return TSR_OK;
}

static int combining_class(int32_t character) {
    return utf8proc_get_property(character)->combining_class;
}

/* Stable counting sort of one run of marks, whose classes are 1..255. `copy` has room for as many. */
static void order_run(int32_t *marks, size_t count, int32_t *copy) {
    size_t starts[257] = {0};
    if (count < 2) return;
    memcpy(copy, marks, count * sizeof *marks);
    for (size_t i = 0; i < count; i++) starts[(combining_class(marks[i]) & 255) + 1]++;
    for (unsigned k = 1; k < 257; k++) starts[k] += starts[k - 1];
    for (size_t i = 0; i < count; i++) marks[starts[combining_class(copy[i]) & 255]++] = copy[i];
}

static tsr_status order_marks(struct encoder *encoder, size_t count) {
    tsr_status st = reserve_code_points(encoder, 2 * count);
    if (st != TSR_OK) return st;
    int32_t *points = encoder->codepoints;
    for (size_t at = 0; at < count;) {
        size_t end = at;
        while (end < count && combining_class(points[end]) > 0) end++;
        order_run(points + at, end - at, points + count);
        at = end + 1;
    }
    return TSR_OK;
}

static tsr_status normal_form(struct encoder *encoder, const char *text, size_t length, utf8proc_option_t options,
                              struct str *out) {
    size_t count;
    tsr_status st = decompose(encoder, text, length, options, &count);
    if (st == TSR_OK) st = order_marks(encoder, count);
    if (st != TSR_OK) return st;
    if (options & UTF8PROC_COMPOSE) {
        utf8proc_ssize_t composed = utf8proc_normalize_utf32(encoder->codepoints, (utf8proc_ssize_t)count, options);
        count = composed > 0 ? (size_t)composed : 0;
    }
    for (size_t i = 0; i < count; i++) {
        char bytes[4];
        str_add(out, bytes, utf8_put((uint32_t)encoder->codepoints[i], bytes));
    }
    return TSR_OK;
}

/* End of the stretch from `at` on that can be copied (all ASCII but for its last character, which what follows may
 * change), or `at`. */
static size_t ascii_end(const char *text, size_t length, size_t at) {
    size_t end = at;
    while (end < length && !((uint8_t)text[end] & 0x80)) end++;
    return end == length || end == at ? end : end - 1;
}

/* End of the stretch to be normalised as one: behind it stands ASCII (two, so that the first cannot change), or a
 * character that is left alone. */
static size_t form_end(const char *text, size_t length, size_t at) {
    size_t size;
    while (at < length) {
        bool is_ascii = !((uint8_t)text[at] & 0x80);
        if (is_ascii && at + 1 < length && !((uint8_t)text[at + 1] & 0x80)) break;
        if (!is_ascii && is_unnormalised(utf8_at(text + at, &size))) break;
        (void)utf8_at(text + at, &size);
        at += size;
    }
    return at;
}

static tsr_status normalise_form(struct encoder *encoder, struct piece *piece, utf8proc_option_t options) {
    if (ascii_end(piece->text, piece->length, 0) == piece->length) return TSR_OK;
    struct str *out = next_buffer(encoder);
    tsr_status st = TSR_OK;
    for (size_t at = 0, size; at < piece->length && st == TSR_OK;) {
        size_t end = ascii_end(piece->text, piece->length, at);
        str_add(out, piece->text + at, end - at);
        at = end;
        end = form_end(piece->text, piece->length, at);
        st = normal_form(encoder, piece->text + at, end - at, options, out);
        at = end;
        while (at < piece->length && is_unnormalised(utf8_at(piece->text + at, &size))) {
            str_add(out, piece->text + at, size);
            at += size;
        }
    }
    return st == TSR_OK ? take(encoder, piece, out) : st;
}

/* ---- the others ---- */

static uint32_t lowercase(uint32_t c) {
    /* Unicode 15 and 16; utf8proc may be older. */
    if (c == 0x1C89 || c == 0xA7CC || c == 0xA7DA) return c + 1;
    if (c == 0xA7CB) return 0x264;
    if (c == 0xA7DC) return 0x19B;
    if (c >= 0x10D50 && c <= 0x10D65) return c + 0x20;
    return (uint32_t)utf8proc_tolower((int32_t)c);
}

static tsr_status normalise_lowercase(struct encoder *encoder, struct piece *piece) {
    struct str *out = next_buffer(encoder);
    for (size_t at = 0, size; at < piece->length; at += size) {
        char bytes[4];
        uint32_t c = utf8_at(piece->text + at, &size);
        str_add(out, bytes, utf8_put(c == 0x130 ? 'i' : lowercase(c), bytes));
        if (c == 0x130) str_add(out, "\xCC\x87", 2); /* the one letter with two lower-case ones: i and a dot above */
    }
    return take(encoder, piece, out);
}

static void normalise_strip(struct piece *piece, const struct step *step) {
    size_t size;
    while (step->left && piece->length && is_white_space(utf8_at(piece->text, &size))) {
        piece->text += size;
        piece->length -= size;
        piece->first = false;
    }
    while (step->right && piece->length) {
        size_t before = utf8_before(piece->text, piece->length);
        if (!is_white_space(utf8_at(piece->text + before, &size))) break;
        piece->length = before;
    }
}

static tsr_status normalise_accents(struct encoder *encoder, struct piece *piece) {
    struct str *out = next_buffer(encoder);
    for (size_t at = 0, size; at < piece->length; at += size) {
        if (!is_mark(utf8_at(piece->text + at, &size))) {
            str_add(out, piece->text + at, size);
        } else if (at == 0) {
            piece->first = false;
        }
    }
    return take(encoder, piece, out);
}

static tsr_status normalise_prepend(struct encoder *encoder, struct piece *piece, const struct step *step) {
    if (!piece->length) return TSR_OK;
    struct str *out = next_buffer(encoder);
    str_add(out, step->content.text, step->content.length);
    str_add(out, piece->text, piece->length);
    return take(encoder, piece, out);
}

static void replace_plain(struct piece_text in, const struct step *step, struct str *out) {
    for (size_t at = 0; at < in.length;) {
        const char *hit = in.text + at;
        const char *end = in.text + in.length;
        while (hit && ((size_t)(end - hit) < step->pattern.length ||
                       memcmp(hit, step->pattern.text, step->pattern.length) != 0)) {
            hit = hit + 1 < end ? memchr(hit + 1, step->pattern.text[0], (size_t)(end - hit) - 1) : NULL;
        }
        size_t upto = hit ? (size_t)(hit - in.text) : in.length;
        str_add(out, in.text + at, upto - at);
        if (!hit) break;
        str_add(out, step->content.text, step->content.length);
        at = upto + step->pattern.length;
    }
}

tsr_status replace_text(const struct step *step, struct regex_scratch *scratch, struct piece_text in, struct str *out,
                        tsr_error *err) {
    struct regex_search search = {.text = in.text, .length = in.length};
    size_t taken = 0, start = 0, end = 0;
    bool found = in.length > 0;
    if (!step->regex) {
        replace_plain(in, step, out);
        return TSR_OK;
    }
    while (found) {
        tsr_status st = regex_next(step->regex, scratch, &search, &found, &start, &end, err);
        if (st != TSR_OK) return st;
        if (!found) break;
        str_add(out, in.text + taken, start - taken);
        str_add(out, step->content.text, step->content.length);
        taken = end;
    }
    str_add(out, in.text + taken, in.length - taken);
    return TSR_OK;
}

static tsr_status normalise_replace(struct encoder *encoder, struct piece *piece, const struct step *step) {
    struct str *out = next_buffer(encoder);
    struct piece_text in = {piece->text, piece->length};
    tsr_status st = replace_text(step, encoder->regex, in, out, encoder->err);
    return st == TSR_OK ? take(encoder, piece, out) : st;
}

static tsr_status normalise_bytes(struct encoder *encoder, struct piece *piece) {
    struct str *out = next_buffer(encoder);
    bytes_to_letters(piece->text, piece->length, out);
    return take(encoder, piece, out);
}

static tsr_status normalise_with(struct encoder *encoder, struct piece *piece, const struct step *step) {
    switch (step->kind) {
    case NORMALISE_NFC:
        return normalise_form(encoder, piece, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    case NORMALISE_NFD:
        return normalise_form(encoder, piece, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    case NORMALISE_NFKC:
        return normalise_form(encoder, piece, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    case NORMALISE_NFKD:
        return normalise_form(encoder, piece, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
    case NORMALISE_LOWERCASE:
        return normalise_lowercase(encoder, piece);
    case NORMALISE_STRIP:
        normalise_strip(piece, step);
        return TSR_OK;
    case NORMALISE_STRIP_ACCENTS:
        return normalise_accents(encoder, piece);
    case NORMALISE_PREPEND:
        return normalise_prepend(encoder, piece, step);
    case NORMALISE_REPLACE:
        return normalise_replace(encoder, piece, step);
    default:
        return normalise_bytes(encoder, piece);
    }
}

tsr_status normalise_piece(struct encoder *encoder, struct piece *piece) {
    const struct steps *steps = &encoder->tokenizer->normalisers;
    tsr_status st = TSR_OK;
    for (unsigned i = 0; i < steps->count && st == TSR_OK; i++) st = normalise_with(encoder, piece, &steps->items[i]);
    return st;
}
