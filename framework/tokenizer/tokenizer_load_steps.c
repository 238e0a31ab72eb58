/* SPDX-License-Identifier: Apache-2.0
 *
 * The stages of a tokenizer.json: each component by its "type", sequences flattened. One table per kind of stage; what
 * is not in it is refused by its name and place. */
#include "tokenizer_parts.h"

#include <base/alloc.h>

#define SEQUENCE_DEPTH_MAX 8

/* GPT-2's pattern, which the byte-level splitter has built in. */
static const char GPT2_PATTERN[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

struct step_kind {
    const char *type;
    int kind;
    tsr_status (*load)(const struct loader *loader, const json_t *object, const char *where, struct step *step);
};

struct step_family {
    const char *sequence_member;   /* of "Sequence" */
    const struct step_kind *kinds; /* ends with a NULL type */
};

/* ---- members ---- */

/* A text that must not be empty: an empty pattern would match everywhere. */
static tsr_status load_filled(const struct loader *loader, const json_t *object, const char *where, const char *name,
                              struct piece_text *text) {
    tsr_status st = load_text(loader, object, where, name, true, text);
    if (st != TSR_OK || text->length) return st;
    return load_fail(loader, TSR_E_UNSUPPORTED, where, "%s: an empty text", name);
}

static tsr_status load_letter(const struct loader *loader, const json_t *object, const char *where, const char *name,
                              struct piece_text *text) {
    size_t size = 0;
    tsr_status st = load_filled(loader, object, where, name, text);
    if (st != TSR_OK) return st;
    (void)utf8_at(text->text, &size);
    return size == text->length ? TSR_OK : load_fail(loader, TSR_E_INPUT, where, "%s: expected one character", name);
}

static tsr_status load_regex(const struct loader *loader, const char *where, struct piece_text pattern,
                             struct step *step) {
    char subject[160];
    (void)snprintf(subject, sizeof subject, "%s: %s", loader->subject, where);
    return regex_create(pattern.text, pattern.length, subject, &step->regex, loader->err);
}

/* {"String": ...} or {"Regex": ...} */
static tsr_status load_pattern(const struct loader *loader, const json_t *object, const char *where,
                               struct step *step) {
    const json_t *pattern = json_object_get(object, "pattern");
    struct piece_text text = {0};
    if (json_object_get(pattern, "Regex")) {
        tsr_status st = load_text(loader, pattern, where, "Regex", true, &text);
        return st == TSR_OK ? load_regex(loader, where, text, step) : st;
    }
    if (json_object_get(pattern, "String")) return load_filled(loader, pattern, where, "String", &step->pattern);
    return load_fail(loader, TSR_E_INPUT, where, "pattern: expected an object with \"String\" or \"Regex\"");
}

static tsr_status load_choice(const struct loader *loader, const json_t *object, const char *where, const char *name,
                              const char *const *choices, int *choice) {
    struct piece_text text = {0};
    tsr_status st = load_text(loader, object, where, name, false, &text);
    if (st != TSR_OK || !text.text) return st;
    for (*choice = 0; choices[*choice]; ++*choice) {
        if (!strcmp(choices[*choice], text.text)) return TSR_OK;
    }
    return load_fail(loader, TSR_E_UNSUPPORTED, where, "%s: \"%.40s\"", name, text.text);
}

static tsr_status load_behaviour(const struct loader *loader, const json_t *object, const char *where,
                                 struct step *step) {
    static const char *const BEHAVIOURS[] = {"Removed",        "Isolated",   "MergedWithPrevious",
                                             "MergedWithNext", "Contiguous", NULL};
    int choice = (int)step->behaviour;
    tsr_status st = load_choice(loader, object, where, "behavior", BEHAVIOURS, &choice);
    step->behaviour = (enum split_behaviour)choice;
    return st;
}

/* prepend_scheme, or the older add_prefix_space. */
static tsr_status load_scheme(const struct loader *loader, const json_t *object, const char *where, struct step *step) {
    static const char *const SCHEMES[] = {"always", "first", "never", NULL};
    int choice = PREPEND_ALWAYS;
    bool prefix = true, has_scheme = json_object_get(object, "prepend_scheme") != NULL;
    tsr_status st = load_choice(loader, object, where, "prepend_scheme", SCHEMES, &choice);
    if (st == TSR_OK) st = load_bool(loader, object, where, "add_prefix_space", &prefix);
    if (st != TSR_OK) return st;
    if (!prefix && choice != PREPEND_NEVER) {
        if (has_scheme)
            return load_fail(loader, TSR_E_INPUT, where,
                             "add_prefix_space is false but prepend_scheme is not \"never\"");
        return load_fail(loader, TSR_E_INPUT, where, "add_prefix_space is false without prepend_scheme \"never\"");
    }
    step->scheme = (enum prepend_scheme)choice;
    return TSR_OK;
}

/* ---- normalisers ---- */

static tsr_status load_strip_sides(const struct loader *loader, const json_t *object, const char *where,
                                   struct step *step) {
    tsr_status st = load_bool(loader, object, where, "strip_left", &step->left);
    return st == TSR_OK ? load_bool(loader, object, where, "strip_right", &step->right) : st;
}

static tsr_status load_prepend(const struct loader *loader, const json_t *object, const char *where,
                               struct step *step) {
    return load_text(loader, object, where, "prepend", true, &step->content);
}

static tsr_status load_replace(const struct loader *loader, const json_t *object, const char *where,
                               struct step *step) {
    tsr_status st = load_pattern(loader, object, where, step);
    return st == TSR_OK ? load_text(loader, object, where, "content", true, &step->content) : st;
}

static const struct step_kind NORMALISERS[] = {{"NFC", NORMALISE_NFC, NULL},
                                               {"NFD", NORMALISE_NFD, NULL},
                                               {"NFKC", NORMALISE_NFKC, NULL},
                                               {"NFKD", NORMALISE_NFKD, NULL},
                                               {"Lowercase", NORMALISE_LOWERCASE, NULL},
                                               {"Strip", NORMALISE_STRIP, load_strip_sides},
                                               {"StripAccents", NORMALISE_STRIP_ACCENTS, NULL},
                                               {"Prepend", NORMALISE_PREPEND, load_prepend},
                                               {"Replace", NORMALISE_REPLACE, load_replace},
                                               {"ByteLevel", NORMALISE_BYTE_LEVEL, NULL},
                                               {NULL, 0, NULL}};

/* ---- pre-tokenizers ---- */

static tsr_status load_byte_level(const struct loader *loader, const json_t *object, const char *where,
                                  struct step *step) {
    bool use_regex = true;
    step->prefix = true;
    tsr_status st = load_bool(loader, object, where, "add_prefix_space", &step->prefix);
    if (st == TSR_OK) st = load_bool(loader, object, where, "use_regex", &use_regex);
    if (st != TSR_OK || !use_regex) return st;
    return load_regex(loader, where, (struct piece_text){GPT2_PATTERN, sizeof GPT2_PATTERN - 1}, step);
}

static tsr_status load_split(const struct loader *loader, const json_t *object, const char *where, struct step *step) {
    if (!json_object_get(object, "behavior")) return load_fail(loader, TSR_E_INPUT, where, "behavior is missing");
    tsr_status st = load_pattern(loader, object, where, step);
    if (st == TSR_OK) st = load_behaviour(loader, object, where, step);
    return st == TSR_OK ? load_bool(loader, object, where, "invert", &step->invert) : st;
}

static tsr_status load_metaspace(const struct loader *loader, const json_t *object, const char *where,
                                 struct step *step) {
    step->split = true;
    tsr_status st = load_letter(loader, object, where, "replacement", &step->content);
    if (st == TSR_OK) st = load_scheme(loader, object, where, step);
    return st == TSR_OK ? load_bool(loader, object, where, "split", &step->split) : st;
}

static tsr_status load_digits(const struct loader *loader, const json_t *object, const char *where, struct step *step) {
    bool individual = false;
    tsr_status st = load_bool(loader, object, where, "individual_digits", &individual);
    step->behaviour = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
    return st;
}

static tsr_status load_punctuation(const struct loader *loader, const json_t *object, const char *where,
                                   struct step *step) {
    step->behaviour = SPLIT_ISOLATED;
    return load_behaviour(loader, object, where, step);
}

static tsr_status load_delimiter(const struct loader *loader, const json_t *object, const char *where,
                                 struct step *step) {
    return load_letter(loader, object, where, "delimiter", &step->pattern);
}

static const struct step_kind SPLITTERS[] = {{"ByteLevel", SPLIT_BYTE_LEVEL, load_byte_level},
                                             {"Split", SPLIT_PATTERN, load_split},
                                             {"Metaspace", SPLIT_METASPACE, load_metaspace},
                                             {"Digits", SPLIT_DIGITS, load_digits},
                                             {"Whitespace", SPLIT_WHITESPACE, NULL},
                                             {"WhitespaceSplit", SPLIT_WHITESPACE_RUNS, NULL},
                                             {"Punctuation", SPLIT_PUNCTUATION, load_punctuation},
                                             {"CharDelimiterSplit", SPLIT_DELIMITER, load_delimiter},
                                             {NULL, 0, NULL}};

/* ---- decoders ---- */

static tsr_status load_strip_counts(const struct loader *loader, const json_t *object, const char *where,
                                    struct step *step) {
    tsr_status st = load_letter(loader, object, where, "content", &step->content);
    if (st == TSR_OK) st = load_count(loader, object, where, "start", &step->start);
    return st == TSR_OK ? load_count(loader, object, where, "stop", &step->stop) : st;
}

static tsr_status load_suffix(const struct loader *loader, const json_t *object, const char *where, struct step *step) {
    return load_filled(loader, object, where, "suffix", &step->content);
}

static const struct step_kind DECODERS[] = {
    {"ByteLevel", DECODE_BYTE_LEVEL, NULL},       {"Metaspace", DECODE_METASPACE, load_metaspace},
    {"ByteFallback", DECODE_BYTE_FALLBACK, NULL}, {"Fuse", DECODE_FUSE, NULL},
    {"Replace", DECODE_REPLACE, load_replace},    {"Strip", DECODE_STRIP, load_strip_counts},
    {"BPEDecoder", DECODE_BPE, load_suffix},      {NULL, 0, NULL}};

/* ---- sequences ---- */

static tsr_status add_step(const struct loader *loader, const struct step_kind *kind, const json_t *object,
                           const char *where, struct steps *steps) {
    if (steps->count == STEPS_MAX) return load_fail(loader, TSR_E_LIMIT, where, "more than %d components", STEPS_MAX);
    struct step *step = &steps->items[steps->count++];
    step->kind = kind->kind;
    return kind->load ? kind->load(loader, object, where, step) : TSR_OK;
}

static tsr_status load_step(const struct loader *loader, const struct step_family *family, const json_t *object,
                            const char *where, int depth, struct steps *steps);

static tsr_status load_sequence(const struct loader *loader, const struct step_family *family, const json_t *object,
                                const char *where, int depth, struct steps *steps) {
    const json_t *list = json_object_get(object, family->sequence_member);
    char place[96];
    size_t i;
    json_t *item;
    tsr_status st = TSR_OK;
    if (!json_is_array(list))
        return load_fail(loader, TSR_E_INPUT, where, "%s: expected a list", family->sequence_member);
    if (depth == SEQUENCE_DEPTH_MAX) return load_fail(loader, TSR_E_LIMIT, where, "sequences are nested too deeply");
    json_array_foreach(list, i, item) {
        (void)snprintf(place, sizeof place, "%.40s.%s[%zu]", where, family->sequence_member, i);
        st = load_step(loader, family, item, place, depth + 1, steps);
        if (st != TSR_OK) break;
    }
    return st;
}

static tsr_status load_step(const struct loader *loader, const struct step_family *family, const json_t *object,
                            const char *where, int depth, struct steps *steps) {
    const char *type = json_string_value(json_object_get(object, "type"));
    if (!type) return load_fail(loader, TSR_E_INPUT, where, "expected an object with a \"type\"");
    if (!strcmp(type, "Sequence")) return load_sequence(loader, family, object, where, depth, steps);
    for (const struct step_kind *kind = family->kinds; kind->type; kind++) {
        if (!strcmp(kind->type, type)) return add_step(loader, kind, object, where, steps);
    }
    return load_fail(loader, TSR_E_UNSUPPORTED, where, "type \"%.60s\"", type);
}

tsr_status load_normalisers(const struct loader *loader, const json_t *value) {
    static const struct step_family FAMILY = {"normalizers", NORMALISERS};
    return json_is_null(value) || !value
               ? TSR_OK
               : load_step(loader, &FAMILY, value, "normalizer", 0, &loader->tokenizer->normalisers);
}

/* Behind each byte-level splitter the words are spelled in its alphabet; when it is the last one they stay bytes, which
 * have their tokens by number. */
static void insert_spelling(const struct loader *loader, const struct steps *read, struct steps *steps) {
    steps->count = 0;
    for (unsigned i = 0; i < read->count; i++) {
        bool is_byte_level = read->items[i].kind == SPLIT_BYTE_LEVEL;
        steps->items[steps->count++] = read->items[i];
        if (is_byte_level && i + 1 < read->count) steps->items[steps->count++] = (struct step){.kind = SPLIT_SPELL};
        if (is_byte_level && i + 1 == read->count) loader->tokenizer->bytes_last = true;
    }
}

tsr_status load_splitters(const struct loader *loader, const json_t *value) {
    static const struct step_family FAMILY = {"pretokenizers", SPLITTERS};
    struct steps *steps = &loader->tokenizer->splitters;
    if (json_is_null(value) || !value) return TSR_OK;
    tsr_status st = load_step(loader, &FAMILY, value, "pre_tokenizer", 0, steps);
    if (st != TSR_OK) return st;
    if (2 * steps->count > STEPS_MAX)
        return load_fail(loader, TSR_E_LIMIT, "pre_tokenizer", "more than %d components", STEPS_MAX / 2);
    struct steps read = *steps;
    insert_spelling(loader, &read, steps);
    return TSR_OK;
}

tsr_status load_decoders(const struct loader *loader, const json_t *value) {
    static const struct step_family FAMILY = {"decoders", DECODERS};
    if (json_is_null(value) || !value) return TSR_OK;
    loader->tokenizer->has_decoder = true;
    return load_step(loader, &FAMILY, value, "decoder", 0, &loader->tokenizer->decoders);
}
