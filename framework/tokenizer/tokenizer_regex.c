/* SPDX-License-Identifier: Apache-2.0
 *
 * Expressions of tokenizer.json are in Onigmo's Ruby syntax and in Unicode 16; PCRE2 reads another syntax and, where it
 * is older, another Unicode. So a pattern is rewritten: classes are spelled out with what newer Unicode adds
 * (tokenizer_tables.c), scripts without their extensions, and everything that both would read differently is refused by
 * name. Matching uses the JIT where there is one; without it, or when its stack is short, the interpreter gives the
 * same. */
#include "tokenizer_parts.h"

#define PCRE2_CODE_UNIT_WIDTH 8

#include <base/alloc.h>
#include <pcre2.h>

#include "tokenizer_tables.h"

#define PATTERN_BYTES_MAX 65536
#define STEPS_MIN 10000000u /* of backtracking a match may take; more in longer texts */
#define STEPS_PER_BYTE 32u
#define HEAP_KIB_MAX 1048576u

struct regex {
    pcre2_general_context *memory;
    pcre2_code *code;
};

struct regex_scratch {
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_match_data *match;
};

static void *pcre_alloc(size_t size, void *ctx) {
    (void)ctx;
    return mem_alloc(size);
}

static void pcre_free(void *memory, void *ctx) {
    (void)ctx;
    mem_free(memory);
}

/* ---- rewriting ---- */

struct rewriter {
    const char *pattern;
    size_t length, at;
    struct str out;
    bool in_class;
    const char *where;
    tsr_error *err;
};

static tsr_status refuse(struct rewriter *r, const char *what) {
    return tsr_fail(r->err, TSR_E_UNSUPPORTED, "%s: %s at byte %zu of the expression is not supported", r->where, what,
                    r->at);
}

static int peek(const struct rewriter *r, size_t ahead) {
    return r->at + ahead < r->length ? (uint8_t)r->pattern[r->at + ahead] : -1;
}

static const char *extra_of(const char *name) {
    for (const struct class_extra *extra = CLASS_EXTRAS; extra->name; extra++) {
        if (!strcmp(extra->name, name)) return extra->ranges;
    }
    return "";
}

/* A class by what stands between its brackets; inside of brackets it can only be added. */
static tsr_status put_class(struct rewriter *r, const char *inside, const char *extra, bool negated) {
    if (r->in_class && negated) return refuse(r, "a negated class inside of brackets");
    if (!r->in_class) str_add_text(&r->out, negated ? "[^" : "[");
    str_add_text(&r->out, inside);
    str_add_text(&r->out, extra);
    if (!r->in_class) str_add_text(&r->out, "]");
    return TSR_OK;
}

#define WORD_CLASS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

static tsr_status put_boundary(struct rewriter *r, bool negated) {
    const char *extra = extra_of("w");
    if (r->in_class) return refuse(r, "\\b inside of brackets");
    for (int side = 0; side < 2; side++) {
        bool behind = side == 0, ahead = negated ? behind : !behind;
        str_add_format(&r->out, "%s(?<%c[" WORD_CLASS "%s])(?%c[" WORD_CLASS "%s])",
                       side ? "|" : "(?:", behind ? '=' : '!', extra, ahead ? '=' : '!', extra);
    }
    str_add_text(&r->out, ")");
    return TSR_OK;
}

static const char *const CATEGORIES[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N", "Nd",
                                         "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sc",
                                         "Sm", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Cc", "Cf", "Co", NULL};
static const char *const SCRIPTS[] = {"Han",      "Hiragana", "Katakana", "Hangul", "Latin", "Greek",
                                      "Cyrillic", "Arabic",   "Hebrew",   "Thai",   NULL};

static bool is_listed(const char *const *list, const char *name) {
    while (*list && strcmp(*list, name) != 0) list++;
    return *list != NULL;
}

/* \p{Name}, \P{Name}, \p{^Name}; r->at stands on the letter p. */
static tsr_status rewrite_property(struct rewriter *r, bool negated) {
    char name[16] = "", inside[32];
    size_t end = r->at + 2, length;
    if (peek(r, 1) != '{') return refuse(r, "\\p without braces");
    if (peek(r, 2) == '^') {
        negated = !negated;
        end++;
    }
    const char *close = memchr(r->pattern + end, '}', r->length - end);
    length = close ? (size_t)(close - r->pattern) - end : sizeof name;
    if (length >= sizeof name) return refuse(r, "this property");
    memcpy(name, r->pattern + end, length);
    bool is_script = is_listed(SCRIPTS, name);
    if (!is_script && !is_listed(CATEGORIES, name)) return refuse(r, "this property");
    (void)snprintf(inside, sizeof inside, is_script ? "\\p{sc:%s}" : "\\p{%s}", name);
    r->at = end + length + 1;
    return put_class(r, inside, extra_of(name), negated);
}

/* \uHHHH: r->at stands on the u. */
static tsr_status rewrite_code_point(struct rewriter *r) {
    for (size_t i = 1; i <= 4; i++) {
        int c = peek(r, i);
        if (c < 0 || !strchr("0123456789abcdefABCDEF", c)) return refuse(r, "\\u without four digits");
    }
    str_add_format(&r->out, "\\x{%.4s}", r->pattern + r->at + 1);
    r->at += 5;
    return TSR_OK;
}

static tsr_status rewrite_escape(struct rewriter *r) {
    int c = peek(r, 1);
    r->at++;
    if (c < 0) return refuse(r, "a backslash at the end");
    if (c == 'p' || c == 'P') return rewrite_property(r, c == 'P');
    if (c == 'u') return rewrite_code_point(r);
    tsr_status st = TSR_OK;
    switch (c) {
    case 's':
    case 'S':
        str_add_text(&r->out, c == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
        break;
    case 'w':
    case 'W':
        st = put_class(r, WORD_CLASS, extra_of("w"), c == 'W');
        break;
    case 'd':
    case 'D':
        st = put_class(r, "\\p{Nd}", extra_of("Nd"), c == 'D');
        break;
    case 'h':
    case 'H':
        st = put_class(r, "0-9a-fA-F", "", c == 'H');
        break;
    case 'b':
    case 'B':
        st = put_boundary(r, c == 'B');
        break;
    case 'v':
        str_add_text(&r->out, "\\x0B");
        break;
    default:
        if (((c | 32) >= 'a' && (c | 32) <= 'z' && !strchr(r->in_class ? "ntrfaex" : "ntrfaexAzZ", c)) ||
            (c >= '0' && c <= '9')) {
            return refuse(r, "this escape");
        }
        str_add_text(&r->out, "\\");
        str_add(&r->out, r->pattern + r->at, 1);
    }
    r->at++;
    return st;
}

/* "(?" and what may follow. An option in the middle binds differently in the two syntaxes. */
static tsr_status rewrite_group(struct rewriter *r) {
    static const char *const OPENINGS[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:", NULL};
    if (peek(r, 1) == '*') return refuse(r, "(*");
    if (peek(r, 1) != '?') {
        str_add_text(&r->out, "(");
        r->at++;
        return TSR_OK;
    }
    if (r->at == 0 && r->length >= 4 && !memcmp(r->pattern, "(?i)", 4)) {
        str_add_text(&r->out, "(?i)");
        r->at = 4;
        return TSR_OK;
    }
    for (const char *const *opening = OPENINGS; *opening; opening++) {
        size_t size = strlen(*opening);
        if (r->length - r->at < size || memcmp(r->pattern + r->at, *opening, size) != 0) continue;
        str_add(&r->out, *opening, size);
        r->at += size;
        return TSR_OK;
    }
    return refuse(r, "this group");
}

/* "{": an interval, or the character. */
static tsr_status rewrite_brace(struct rewriter *r) {
    size_t end = r->at + 1, digits = 0;
    bool comma = false;
    for (; end < r->length && (r->pattern[end] == ',' || (r->pattern[end] >= '0' && r->pattern[end] <= '9')); end++) {
        if (r->pattern[end] == ',')
            comma = true;
        else
            digits++;
    }
    if (end >= r->length || r->pattern[end] != '}' || !digits) return refuse(r, "a brace that is no interval");
    int next = end + 1 < r->length ? r->pattern[end + 1] : -1;
    if (next == '+' || (next == '?' && !comma)) return refuse(r, "a quantifier behind an interval");
    str_add_text(&r->out, r->pattern[r->at + 1] == ',' ? "{0" : "{");
    str_add(&r->out, r->pattern + r->at + 1, end - r->at);
    r->at = end + 1;
    return TSR_OK;
}

static tsr_status rewrite_class(struct rewriter *r) {
    tsr_status st = TSR_OK;
    r->in_class = true;
    str_add_text(&r->out, "[");
    r->at++;
    if (peek(r, 0) == '^') {
        str_add_text(&r->out, "^");
        r->at++;
    }
    if (peek(r, 0) == ']') return refuse(r, "\"]\" at the start of brackets");
    while (st == TSR_OK && peek(r, 0) != ']') {
        int c = peek(r, 0);
        if (c < 0) return refuse(r, "brackets without an end");
        if (c == '[') return refuse(r, "\"[\" inside of brackets");
        if (c == '&' && peek(r, 1) == '&') return refuse(r, "\"&&\"");
        if (c == '\\') {
            st = rewrite_escape(r);
        } else {
            str_add(&r->out, r->pattern + r->at++, 1);
        }
    }
    str_add_text(&r->out, "]");
    r->at++;
    r->in_class = false;
    return st;
}

static tsr_status rewrite(struct rewriter *r) {
    tsr_status st = TSR_OK;
    while (st == TSR_OK && r->at < r->length) {
        switch (r->pattern[r->at]) {
        case '\\':
            st = rewrite_escape(r);
            break;
        case '(':
            st = rewrite_group(r);
            break;
        case '[':
            st = rewrite_class(r);
            break;
        case '{':
            st = rewrite_brace(r);
            break;
        default:
            str_add(&r->out, r->pattern + r->at++, 1);
        }
    }
    if (st == TSR_OK && r->out.failed) st = tsr_fail(r->err, TSR_E_NOMEM, "%s: out of memory", r->where);
    return st;
}

/* ---- compiling ---- */

static tsr_status compile(const struct str *pattern, const char *where, struct regex *regex, tsr_error *err) {
    int code;
    PCRE2_SIZE offset;
    regex->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    pcre2_compile_context *options = regex->memory ? pcre2_compile_context_create(regex->memory) : NULL;
    if (!options) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", where);
    pcre2_set_newline(options, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(options, 100);
    regex->code =
        pcre2_compile((PCRE2_SPTR)(pattern->text ? pattern->text : ""), pattern->length,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &offset, options);
    pcre2_compile_context_free(options);
    if (regex->code) {
        (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
        return TSR_OK;
    }
    if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED)
        return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", where);
    char reason[100] = "";
    (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
    return tsr_fail(err, TSR_E_INPUT, "%s: expression: %s", where, reason);
}

tsr_status regex_create(const char *pattern, size_t length, const char *where, struct regex **regex, tsr_error *err) {
    struct rewriter rewriter = {.pattern = pattern, .length = length, .where = where, .err = err};
    *regex = NULL;
    if (length > PATTERN_BYTES_MAX) return tsr_fail(err, TSR_E_LIMIT, "%s: expression of %zu bytes", where, length);
    struct regex *created = mem_alloc_zero(1, sizeof *created);
    tsr_status st = created ? rewrite(&rewriter) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", where);
    if (st == TSR_OK) st = compile(&rewriter.out, where, created, err);
    str_clear(&rewriter.out);
    if (st != TSR_OK)
        regex_destroy(created);
    else
        *regex = created;
    return st;
}

void regex_destroy(struct regex *regex) {
    if (!regex) return;
    pcre2_code_free(regex->code);
    pcre2_general_context_free(regex->memory);
    mem_free(regex);
}

/* ---- matching ---- */

struct regex_scratch *regex_scratch_create(void) {
    struct regex_scratch *scratch = mem_alloc_zero(1, sizeof *scratch);
    if (!scratch) return NULL;
    scratch->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (scratch->memory) {
        scratch->limits = pcre2_match_context_create(scratch->memory);
        scratch->match = pcre2_match_data_create(1, scratch->memory);
    }
    if (scratch->limits && scratch->match) {
        pcre2_set_heap_limit(scratch->limits, HEAP_KIB_MAX);
        return scratch;
    }
    regex_scratch_destroy(scratch);
    return NULL;
}

void regex_scratch_destroy(struct regex_scratch *scratch) {
    if (!scratch) return;
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->limits);
    pcre2_general_context_free(scratch->memory);
    mem_free(scratch);
}

static int match_at(const struct regex *regex, struct regex_scratch *scratch, const struct regex_search *search) {
    uint64_t steps = STEPS_MIN + (uint64_t)search->length * STEPS_PER_BYTE;
    pcre2_set_match_limit(scratch->limits, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    /* The text was found to be UTF-8, and searches begin and end at whole characters. */
    int result = pcre2_match(regex->code, (PCRE2_SPTR)search->text, search->length, search->at, PCRE2_NO_UTF_CHECK,
                             scratch->match, scratch->limits);
    if (result != PCRE2_ERROR_JIT_STACKLIMIT) return result;
    return pcre2_match(regex->code, (PCRE2_SPTR)search->text, search->length, search->at,
                       PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match, scratch->limits);
}

tsr_status regex_next(const struct regex *regex, struct regex_scratch *scratch, struct regex_search *search,
                      bool *found, size_t *start, size_t *end, tsr_error *err) {
    *found = false;
    while (search->at <= search->length) {
        int result = match_at(regex, scratch, search);
        if (result == PCRE2_ERROR_NOMATCH) break;
        if (result == PCRE2_ERROR_NOMEMORY) return tsr_fail(err, TSR_E_NOMEM, "out of memory for an expression");
        if (result < 0)
            return tsr_fail(err, TSR_E_LIMIT, "an expression of the tokenizer backtracks too much on this text");
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(scratch->match);
        *start = span[0];
        *end = span[1];
        if (*start == *end && search->has_last && search->last_end == *end) {
            size_t size = 1;
            if (search->at < search->length) (void)utf8_at(search->text + search->at, &size);
            search->at += size;
            continue;
        }
        search->at = search->last_end = *end;
        search->has_last = true;
        *found = true;
        return TSR_OK;
    }
    return TSR_OK;
}
