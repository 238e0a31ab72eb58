/* SPDX-License-Identifier: Apache-2.0
 *
 * Classes of characters as data: ranges in ascending order, and what brackets of PCRE2 need more. */
#ifndef TOKENIZER_TOKENIZER_TABLES_H
#define TOKENIZER_TOKENIZER_TABLES_H

#include <stdint.h>

struct character_range {
    uint32_t first, last;
};

extern const struct character_range NUMERIC_RANGES[], PUNCTUATION_RANGES[], MARK_RANGES[], WORD_RANGES[];
extern const struct character_range UNNORMALISED_RANGES[];
extern const unsigned NUMERIC_RANGES_COUNT, PUNCTUATION_RANGES_COUNT, MARK_RANGES_COUNT, WORD_RANGES_COUNT;
extern const unsigned UNNORMALISED_RANGES_COUNT;

struct class_extra {
    const char *name;   /* "L" of \p{L}; "w" of \w */
    const char *ranges; /* "\x{31350}-\x{323AF}..." */
};
extern const struct class_extra CLASS_EXTRAS[]; /* ends with a NULL name */

#endif
