/* SPDX-License-Identifier: Apache-2.0
 *
 * Text to token ids and back, as the tokenizer.json of a model says (byte-pair encoding; docs/tokenizer.md). Results
 * are those of Hugging Face tokenizers 0.22, id by id and byte by byte; what a file asks for and this version cannot do
 * is TSR_E_UNSUPPORTED when it is opened, never ignored. Knows no model.
 *
 * A tokenizer does not change once it is open: every function that takes a const one is [any]. */
#ifndef TOKENIZER_TOKENIZER_H
#define TOKENIZER_TOKENIZER_H

#include <base/str.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tessera/status.h>

struct tokenizer;

/* Opens a tokenizer.json, or a folder with one, or else a folder with vocab.json, merges.txt and a
 * tokenizer_config.json that names a known class. TSR_E_INPUT and TSR_E_UNSUPPORTED name file and member. */
tsr_status tokenizer_open(const char *path, struct tokenizer **tokenizer, tsr_error *err);
/* The same from the text of a tokenizer.json; `subject` names it in messages. */
tsr_status tokenizer_parse(const char *json, size_t size, const char *subject, struct tokenizer **tokenizer,
                           tsr_error *err);
void tokenizer_close(struct tokenizer *tokenizer); /* NULL is allowed */

/* ---- vocabulary ---- */

/* One more than the highest id; ids below it may be unused. A model's embedding needs at least as many rows. */
uint32_t tokenizer_size(const struct tokenizer *tokenizer);
/* Id of exactly this token (an added one first). False when there is none. */
bool tokenizer_find(const struct tokenizer *tokenizer, const char *text, size_t length, uint32_t *id);
/* The token as the file spells it, NUL-terminated, valid until close; NULL for an id that is not used. `length` may
 * be NULL. */
const char *tokenizer_token(const struct tokenizer *tokenizer, uint32_t id, size_t *length);
bool tokenizer_is_special(const struct tokenizer *tokenizer, uint32_t id); /* left out by skip_special */

/* ---- text to ids ---- */

/* Zero-initialise; free with token_ids_clear. */
struct token_ids {
    uint32_t *ids;
    uint64_t count;
    uint64_t capacity;
};
void token_ids_clear(struct token_ids *ids);

/* Appends the ids of text[length], which must be UTF-8 (TSR_E_INPUT with the offset of the first bad byte) and below
 * 2 GiB. With `add_special` also what the file's template puts around a text (<s> ...). Added tokens inside of the text
 * are recognised in any case. After a failure `ids` holds what it held before. */
tsr_status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length, bool add_special,
                            struct token_ids *ids, tsr_error *err);

/* ---- ids to text ---- */

/* Appends the text of ids[count]; with `skip_special` without special tokens. Bytes that are no UTF-8 come out as
 * U+FFFD. An id outside of the vocabulary is TSR_E_INPUT. After a failure `text` holds what it held before. */
tsr_status tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, uint64_t count, bool skip_special,
                            struct str *text, tsr_error *err);

/* Decoding id by id. What step appends is final and whole characters; what a later id may still change is held back.
 * All that was appended, with what end appends, is what tokenizer_decode makes of the same ids. */
struct token_stream; /* [instance]; the tokenizer must outlive it */
struct token_stream *token_stream_create(const struct tokenizer *tokenizer, bool skip_special); /* NULL: no memory */
void token_stream_destroy(struct token_stream *stream);
tsr_status token_stream_step(struct token_stream *stream, uint32_t id, struct str *text, tsr_error *err);
tsr_status token_stream_end(struct token_stream *stream, struct str *text, tsr_error *err); /* ready for a next text */

#endif
