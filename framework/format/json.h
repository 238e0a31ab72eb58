/* SPDX-License-Identifier: Apache-2.0
 *
 * Strict JSON on top of jansson: duplicate keys, trailing text and bad UTF-8 are errors; jansson's memory comes from
 * base/alloc. */
#ifndef FORMAT_JSON_H
#define FORMAT_JSON_H

#include <jansson.h>
#include <tessera/status.h>

/* Parses all of text[size]. `subject` names it in messages ("model.safetensors: header"). TSR_E_INPUT with line and
 * column when malformed. Release with json_decref. [any] */
tsr_status json_parse(const char *text, size_t size, const char *subject, json_t **value, tsr_error *err);

/* The same, but texts (not names of members) may hold U+0000: ask for their length. [any] */
tsr_status json_parse_any_text(const char *text, size_t size, const char *subject, json_t **value, tsr_error *err);

/* The same as json_parse, but every number is a real: published configs hold integers beyond 64 bits. [any] */
tsr_status json_parse_reals(const char *text, size_t size, const char *subject, json_t **value, tsr_error *err);

/* Compact text with keys in the order of insertion, or indented by two spaces; reals with 15 digits. NULL when memory
 * is short. Free with mem_free. [any] */
char *json_to_text(const json_t *value, int indented);

#endif
