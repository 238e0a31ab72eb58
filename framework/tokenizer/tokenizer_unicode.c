/* SPDX-License-Identifier: Apache-2.0
 *
 * Characters: their classes, UTF-8, and the byte-level alphabet (GPT-2's: a letter for every byte, printing ones as
 * themselves, the others from U+0100 on). */
#include "tokenizer_parts.h"
#include "tokenizer_tables.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

static bool in_ranges(const struct character_range *ranges, unsigned count, uint32_t character) {
    unsigned low = 0, high = count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (ranges[middle].last < character)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && ranges[low].first <= character;
}

bool is_white_space(uint32_t c) {
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_numeric(uint32_t character) {
    return in_ranges(NUMERIC_RANGES, NUMERIC_RANGES_COUNT, character);
}

bool is_punctuation(uint32_t character) {
    return in_ranges(PUNCTUATION_RANGES, PUNCTUATION_RANGES_COUNT, character);
}

bool is_word_character(uint32_t character) {
    return in_ranges(WORD_RANGES, WORD_RANGES_COUNT, character);
}

bool is_mark(uint32_t character) {
    return in_ranges(MARK_RANGES, MARK_RANGES_COUNT, character);
}

bool is_unnormalised(uint32_t character) {
    return character >= UNNORMALISED_RANGES[0].first &&
           in_ranges(UNNORMALISED_RANGES, UNNORMALISED_RANGES_COUNT, character);
}

/* ---- the byte-level alphabet ---- */

static bool is_printing(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

uint32_t byte_letter(uint8_t byte) {
    if (is_printing(byte)) return byte;
    if (byte <= 0x20) return 0x100u + byte;
    return byte == 0xAD ? 0x143 : 0x100u + 0x21 + (byte - 0x7Fu);
}

int byte_of_letter(uint32_t letter) {
    if (letter < 0x100) return is_printing(letter) ? (int)letter : -1;
    if (letter <= 0x120) return (int)(letter - 0x100);
    if (letter <= 0x142) return (int)(letter - 0x121 + 0x7F);
    return letter == 0x143 ? 0xAD : -1;
}

void bytes_to_letters(const char *bytes, size_t length, struct str *out) {
    char buffer[512];
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        used += utf8_put(byte_letter((uint8_t)bytes[i]), buffer + used);
        if (used + 4 > sizeof buffer || i + 1 == length) {
            str_add(out, buffer, used);
            used = 0;
        }
    }
}

/* ---- UTF-8 ---- */

unsigned utf8_put(uint32_t c, char bytes[4]) {
    if (c < 0x80) {
        bytes[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        bytes[0] = (char)(0xC0 | c >> 6);
        bytes[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        bytes[0] = (char)(0xE0 | c >> 12);
        bytes[1] = (char)(0x80 | (c >> 6 & 0x3F));
        bytes[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    bytes[0] = (char)(0xF0 | c >> 18);
    bytes[1] = (char)(0x80 | (c >> 12 & 0x3F));
    bytes[2] = (char)(0x80 | (c >> 6 & 0x3F));
    bytes[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* Bytes of the sequence at text that are in order: all of a character (then *whole is set), or a beginning of one. */
size_t utf8_sequence(const char *text, size_t length, bool *whole) {
    const uint8_t *b = (const uint8_t *)text;
    size_t size = b[0] < 0x80 ? 1 : b[0] < 0xC2 ? 0 : b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : b[0] < 0xF5 ? 4 : 0;
    *whole = size == 1;
    if (size < 2 || length < 2) return size ? 1 : 0;
    uint8_t low = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t high = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
    if (b[1] < low || b[1] > high) return 1;
    size_t good = 2;
    while (good < size && good < length && (b[good] & 0xC0) == 0x80) good++;
    *whole = good == size;
    return good;
}

size_t utf8_valid_length(const char *text, size_t length) {
    size_t at = 0;
    bool whole = true;
    while (at < length) {
        if (length - at >= 8) {
            uint64_t word;
            memcpy(&word, text + at, 8);
            if (!(word & 0x8080808080808080u)) {
                at += 8;
                continue;
            }
        }
        size_t good = utf8_sequence(text + at, length - at, &whole);
        if (!whole) break;
        at += good;
    }
    return at;
}

void utf8_add_lossy(struct str *out, const char *bytes, size_t length) {
    bool whole;
    for (size_t at = 0; at < length;) {
        size_t good = utf8_valid_length(bytes + at, length - at);
        str_add(out, bytes + at, good);
        at += good;
        if (at == length) break;
        good = utf8_sequence(bytes + at, length - at, &whole);
        str_add(out, REPLACEMENT, 3);
        at += good ? good : 1;
    }
}
