/* SPDX-License-Identifier: Apache-2.0
 *
 * Pre-tokenizers: a piece of text goes through all of them depth first, so a word is encoded before the next one is
 * looked for and nothing is listed. A splitter says where its matches are; the collector joins matches and what lies
 * between them as the behaviour says. Pieces are never empty. */
#include "tokenizer_parts.h"

#define METASPACE "\xE2\x96\x81" /* U+2581 */
#define METASPACE_BYTES 3

/* ---- collecting ---- */

struct collector {
    struct encoder *encoder;
    unsigned next_stage;
    struct piece whole;
    enum split_behaviour behaviour;
    bool invert;
    bool pending; /* [start, end) waits for what follows */
    bool last_matched;
    size_t start, end;
};

static tsr_status give(struct collector *c, size_t start, size_t end) {
    if (start == end) return TSR_OK;
    return split_piece(c->encoder, c->next_stage,
                       (struct piece){c->whole.text + start, end - start, c->whole.first && start == 0});
}

static tsr_status give_pending(struct collector *c) {
    bool pending = c->pending;
    c->pending = false;
    return pending ? give(c, c->start, c->end) : TSR_OK;
}

static bool joins(const struct collector *c, bool matched) {
    if (!c->pending) return false;
    switch (c->behaviour) {
    case SPLIT_WITH_PREVIOUS:
        return matched && !c->last_matched;
    case SPLIT_WITH_NEXT:
        return c->last_matched && !matched;
    case SPLIT_CONTIGUOUS:
        return matched == c->last_matched;
    default:
        return false;
    }
}

/* Takes the next stretch, which begins where the one before ended. */
static tsr_status collect(struct collector *c, size_t start, size_t end, bool matched) {
    matched = matched != c->invert;
    if (c->behaviour == SPLIT_ISOLATED) return give(c, start, end);
    if (c->behaviour == SPLIT_REMOVED) return matched ? TSR_OK : give(c, start, end);
    if (joins(c, matched)) {
        c->end = end;
    } else {
        tsr_status st = give_pending(c);
        if (st != TSR_OK) return st;
        c->pending = true;
        c->start = start;
        c->end = end;
    }
    c->last_matched = matched;
    return TSR_OK;
}

/* A match, after what was passed over to find it. */
static tsr_status collect_match(struct collector *c, size_t *taken, size_t start, size_t end) {
    tsr_status st = TSR_OK;
    if (*taken < start) st = collect(c, *taken, start, false);
    if (st == TSR_OK) st = collect(c, start, end, true);
    *taken = end;
    return st;
}

static tsr_status collect_rest(struct collector *c, size_t taken) {
    tsr_status st = TSR_OK;
    if (taken < c->whole.length) st = collect(c, taken, c->whole.length, false);
    return st == TSR_OK ? give_pending(c) : st;
}

static tsr_status split_regex(struct collector *c, const struct regex *regex) {
    struct regex_search search = {.text = c->whole.text, .length = c->whole.length};
    size_t taken = 0, start = 0, end = 0;
    bool found;
    tsr_status st;
    do {
        st = regex_next(regex, c->encoder->regex, &search, &found, &start, &end, c->encoder->err);
        if (st == TSR_OK && found) st = collect_match(c, &taken, start, end);
    } while (st == TSR_OK && found);
    return st == TSR_OK ? collect_rest(c, taken) : st;
}

static tsr_status split_plain(struct collector *c, struct piece_text pattern) {
    size_t taken = 0;
    tsr_status st = TSR_OK;
    for (size_t at = 0; st == TSR_OK && at + pattern.length <= c->whole.length;) {
        const char *hit = memchr(c->whole.text + at, pattern.text[0], c->whole.length - at - pattern.length + 1);
        if (!hit) break;
        at = (size_t)(hit - c->whole.text);
        if (memcmp(hit, pattern.text, pattern.length) != 0) {
            at++;
            continue;
        }
        st = collect_match(c, &taken, at, at + pattern.length);
        at += pattern.length;
    }
    return st == TSR_OK ? collect_rest(c, taken) : st;
}

static tsr_status split_characters(struct collector *c, bool (*matches)(uint32_t)) {
    size_t taken = 0, size;
    tsr_status st = TSR_OK;
    for (size_t at = 0; st == TSR_OK && at < c->whole.length; at += size) {
        uint32_t character = utf8_at(c->whole.text + at, &size);
        if (matches(character)) st = collect_match(c, &taken, at, at + size);
    }
    return st == TSR_OK ? collect_rest(c, taken) : st;
}

/* Runs of word characters, runs of others, and no white space: \w+|[^\w\s]+ */
static tsr_status split_words(struct collector *c) {
    int run = 0; /* 0 white space, 1 word, 2 others */
    size_t start = 0, size;
    tsr_status st = TSR_OK;
    for (size_t at = 0; st == TSR_OK && at < c->whole.length; at += size) {
        uint32_t character = utf8_at(c->whole.text + at, &size);
        int kind = is_word_character(character) ? 1 : is_white_space(character) ? 0 : 2;
        if (kind == run) continue;
        if (run) st = give(c, start, at);
        run = kind;
        start = at;
    }
    return st == TSR_OK && run ? give(c, start, c->whole.length) : st;
}

/* ---- splitters that change text ---- */

static bool starts_with(struct piece piece, struct piece_text with) {
    return piece.length >= with.length && !memcmp(piece.text, with.text, with.length);
}

static tsr_status stage_text(struct collector *c, unsigned stage) {
    const struct str *text = &c->encoder->staged[stage];
    if (text->failed) return encoder_no_memory(c->encoder);
    c->whole.text = text->text;
    c->whole.length = text->length;
    return TSR_OK;
}

static tsr_status split_metaspace(struct collector *c, unsigned stage, const struct step *step) {
    static const struct piece_text SPACE = {" ", 1};
    struct str *text = &c->encoder->staged[stage];
    bool has = starts_with(c->whole, SPACE) || starts_with(c->whole, step->content);
    bool prepend = step->scheme == PREPEND_ALWAYS || (step->scheme == PREPEND_FIRST && c->whole.first);
    str_truncate(text, 0);
    if (prepend && !has) str_add(text, step->content.text, step->content.length);
    for (size_t at = 0; at < c->whole.length;) {
        const char *space = memchr(c->whole.text + at, ' ', c->whole.length - at);
        size_t end = space ? (size_t)(space - c->whole.text) : c->whole.length;
        str_add(text, c->whole.text + at, end - at);
        if (space) str_add(text, step->content.text, step->content.length);
        at = end + (space != NULL);
    }
    tsr_status st = stage_text(c, stage);
    if (st != TSR_OK) return st;
    if (!step->split) return give(c, 0, c->whole.length);
    c->behaviour = SPLIT_WITH_NEXT;
    return split_plain(c, step->content);
}

/* The alphabet's letters of the words, for the splitters behind. */
static tsr_status spell(struct collector *c, unsigned stage) {
    struct str *text = &c->encoder->staged[stage];
    str_truncate(text, 0);
    bytes_to_letters(c->whole.text, c->whole.length, text);
    tsr_status st = stage_text(c, stage);
    return st == TSR_OK ? give(c, 0, c->whole.length) : st;
}

/* The byte-level splitter is two stages: prefix and expression here, spelling in SPLIT_SPELL behind it. */
static tsr_status split_byte_level(struct collector *c, unsigned stage, const struct step *step) {
    if (step->prefix && c->whole.text[0] != ' ') {
        struct str *text = &c->encoder->staged[stage];
        str_truncate(text, 0);
        str_add(text, " ", 1);
        str_add(text, c->whole.text, c->whole.length);
        tsr_status st = stage_text(c, stage);
        if (st != TSR_OK) return st;
    }
    c->behaviour = SPLIT_ISOLATED;
    return step->regex ? split_regex(c, step->regex) : give(c, 0, c->whole.length);
}

/* ---- words ---- */

/* Cuts a text without splitters at the starts of runs of U+2581, which no merge reaches over, so that the words can be
 * remembered. */
static tsr_status encode_cut(struct encoder *encoder, const char *text, size_t length) {
    size_t start = 0;
    tsr_status st = TSR_OK;
    bool in_run = false;
    for (size_t at = 0; at < length && st == TSR_OK;) {
        bool is_mark_here = text[at] == METASPACE[0] && length - at >= METASPACE_BYTES &&
                            !memcmp(text + at, METASPACE, METASPACE_BYTES);
        if (is_mark_here && !in_run && at > start) {
            st = word_encode(encoder, text + start, at - start);
            start = at;
        }
        in_run = is_mark_here;
        at += is_mark_here ? METASPACE_BYTES : 1;
        if (!in_run) {
            const char *next = memchr(text + at, METASPACE[0], length - at);
            at = next ? (size_t)(next - text) : length;
        }
    }
    return st == TSR_OK && start < length ? word_encode(encoder, text + start, length - start) : st;
}

static tsr_status split_with(struct collector *c, unsigned stage, const struct step *step) {
    switch (step->kind) {
    case SPLIT_BYTE_LEVEL:
        return split_byte_level(c, stage, step);
    case SPLIT_SPELL:
        return spell(c, stage);
    case SPLIT_METASPACE:
        return split_metaspace(c, stage, step);
    case SPLIT_DIGITS:
        return split_characters(c, is_numeric);
    case SPLIT_PUNCTUATION:
        return split_characters(c, is_punctuation);
    case SPLIT_WHITESPACE_RUNS:
        return split_characters(c, is_white_space);
    case SPLIT_WHITESPACE:
        return split_words(c);
    default:
        return step->regex ? split_regex(c, step->regex) : split_plain(c, step->pattern);
    }
}

/* Stages are at most STEPS_MAX, which bounds the recursion. */
tsr_status split_piece(struct encoder *encoder, unsigned stage, struct piece piece) {
    const struct tokenizer *tokenizer = encoder->tokenizer;
    if (stage == tokenizer->splitters.count) {
        if (tokenizer->cut_at_metaspace) return encode_cut(encoder, piece.text, piece.length);
        return word_encode(encoder, piece.text, piece.length);
    }
    const struct step *step = &tokenizer->splitters.items[stage];
    struct collector collector = {.encoder = encoder,
                                  .next_stage = stage + 1,
                                  .whole = piece,
                                  .behaviour = step->behaviour,
                                  .invert = step->invert};
    return split_with(&collector, stage, step);
}
