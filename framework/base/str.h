/* SPDX-License-Identifier: Apache-2.0
 *
 * Growing byte strings, and the few questions asked of names. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise before first use; `text` is NUL-terminated once anything was added. After a failed allocation
 * `failed` is set and further additions do nothing, so a caller checks once at the end. */
struct str {
    char *text;
    size_t length;
    size_t capacity;
    bool failed;
};

void str_add(struct str *str, const void *bytes, size_t size);
void str_add_text(struct str *str, const char *text);
void str_add_format(struct str *str, const char *format, ...) __attribute__((format(printf, 2, 3)));
void str_add_le(struct str *str, uint64_t value, unsigned size); /* little-endian number */
/* Text for people, from whoever: control characters and bytes that are no UTF-8 as \xNN, marks that turn or break lines
 * as \uNNNN. */
void str_add_safe(struct str *str, const char *unsafe);
void str_add_base64(struct str *str, const void *bytes, size_t size);
void str_truncate(struct str *str, size_t length);               /* keeps the memory */
void str_clear(struct str *str);

/* True when text begins / ends with the affix. [any] */
bool text_starts_with(const char *text, const char *prefix);
bool text_ends_with(const char *text, const char *suffix);

/* The candidate with the smallest edit distance to `name`, if it is near enough to be a slip (a third of the
 * length); else NULL. Candidates end with NULL. [any] */
const char *text_nearest(const char *name, const char *const *candidates);

/* True when the bytes are valid UTF-8 (no surrogates, no overlong forms). [any] */
bool text_is_utf8(const char *text, size_t length);

/* "4096", "256M", "1Gi": a number of bytes from 1, powers of 1000 or, with an i, of 1024. False for anything else. [any] */
bool text_to_bytes(const char *text, uint64_t *bytes);
/* Digits at *text, which moves behind them. False when there is none or the number does not fit. [any] */
bool text_take_digits(const char **text, uint64_t *value);

/* "2.10 MB" style decimal size into a caller's buffer; returns the buffer. [any] */
char *text_bytes(uint64_t bytes, char *buffer, size_t size);

#endif
