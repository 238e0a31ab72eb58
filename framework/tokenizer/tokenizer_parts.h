/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files tokenizer_*.c share: the opened tokenizer and the stages text passes through. Order, as in the format:
 * added tokens are cut out of the raw text; what lies between is normalised; added tokens that are to be found in
 * normalised text are cut out; the rest is split into words; each word becomes tokens by merging. */
#ifndef TOKENIZER_TOKENIZER_PARTS_H
#define TOKENIZER_TOKENIZER_PARTS_H

#include "tokenizer.h"

#include <base/arena.h>
#include <format/json_reader.h>
#include <string.h>

#define NO_TOKEN UINT32_MAX
#define STEPS_MAX 32 /* of one kind (normalisers, pre-tokenizers, decoders), sequences flattened */

/* ---- vocabulary and merges (tokenizer_vocabulary.c) ---- */

enum { TOKEN_OF_MODEL = 1, TOKEN_ADDED = 2, TOKEN_SPECIAL = 4 };

struct token {
    const char *text; /* NULL: the id is not used */
    uint32_t length;
    uint32_t flags;
};

struct vocabulary {
    struct token *tokens; /* by id */
    uint32_t size;        /* highest id + 1 */
    uint32_t capacity;
    uint32_t model_count; /* tokens of the model, without added ones */
    uint32_t *slots;      /* id + 1 of tokens of the model, 0: free; open addressing */
    uint32_t slot_mask;
};

struct merge {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* NO_TOKEN: a free slot */
    uint32_t id;
};

struct merges {
    struct merge *slots; /* open addressing, NULL when there are none */
    uint64_t mask;
};

static inline uint64_t hash_mix(uint64_t hash) {
    hash ^= hash >> 32;
    hash *= 0x9E3779B97F4A7C15u;
    return hash ^ (hash >> 29);
}

static inline uint64_t hash_text(const char *text, size_t length) {
    uint64_t hash = length * 0x9E3779B97F4A7C15u, word;
    for (; length >= 8; length -= 8, text += 8) {
        memcpy(&word, text, 8);
        hash = hash_mix(hash ^ word) * 0xD6E8FEB86659FD93u;
    }
    word = 0;
    for (size_t i = 0; i < length; i++) word |= (uint64_t)(uint8_t)text[i] << (8 * i);
    return hash_mix(hash_mix(hash ^ word) * 0xD6E8FEB86659FD93u);
}

/* Of the model's tokens alone. NO_TOKEN when there is none. */
uint32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t length);
/* NULL when the two are not merged. */
static inline const struct merge *merges_find(const struct merges *merges, uint32_t left, uint32_t right) {
    if (!merges->slots) return NULL;
    uint64_t pair = (uint64_t)left << 32 | right;
    for (uint64_t at = hash_mix(pair * 0xD6E8FEB86659FD93u) & merges->mask;; at = (at + 1) & merges->mask) {
        const struct merge *slot = &merges->slots[at];
        if (slot->rank == NO_TOKEN) return NULL;
        if (slot->pair == pair) return slot;
    }
}
/* Room for `count` tokens; false when memory is short. */
bool vocabulary_reserve(struct vocabulary *vocabulary, uint32_t size);
bool vocabulary_index(struct vocabulary *vocabulary, uint64_t count); /* makes the slots; then add with _insert */
void vocabulary_insert(struct vocabulary *vocabulary, uint32_t id);
void vocabulary_clear(struct vocabulary *vocabulary);
bool merges_reserve(struct merges *merges, uint64_t count);
void merges_insert(struct merges *merges, struct merge merge); /* a later one of the same pair wins */
void merges_clear(struct merges *merges);

/* ---- regular expressions (tokenizer_regex.c) ---- */

struct regex;
struct regex_scratch; /* of one thread */
/* Onigmo's syntax (that of the format) brought to PCRE2. TSR_E_UNSUPPORTED for what would mean something else there. */
tsr_status regex_create(const char *pattern, size_t length, const char *where, struct regex **regex, tsr_error *err);
void regex_destroy(struct regex *regex);
struct regex_scratch *regex_scratch_create(void);
void regex_scratch_destroy(struct regex_scratch *scratch);

/* A search over one text: zero-initialise, set text and length, and call until *found is false. Empty matches next to
 * the match before are passed over. */
struct regex_search {
    const char *text;
    size_t length;
    size_t at;
    size_t last_end; /* valid with has_last */
    bool has_last;
};
tsr_status regex_next(const struct regex *regex, struct regex_scratch *scratch, struct regex_search *search,
                      bool *found, size_t *start, size_t *end, tsr_error *err);

/* ---- steps ---- */

enum normaliser_kind {
    NORMALISE_NFC,
    NORMALISE_NFD,
    NORMALISE_NFKC,
    NORMALISE_NFKD,
    NORMALISE_LOWERCASE,
    NORMALISE_STRIP, /* left, right */
    NORMALISE_STRIP_ACCENTS,
    NORMALISE_PREPEND, /* content */
    NORMALISE_REPLACE, /* pattern or regex -> content */
    NORMALISE_BYTE_LEVEL
};
enum splitter_kind {
    SPLIT_BYTE_LEVEL, /* prefix, regex or NULL; SPLIT_SPELL follows */
    SPLIT_SPELL,      /* bytes as letters of the byte-level alphabet; left out at the end: see bytes_last */
    SPLIT_PATTERN,    /* pattern or regex, behaviour, invert */
    SPLIT_METASPACE,  /* content = replacement, scheme, split */
    SPLIT_DIGITS,     /* behaviour */
    SPLIT_WHITESPACE,
    SPLIT_WHITESPACE_RUNS,
    SPLIT_PUNCTUATION, /* behaviour */
    SPLIT_DELIMITER    /* pattern */
};
enum decoder_kind {
    DECODE_BYTE_LEVEL,
    DECODE_METASPACE, /* content = replacement, scheme */
    DECODE_BYTE_FALLBACK,
    DECODE_FUSE,
    DECODE_REPLACE, /* pattern or regex -> content */
    DECODE_STRIP,   /* content, start, stop */
    DECODE_BPE      /* content = suffix */
};
enum split_behaviour { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_WITH_PREVIOUS, SPLIT_WITH_NEXT, SPLIT_CONTIGUOUS };
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct piece_text {
    const char *text;
    size_t length;
};

/* One stage; which members it uses stands with its kind. */
struct step {
    int kind;
    struct piece_text pattern; /* plain, when regex is NULL */
    struct regex *regex;
    struct piece_text content;
    enum split_behaviour behaviour;
    enum prepend_scheme scheme;
    bool invert, prefix, split, left, right;
    uint64_t start, stop;
};

struct steps {
    struct step items[STEPS_MAX];
    unsigned count;
};

/* ---- added tokens (tokenizer_added.c) ---- */

struct added_token {
    uint32_t id;
    bool single_word, left_strip, right_strip, normalised, special;
    struct piece_text content;
};

/* All tokens to be looked for in one kind of text (raw or normalised), as a trie over bytes. */
struct trie_node {
    uint32_t child, sibling; /* 0: none; node 0 is the root */
    uint32_t id;             /* NO_TOKEN: no token ends here */
    uint8_t byte;
};
struct trie {
    struct trie_node *nodes; /* NULL: no tokens */
    uint32_t count, capacity;
    bool first[256]; /* bytes a token may begin with */
};

struct added {
    struct added_token *tokens; /* in the file's order */
    uint32_t count;
    uint32_t *slots; /* index + 1 by content, 0: free; open addressing */
    uint32_t slot_mask;
    uint32_t *by_id; /* index + 1 for ids of the vocabulary, 0: not added */
    struct trie raw, normalised;
};

void added_clear(struct added *added);
bool added_reserve(struct added *added, uint64_t count); /* room for so many; once, before the first. false: no memory */
void added_insert(struct added *added, const struct added_token *token);
const struct added_token *added_find(const struct added *added, const char *text, size_t length); /* or NULL */
/* Next added token in text[length] from *at on, and the span it takes with stripped spaces. `taken` is where the text
 * that was not yet given away begins. False: none. */
struct added_match {
    uint32_t id;
    size_t start, end;
};
bool added_next(const struct tokenizer *tokenizer, const struct trie *trie, const char *text, size_t length, size_t *at,
                size_t taken, struct added_match *match);

/* ---- the tokenizer ---- */

struct ids_text { /* ids in the arena */
    const uint32_t *ids;
    uint64_t count;
};

struct tokenizer {
    struct arena arena; /* texts of tokens and steps */
    struct vocabulary vocabulary;
    struct merges merges;
    struct added added;
    struct steps normalisers, splitters, decoders;
    bool has_decoder;
    struct ids_text before, after; /* what the template puts around a text */
    /* options of the model */
    uint32_t unknown;        /* id, or NO_TOKEN */
    bool unknown_is_missing; /* unk_token is named but not in the vocabulary: an error once it is needed */
    bool fuse_unknown, byte_fallback, ignore_merges;
    struct piece_text prefix, suffix; /* continuing_subword_prefix, end_of_word_suffix */
    /* made from the above */
    bool bytes_last;            /* the last splitter is byte-level: words stay bytes until they are tokens */
    uint32_t byte_ids[256];     /* of the byte-level letter of each byte, or NO_TOKEN */
    uint32_t fallback_ids[256]; /* of "<0xNN>", or NO_TOKEN */
    uint32_t ascii_ids[128];    /* of one-letter tokens, or NO_TOKEN */
    bool cut_at_metaspace;      /* no merge reaches over the start of a run of U+2581: words may be cut there */
};

/* ---- encoding (tokenizer_encode.c, _normalise.c, _split.c, _bpe.c) ---- */

struct word_cache;
struct bpe_scratch;

struct encoder {
    const struct tokenizer *tokenizer;
    struct token_ids *ids;
    struct regex_scratch *regex;  /* NULL when nothing needs one */
    struct str normal[2];         /* normalised text; normalisers take turns */
    unsigned turn;                /* the one used last */
    struct str staged[STEPS_MAX]; /* text changed by splitter i */
    struct word_cache *cache;
    struct bpe_scratch *bpe;
    struct str word;     /* byte-level spelling of a word */
    int32_t *codepoints; /* for the normal forms */
    size_t codepoint_capacity;
    tsr_error *err;
};

/* A stretch of text on its way through the stages. */
struct piece {
    const char *text;
    size_t length;
    bool first; /* it begins where the whole text begins, and nothing in front of it was removed */
};

/* Runs all normalisers; *piece then points into the encoder. */
tsr_status normalise_piece(struct encoder *encoder, struct piece *piece);
/* Splits from splitter `stage` on, and encodes the words. */
tsr_status split_piece(struct encoder *encoder, unsigned stage, struct piece piece);
/* Tokens of one word. `bytes`: the word is raw bytes for the byte-level alphabet. */
tsr_status bpe_word(struct encoder *encoder, const char *text, size_t length, bool bytes);
struct bpe_scratch *bpe_scratch_create(void);
void bpe_scratch_destroy(struct bpe_scratch *scratch);
tsr_status word_encode(struct encoder *encoder, const char *text, size_t length); /* through the cache */
tsr_status token_ids_add(struct encoder *encoder, const uint32_t *ids, uint64_t count);
tsr_status encoder_no_memory(const struct encoder *encoder);
/* Appends `in` with all matches of a replacing step replaced. */
tsr_status replace_text(const struct step *step, struct regex_scratch *scratch, struct piece_text in, struct str *out,
                        tsr_error *err);
/* A normal form or another normaliser applied to a text outside of any encoding (patterns of added tokens). */
tsr_status normalise_text(const struct tokenizer *tokenizer, struct piece_text in, struct str *out, tsr_error *err);

/* ---- byte-level alphabet and characters (tokenizer_unicode.c) ---- */

/* Letter of a byte: U+0021.. for printing characters, U+0100 + n for the others. */
uint32_t byte_letter(uint8_t byte);
int byte_of_letter(uint32_t letter); /* -1: not in the alphabet */
void bytes_to_letters(const char *bytes, size_t length, struct str *out);

bool is_white_space(uint32_t character); /* property White_Space */
bool is_numeric(uint32_t character);     /* Nd, Nl, No */
bool is_punctuation(uint32_t character); /* P*, and all ASCII punctuation */
bool is_word_character(uint32_t character);
bool is_mark(uint32_t character);         /* Mn, Mc, Me */
bool is_unnormalised(uint32_t character); /* the normal forms leave it alone */

/* The character at text, which is valid UTF-8; *length gets its bytes. */
static inline uint32_t utf8_at(const char *text, size_t *length) {
    const uint8_t *b = (const uint8_t *)text;
    if (b[0] < 0x80) return *length = 1, b[0];
    if (b[0] < 0xE0) return *length = 2, (uint32_t)(b[0] & 0x1F) << 6 | (b[1] & 0x3F);
    if (b[0] < 0xF0) return *length = 3, (uint32_t)(b[0] & 0x0F) << 12 | (uint32_t)(b[1] & 0x3F) << 6 | (b[2] & 0x3F);
    *length = 4;
    return (uint32_t)(b[0] & 7) << 18 | (uint32_t)(b[1] & 0x3F) << 12 | (uint32_t)(b[2] & 0x3F) << 6 | (b[3] & 0x3F);
}
/* Start of the character that ends at text + end. */
static inline size_t utf8_before(const char *text, size_t end) {
    do end--;
    while (end && ((uint8_t)text[end] & 0xC0) == 0x80);
    return end;
}
unsigned utf8_put(uint32_t character, char bytes[4]); /* returns their number */
/* Bytes in order at the start: a whole character, or the beginning of one (0: not even that). */
size_t utf8_sequence(const char *text, size_t length, bool *whole);
/* Length of the longest valid UTF-8 at the start. */
size_t utf8_valid_length(const char *text, size_t length);
/* Adds bytes, each maximal broken part as U+FFFD (as Unicode 3.9 recommends). */
void utf8_add_lossy(struct str *out, const char *bytes, size_t length);

/* ---- loading (tokenizer_load*.c) ---- */

#include <jansson.h>

struct loader {
    struct tokenizer *tokenizer;
    const char *subject; /* the file */
    tsr_error *err;
};

tsr_status load_fail(const struct loader *loader, tsr_status status, const char *where, const char *format, ...)
    TSR_PRINTF(4, 5);
tsr_status load_no_memory(const struct loader *loader);
/* The tries of the added tokens (tokenizer_added.c); after normalisers and ids are known. */
tsr_status added_build(const struct loader *loader);
/* Members of `object`, which stands at `where`. An absent one or null leaves the value unless it is required. */
tsr_status load_bool(const struct loader *loader, const json_t *object, const char *where, const char *name,
                     bool *value);
tsr_status load_text(const struct loader *loader, const json_t *object, const char *where, const char *name,
                     bool required, struct piece_text *text);
tsr_status load_count(const struct loader *loader, const json_t *object, const char *where, const char *name,
                      uint64_t *value);
/* Where a text holds the tables of a model; spans of nothing where it does not. */
struct model_tables {
    const char *text;
    struct json_span vocabulary, merges;
};
tsr_status load_model(const struct loader *loader, const json_t *model, const struct model_tables *tables);
/* {"token": id, ...} and ["a b", ["a", "b"], ...], or a merge a line. */
tsr_status load_vocabulary(const struct loader *loader, const char *text, struct json_span span, const char *where);
tsr_status load_merges(const struct loader *loader, const char *text, struct json_span span, const char *where);
tsr_status load_merge_lines(const struct loader *loader, const char *text, size_t size, const char *where);
/* "normalizer", "pre_tokenizer", "decoder": absent or null is no step at all. */
tsr_status load_normalisers(const struct loader *loader, const json_t *value);
tsr_status load_splitters(const struct loader *loader, const json_t *value);
tsr_status load_decoders(const struct loader *loader, const json_t *value);
tsr_status load_post(const struct loader *loader, const json_t *value);
tsr_status load_added(const struct loader *loader, const json_t *list);
tsr_status load_added_token(const struct loader *loader, const json_t *item, const char *where, uint64_t id);
struct tokenizer *tokenizer_create(void);
/* Everything but the model, which must be there, from a document with the members of tokenizer.json. */
tsr_status load_parts(const struct loader *loader, const json_t *document);
tsr_status load_finish(const struct loader *loader);
tsr_status load_vocabulary_files(const char *folder, struct tokenizer **tokenizer, tsr_error *err);

#endif
