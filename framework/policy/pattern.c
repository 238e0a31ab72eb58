/* SPDX-License-Identifier: Apache-2.0
 *
 * Globs are compiled to literals, stars and digit runs. A capture takes the whole run of digits it stands on, so where a
 * part between two stars ends depends only on where it begins, and later beginnings never end earlier. Hence the first
 * place where a part fits is as good as any, only the last star is ever tried again, and matching is O(pattern * name).
 * PCRE2 compiles into the arena (its frees do nothing) and matches with bounded steps, depth and heap. */
#include "pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8

#include <base/alloc.h>
#include <base/str.h>
#include <pcre2.h>
#include <string.h>

#define PATTERN_BYTES_MAX 1024
#define CAPTURE_DIGITS_MAX 18 /* fits int64_t */
#define REGEX_STEPS_MAX 100000
#define REGEX_DEPTH_MAX 1000
#define REGEX_HEAP_MAX_KIB 1024
#define LAYER_GROUP "layer"

enum token_kind { TOKEN_LITERAL, TOKEN_STAR, TOKEN_DIGITS };

struct token {
    enum token_kind kind;
    const char *text; /* the literal, or the name between the braces */
    size_t length;
};

struct pattern {
    const char *text;
    struct token *tokens; /* of a glob */
    uint64_t token_count;
    pcre2_code *code; /* of an expression, else NULL */
};

static tsr_status reject(tsr_error *err, const char *text, const char *reason) {
    return tsr_fail(err, TSR_E_CONFIG, "pattern \"%s\": %s", text, reason);
}

/* ---- globs ---- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_';
}

/* Reads "{name}" at `at`; the token's text is the name. */
static tsr_status read_capture(const char *pattern, const char *at, struct token *token, tsr_error *err) {
    size_t length = 0;
    while (is_name_char(at[1 + length])) length++;
    if (!length || at[1 + length] != '}') {
        return reject(err, pattern, "expected a name and \"}\" behind \"{\" (in an expression, begin with \"re:\")");
    }
    *token = (struct token){TOKEN_DIGITS, at + 1, length};
    return TSR_OK;
}

/* Reads one token at *at and moves behind it. */
static tsr_status read_token(const char *pattern, const char **at, struct token *token, tsr_error *err) {
    if (**at == '*') {
        *token = (struct token){TOKEN_STAR, *at, 1};
        while (**at == '*') (*at)++;
        return TSR_OK;
    }
    if (**at == '{') {
        tsr_status st = read_capture(pattern, *at, token, err);
        if (st == TSR_OK) *at += token->length + 2;
        return st;
    }
    size_t length = strcspn(*at, "*{}");
    if (!length) return reject(err, pattern, "\"}\" without \"{\"");
    *token = (struct token){TOKEN_LITERAL, *at, length};
    *at += length;
    return TSR_OK;
}

static bool is_same_capture(const struct token *a, const struct token *b) {
    return a->kind == TOKEN_DIGITS && b->kind == TOKEN_DIGITS && a->length == b->length &&
           !memcmp(a->text, b->text, a->length);
}

static tsr_status compile_glob(struct pattern *pattern, struct arena *arena, tsr_error *err) {
    pattern->tokens = arena_alloc(arena, strlen(pattern->text), sizeof *pattern->tokens);
    if (!pattern->tokens) return tsr_fail(err, TSR_E_NOMEM, "pattern \"%s\": no memory", pattern->text);
    for (const char *at = pattern->text; *at; pattern->token_count++) {
        struct token *token = &pattern->tokens[pattern->token_count];
        tsr_status st = read_token(pattern->text, &at, token, err);
        if (st != TSR_OK) return st;
        for (uint64_t i = 0; i < pattern->token_count; i++) {
            const struct token *other = &pattern->tokens[i];
            if (is_same_capture(other, token)) return reject(err, pattern->text, "one capture name twice");
            bool touch = i + 1 == pattern->token_count && other->kind == TOKEN_DIGITS && token->kind == TOKEN_DIGITS;
            if (touch) return reject(err, pattern->text, "two captures side by side never match");
        }
    }
    return TSR_OK;
}

/* Where the name continues behind a literal or a digit run that fits at `at`, or NULL. */
static const char *step(const struct token *token, const char *at, int64_t *layer) {
    if (token->kind == TOKEN_LITERAL) return strncmp(at, token->text, token->length) ? NULL : at + token->length;
    int64_t value = 0;
    const char *end = at;
    for (; is_digit(*end); end++) {
        if (end - at == CAPTURE_DIGITS_MAX) return NULL;
        value = value * 10 + (*end - '0');
    }
    if (end == at) return NULL;
    if (token->length == strlen(LAYER_GROUP) && !memcmp(token->text, LAYER_GROUP, token->length)) *layer = value;
    return end;
}

static bool match_glob(const struct pattern *pattern, const char *name, int64_t *layer) {
    const char *at = name, *retry = NULL; /* where the part behind the last star was tried last */
    uint64_t token = 0, after_star = 0;
    int64_t layer_at_star = -1;
    for (;;) {
        if (token == pattern->token_count) {
            if (!*at) return true;
        } else if (pattern->tokens[token].kind == TOKEN_STAR) {
            retry = at;
            after_star = ++token;
            layer_at_star = *layer;
            continue;
        } else {
            const char *next = step(&pattern->tokens[token], at, layer);
            if (next) {
                at = next;
                token++;
                continue;
            }
        }
        if (!retry || !*retry) return false;
        at = ++retry;
        token = after_star;
        *layer = layer_at_star;
    }
}

/* ---- expressions ---- */

static void *take_from_arena(size_t size, void *arena) {
    return arena_alloc(arena, 1, size);
}

static void leave_in_arena(void *memory, void *arena) {
    (void)memory;
    (void)arena;
}

static void *take_from_heap(size_t size, void *unused) {
    (void)unused;
    return mem_alloc(size);
}

static void give_to_heap(void *memory, void *unused) {
    (void)unused;
    mem_free(memory);
}

static tsr_status compile_regex(struct pattern *pattern, const char *expression, struct arena *arena, tsr_error *err) {
    pcre2_general_context *general = pcre2_general_context_create(take_from_arena, leave_in_arena, arena);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    if (!context) return tsr_fail(err, TSR_E_NOMEM, "pattern \"%s\": no memory", pattern->text);
    int code = 0;
    PCRE2_SIZE offset = 0;
    uint32_t options = PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED |
                       PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C;
    pattern->code = pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, options, &code, &offset, context);
    if (pattern->code) return TSR_OK;
    if (code == PCRE2_ERROR_HEAP_FAILED) return tsr_fail(err, TSR_E_NOMEM, "pattern \"%s\": no memory", pattern->text);
    PCRE2_UCHAR reason[128];
    if (pcre2_get_error_message(code, reason, sizeof reason) < 0) memcpy(reason, "malformed", sizeof "malformed");
    return tsr_fail(err, TSR_E_CONFIG, "pattern \"%s\": character %zu: %s", pattern->text,
                    offset + 1 + (size_t)(expression - pattern->text), (const char *)reason);
}

/* The number in group (?<layer>...), or -1 when there is no such group or it holds no number. */
static int64_t regex_layer(pcre2_match_data *data) {
    char digits[CAPTURE_DIGITS_MAX + 1];
    PCRE2_SIZE size = sizeof digits;
    if (pcre2_substring_copy_byname(data, (PCRE2_SPTR)LAYER_GROUP, (PCRE2_UCHAR *)digits, &size) < 0 || !size) return -1;
    const struct token whole = {TOKEN_DIGITS, LAYER_GROUP, strlen(LAYER_GROUP)};
    int64_t value = -1;
    const char *end = step(&whole, digits, &value);
    return end && !*end ? value : -1;
}

static tsr_status read_result(const struct pattern *pattern, const char *name, int result, tsr_error *err) {
    if (result >= 0 || result == PCRE2_ERROR_NOMATCH) return TSR_OK;
    if (result == PCRE2_ERROR_NOMEMORY) return tsr_fail(err, TSR_E_NOMEM, "pattern \"%s\": no memory", pattern->text);
    PCRE2_UCHAR reason[128];
    if (pcre2_get_error_message(result, reason, sizeof reason) < 0) memcpy(reason, "failed", sizeof "failed");
    return tsr_fail(err, TSR_E_CONFIG, "pattern \"%s\": gives up on \"%s\": %s", pattern->text, name,
                    (const char *)reason);
}

static tsr_status match_regex(const struct pattern *pattern, const char *name, bool *matches, int64_t *layer,
                              tsr_error *err) {
    tsr_status st = TSR_OK;
    pcre2_match_context *context = NULL;
    pcre2_match_data *data = NULL;
    pcre2_general_context *general = pcre2_general_context_create(take_from_heap, give_to_heap, NULL);
    if (general) context = pcre2_match_context_create(general);
    if (context) data = pcre2_match_data_create_from_pattern(pattern->code, general);
    if (!data) {
        st = tsr_fail(err, TSR_E_NOMEM, "pattern \"%s\": no memory", pattern->text);
        goto done;
    }
    pcre2_set_match_limit(context, REGEX_STEPS_MAX);
    pcre2_set_depth_limit(context, REGEX_DEPTH_MAX);
    pcre2_set_heap_limit(context, REGEX_HEAP_MAX_KIB);
    int result = pcre2_match(pattern->code, (PCRE2_SPTR)name, strlen(name), 0, 0, data, context);
    st = read_result(pattern, name, result, err);
    *matches = result >= 0;
    if (*matches) *layer = regex_layer(data);
done:
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_general_context_free(general);
    return st;
}

/* ---- both ---- */

tsr_status pattern_compile(const char *text, struct arena *arena, struct pattern **pattern, tsr_error *err) {
    *pattern = NULL;
    bool regex = text_starts_with(text, "re:");
    size_t length = strlen(text);
    if (!text[regex ? 3 : 0]) return reject(err, text, "empty");
    if (length > PATTERN_BYTES_MAX) {
        return tsr_fail(err, TSR_E_CONFIG, "pattern \"%.32s...\": %zu bytes, expected at most %d", text, length,
                        PATTERN_BYTES_MAX);
    }
    struct pattern *fresh = arena_alloc(arena, 1, sizeof *fresh);
    if (fresh) fresh->text = arena_dup(arena, text, length);
    if (!fresh || !fresh->text) return tsr_fail(err, TSR_E_NOMEM, "pattern \"%s\": no memory", text);
    tsr_status st = regex ? compile_regex(fresh, fresh->text + 3, arena, err) : compile_glob(fresh, arena, err);
    if (st == TSR_OK) *pattern = fresh;
    return st;
}

tsr_status pattern_apply(const struct pattern *pattern, const char *name, bool *matches, int64_t *layer,
                         tsr_error *err) {
    int64_t found = -1;
    tsr_status st = TSR_OK;
    *matches = false;
    if (pattern->code) {
        st = match_regex(pattern, name, matches, &found, err);
    } else {
        *matches = match_glob(pattern, name, &found);
    }
    if (layer) *layer = *matches ? found : -1;
    return st;
}

const char *pattern_text(const struct pattern *pattern) {
    return pattern->text;
}

tsr_status pattern_match(const char *pattern, const char *name, bool *matches, int64_t *layer, tsr_error *err) {
    struct arena arena = {0};
    struct pattern *compiled = NULL;
    *matches = false;
    tsr_status st = pattern_compile(pattern, &arena, &compiled, err);
    if (st == TSR_OK) st = pattern_apply(compiled, name, matches, layer, err);
    arena_clear(&arena);
    return st;
}
