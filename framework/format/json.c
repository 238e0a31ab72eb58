/* SPDX-License-Identifier: Apache-2.0
 *
 * jansson with its strict options. jansson already refuses trailing text, NaN, bad UTF-8 and NUL characters, and keeps
 * keys in the order of insertion; its allocator is replaced before the first use. */
#include "json.h"

#include <pthread.h>
#include <stdbool.h>

#include <base/alloc.h>

static pthread_once_t allocator_once = PTHREAD_ONCE_INIT;

/* jansson calls some failed allocations a syntax error, and after others drops a character of a string and goes on, so
 * the allocator remembers them itself. */
static _Thread_local bool memory_was_short;

static void *alloc_noted(size_t size) {
    void *memory = mem_alloc(size);
    if (!memory) memory_was_short = true;
    return memory;
}

static void use_our_allocator(void) {
    json_set_alloc_funcs(alloc_noted, mem_free);
}

static tsr_status parse(const char *text, size_t size, size_t flags, const char *subject, json_t **value,
                        tsr_error *err) {
    json_error_t found;
    pthread_once(&allocator_once, use_our_allocator);
    memory_was_short = false;
    *value = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | flags, &found);
    if (*value && !memory_was_short) return TSR_OK;
    json_decref(*value);
    *value = NULL;
    if (memory_was_short || json_error_code(&found) == json_error_out_of_memory) {
        return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", subject);
    }
    tsr_status st = tsr_fail(err, TSR_E_INPUT, "%s:%d:%d: %s", subject, found.line, found.column, found.text);
    if (err) err->offset = (uint64_t)found.position;
    return st;
}

tsr_status json_parse(const char *text, size_t size, const char *subject, json_t **value, tsr_error *err) {
    return parse(text, size, 0, subject, value, err);
}

tsr_status json_parse_any_text(const char *text, size_t size, const char *subject, json_t **value, tsr_error *err) {
    return parse(text, size, JSON_ALLOW_NUL, subject, value, err);
}

tsr_status json_parse_reals(const char *text, size_t size, const char *subject, json_t **value, tsr_error *err) {
    return parse(text, size, JSON_DECODE_INT_AS_REAL, subject, value, err);
}

char *json_to_text(const json_t *value, int indented) {
    /* 15 digits print every decimal number of up to 15 digits as it was written: 0.1, not 0.10000000000000001. */
    size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(15) | (indented ? JSON_INDENT(2) : JSON_COMPACT);
    pthread_once(&allocator_once, use_our_allocator);
    memory_was_short = false;
    char *text = json_dumps(value, flags);
    if (!memory_was_short) return text;
    mem_free(text);
    return NULL;
}
