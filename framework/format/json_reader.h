/* SPDX-License-Identifier: Apache-2.0
 *
 * A JSON text piece by piece, for tables that would make a large tree: the vocabulary of a tokenizer.json is a hundred
 * thousand texts. Texts are as strict as json_parse has them; the grammar between pieces is its caller's. */
#ifndef FORMAT_JSON_READER_H
#define FORMAT_JSON_READER_H

#include <base/str.h>

/* Zero-initialise but text, size and at; free with json_reader_clear. */
struct json_reader {
    const char *text;
    size_t size;
    size_t at;         /* where the next piece is looked for */
    const char *value; /* of a JSON_TEXT: its characters, not NUL-terminated, until the next piece is read */
    size_t length;
    int64_t number; /* of a JSON_WHOLE */
    struct str unescaped;
};

/* Punctuation is itself. */
enum { JSON_END = 0, JSON_BAD = 1, JSON_TEXT = 2, JSON_WHOLE = 3, JSON_OTHER = 4 };

/* The next piece: one of the above or one of {}[]:, . JSON_OTHER is a real number or a word (true, false, null).
 * JSON_BAD also when memory is short (unescaped.failed). [instance] */
int json_next(struct json_reader *reader);
void json_reader_clear(struct json_reader *reader);

struct json_span {
    size_t start, end;
};
/* Where the value of text."names[0]"."names[1]"... stands, objects within objects (the list ends with NULL). False when
 * it is not there, or the text before its end is no JSON. [any] */
bool json_find(const char *text, size_t size, const char *const *names, struct json_span *span);

#endif
