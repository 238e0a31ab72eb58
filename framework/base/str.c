/* SPDX-License-Identifier: Apache-2.0
 *
 * Capacity doubles; a NUL is kept behind the text at all times. */
#include "str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "checked.h"

static bool reserve(struct str *str, size_t more) {
    if (str->failed || more > SIZE_MAX / 2 - str->length) {
        str->failed = true;
        return false;
    }
    size_t needed = str->length + more + 1;
    if (needed <= str->capacity) return true;
    size_t capacity = str->capacity * 2 > needed ? str->capacity * 2 : needed + 64;
    char *text = mem_resize(str->text, capacity, 1);
    if (!text) {
        str->failed = true;
        return false;
    }
    str->text = text;
    str->capacity = capacity;
    return true;
}

void str_add(struct str *str, const void *bytes, size_t size) {
    if (!reserve(str, size)) return;
    if (size) memcpy(str->text + str->length, bytes, size);
    str->length += size;
    str->text[str->length] = '\0';
}

void str_add_text(struct str *str, const char *text) {
    str_add(str, text, strlen(text));
}

void str_add_format(struct str *str, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 || !reserve(str, (size_t)length)) {
        str->failed = true;
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(str->text + str->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    str->length += (size_t)length;
}

void str_add_le(struct str *str, uint64_t value, unsigned size) {
    uint8_t bytes[8];
    for (unsigned i = 0; i < size; i++) bytes[i] = (uint8_t)(value >> (8 * i));
    str_add(str, bytes, size);
}

void str_truncate(struct str *str, size_t length) {
    if (!str->text || length > str->length) return;
    str->length = length;
    str->text[length] = '\0';
}

void str_clear(struct str *str) {
    mem_free(str->text);
    *str = (struct str){0};
}

bool text_starts_with(const char *text, const char *prefix) {
    return !strncmp(text, prefix, strlen(prefix));
}

bool text_ends_with(const char *text, const char *suffix) {
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && !memcmp(text + length - tail, suffix, tail);
}

#define NAME_MAX_COMPARED 64

/* Levenshtein distance with one row of state; names longer than the limit compare as far apart. */
static size_t edit_distance(const char *a, const char *b) {
    size_t length_a = strlen(a), length_b = strlen(b);
    if (length_a > NAME_MAX_COMPARED || length_b > NAME_MAX_COMPARED) return SIZE_MAX;
    size_t row[NAME_MAX_COMPARED + 1];
    for (size_t j = 0; j <= length_b; j++) row[j] = j;
    for (size_t i = 1; i <= length_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length_b; j++) {
            size_t substitute = diagonal + (a[i - 1] != b[j - 1]);
            size_t shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            diagonal = row[j];
            row[j] = substitute < shorter + 1 ? substitute : shorter + 1;
        }
    }
    return row[length_b];
}

const char *text_nearest(const char *name, const char *const *candidates) {
    const char *nearest = NULL;
    size_t best = strlen(name) / 3 + 2;
    for (; *candidates; candidates++) {
        size_t distance = edit_distance(name, *candidates);
        if (distance < best) {
            best = distance;
            nearest = *candidates;
        }
    }
    return nearest;
}

/* Length of the UTF-8 sequence at the front of `s`, or 0 when it is not one (Unicode 15, table 3-7). */
static size_t utf8_sequence(const unsigned char *s, size_t left) {
    if (s[0] < 0x80) return 1;
    size_t length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || left < length) return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
    }
    if (s[0] == 0xE0 && s[1] < 0xA0) return 0;
    if (s[0] == 0xED && s[1] > 0x9F) return 0;
    if (s[0] == 0xF0 && s[1] < 0x90) return 0;
    if (s[0] == 0xF4 && s[1] > 0x8F) return 0;
    return length;
}

bool text_is_utf8(const char *text, size_t length) {
    for (size_t at = 0; at < length;) {
        size_t step = utf8_sequence((const unsigned char *)text + at, length - at);
        if (!step) return false;
        at += step;
    }
    return true;
}

/* What no reader should be made to obey: control characters, C1 controls, marks that break lines or turn the direction of
 * what follows (a name could pass for another), noncharacters, and bytes that are no UTF-8. Returns the length of the
 * sequence at `s`, 0 where it may stand as it is. */
static size_t unsafe_sequence(const unsigned char *s, size_t left) {
    size_t length = utf8_sequence(s, left);
    if (!length || s[0] < 0x20 || s[0] == 0x7F) return 1;
    if (s[0] == 0xC2 && s[1] < 0xA0) return 2;
    if (s[0] == 0xE2 && s[1] == 0x80 && ((s[2] >= 0xA8 && s[2] <= 0xAE) || s[2] == 0x8E || s[2] == 0x8F)) return 3;
    if (s[0] == 0xE2 && s[1] == 0x81 && s[2] >= 0xA6 && s[2] <= 0xA9) return 3;
    if (s[0] == 0xEF && s[1] == 0xBF && s[2] >= 0xBE) return 3;
    return 0;
}

void str_add_safe(struct str *str, const char *unsafe) {
    const unsigned char *at = (const unsigned char *)unsafe;
    size_t left = strlen(unsafe);
    while (left) {
        size_t length = unsafe_sequence(at, left), step = length ? length : utf8_sequence(at, left);
        if (length == 3) {
            str_add_format(str, "\\u%04x", (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu));
        } else if (length) {
            str_add_format(str, "\\x%02x", at[length - 1]);
        } else {
            str_add(str, at, step);
        }
        at += step;
        left -= step;
    }
}

void str_add_base64(struct str *str, const void *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *from = bytes;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t group = (uint32_t)from[i] << 16 | (left > 1 ? (uint32_t)from[i + 1] << 8 : 0) | (left > 2 ? from[i + 2] : 0);
        const char four[] = {digits[group >> 18], digits[group >> 12 & 63], left > 1 ? digits[group >> 6 & 63] : '=',
                             left > 2 ? digits[group & 63] : '='};
        str_add(str, four, 4);
    }
}

char *text_bytes(uint64_t bytes, char *buffer, size_t size) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    unsigned unit = 0;
    for (; value >= 999.5 && unit < 6; unit++) value /= 1000;
    (void)snprintf(buffer, size, unit == 0 ? "%.0f %s" : "%.2f %s", value, units[unit]);
    return buffer;
}

/* Digits only: strtoull would take signs and spaces. */
bool text_take_digits(const char **text, uint64_t *value) {
    const char *at = *text;
    *value = 0;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (!checked_mul(*value, 10, value) || !checked_add(*value, (uint64_t)(*at - '0'), value)) return false;
    }
    bool any = at != *text;
    *text = at;
    return any;
}

bool text_to_bytes(const char *text, uint64_t *bytes) {
    static const char units[] = "kMGT";
    const char *at = text;
    bool good = text_take_digits(&at, bytes) && *bytes > 0;
    const char *unit = good && *at ? strchr(units, *at == 'K' ? 'k' : *at) : NULL;
    if (unit) {
        bool binary = at[1] == 'i';
        for (const char *step = units; good && step <= unit; step++) {
            good = checked_mul(*bytes, binary ? 1024 : 1000, bytes);
        }
        at += binary ? 2 : 1;
    }
    if (good && *at == 'B') at++;
    return good && !*at;
}
