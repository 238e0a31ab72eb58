/* SPDX-License-Identifier: Apache-2.0
 *
 * A text without escapes is given away where it stands. */
#include "json_reader.h"

#include <stdbool.h>
#include <string.h>

/* ---- texts ---- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The number behind "\u" at reader->at; -1 when there is none. */
static int32_t four_digits(struct json_reader *reader) {
    int32_t number = 0;
    if (reader->size - reader->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(reader->text[reader->at++]);
        if (digit < 0) return -1;
        number = number << 4 | digit;
    }
    return number;
}

static void add_character(struct str *out, uint32_t c) {
    char bytes[4] = {(char)c};
    unsigned count = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t LEADS[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (unsigned i = count; count > 1 && i-- > 0; c >>= 6) bytes[i] = (char)(i ? 0x80 | (c & 0x3F) : LEADS[count] | c);
    str_add(out, bytes, count);
}

/* Behind "\u". U+0000 and halves of a pair alone are refused. */
static bool unescape_code(struct json_reader *reader) {
    int32_t high = four_digits(reader);
    if (high <= 0 || (high >= 0xDC00 && high < 0xE000)) return false;
    if (high < 0xD800 || high >= 0xE000) {
        add_character(&reader->unescaped, (uint32_t)high);
        return true;
    }
    if (reader->size - reader->at < 2 || reader->text[reader->at] != '\\' || reader->text[reader->at + 1] != 'u') {
        return false;
    }
    reader->at += 2;
    int32_t low = four_digits(reader);
    if (low < 0xDC00 || low >= 0xE000) return false;
    add_character(&reader->unescaped, 0x10000u + ((uint32_t)(high - 0xD800) << 10 | (uint32_t)(low - 0xDC00)));
    return true;
}

static bool unescape(struct json_reader *reader) {
    static const char LETTERS[] = "\"\\/bfnrt", MEANINGS[] = "\"\\/\b\f\n\r\t";
    char c = reader->at < reader->size ? reader->text[reader->at++] : '\0';
    const char *letter = c ? strchr(LETTERS, c) : NULL;
    if (c == 'u') return unescape_code(reader);
    if (letter) str_add(&reader->unescaped, &MEANINGS[letter - LETTERS], 1);
    return letter != NULL;
}

/* Bytes from `at` that stand for themselves, up to a quote, a backslash or a control character. */
static size_t plain_length(const struct json_reader *reader, bool *ascii) {
    size_t at = reader->at;
    for (; at < reader->size; at++) {
        uint8_t byte = (uint8_t)reader->text[at];
        if (byte == '"' || byte == '\\' || byte < 0x20) break;
        if (byte >= 0x80) *ascii = false;
    }
    return at - reader->at;
}

/* Behind the opening quote. */
static int next_text(struct json_reader *reader) {
    bool ascii = true, whole = true;
    str_truncate(&reader->unescaped, 0);
    for (;;) {
        const char *start = reader->text + reader->at;
        size_t length = plain_length(reader, &ascii);
        reader->at += length;
        if (reader->at == reader->size) return JSON_BAD;
        char stop = reader->text[reader->at++];
        if (stop == '"' && whole) {
            reader->value = start;
            reader->length = length;
            break;
        }
        str_add(&reader->unescaped, start, length);
        if (stop == '"') {
            reader->value = reader->unescaped.length ? reader->unescaped.text : "";
            reader->length = reader->unescaped.length;
            break;
        }
        whole = false;
        if (stop != '\\' || !unescape(reader)) return JSON_BAD;
    }
    if (reader->unescaped.failed) return JSON_BAD;
    return ascii || text_is_utf8(reader->value, reader->length) ? JSON_TEXT : JSON_BAD;
}

/* ---- pieces ---- */

static bool is_word_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '+' ||
           c == '-';
}

/* A whole number of at most 18 digits without a leading zero, or another word. */
static int next_word(struct json_reader *reader) {
    size_t start = reader->at, digits;
    int64_t number = 0;
    while (reader->at < reader->size && is_word_byte(reader->text[reader->at])) reader->at++;
    const char *word = reader->text + start;
    size_t length = reader->at - start, sign = word[0] == '-';
    for (digits = 0; sign + digits < length && digits < 18; digits++) {
        char c = word[sign + digits];
        if (c < '0' || c > '9') break;
        number = number * 10 + (c - '0');
    }
    if (!digits || sign + digits < length || (word[sign] == '0' && digits > 1)) return JSON_OTHER;
    reader->number = sign ? -number : number;
    return JSON_WHOLE;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int json_next(struct json_reader *reader) {
    while (reader->at < reader->size && is_space(reader->text[reader->at])) reader->at++;
    if (reader->at == reader->size) return JSON_END;
    char c = reader->text[reader->at];
    if (is_word_byte(c)) return next_word(reader);
    reader->at++;
    if (c == '"') return next_text(reader);
    return c && strchr("{}[]:,", c) ? c : JSON_BAD;
}

void json_reader_clear(struct json_reader *reader) {
    str_clear(&reader->unescaped);
}

/* ---- finding ---- */

/* Passes over the value that comes next. */
static bool skip_value(struct json_reader *reader) {
    uint64_t depth = 0;
    do {
        int piece = json_next(reader);
        if (piece == JSON_END || piece == JSON_BAD) return false;
        if (piece == '{' || piece == '[') depth++;
        if (depth && (piece == '}' || piece == ']')) depth--;
    } while (depth);
    return true;
}

/* Goes to the value of this member of the object that comes next. */
static bool go_to(struct json_reader *reader, const char *name) {
    if (json_next(reader) != '{') return false;
    for (int piece = json_next(reader); piece == JSON_TEXT; piece = json_next(reader)) {
        bool is_it = reader->length == strlen(name) && !memcmp(reader->value, name, reader->length);
        if (json_next(reader) != ':') return false;
        if (is_it) return true;
        if (!skip_value(reader) || json_next(reader) != ',') return false;
    }
    return false;
}

bool json_find(const char *text, size_t size, const char *const *names, struct json_span *span) {
    struct json_reader reader = {.text = text, .size = size};
    bool found = true;
    while (found && *names) found = go_to(&reader, *names++);
    span->start = reader.at;
    found = found && skip_value(&reader);
    span->end = reader.at;
    json_reader_clear(&reader);
    return found;
}
