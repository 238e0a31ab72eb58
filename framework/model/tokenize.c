/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoding, decoding and comparing with golden encodings, over tokenizer/tokenizer.h. */
#include "tokenize.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/fs.h>
#include <format/json.h>
#include <string.h>
#include <tokenizer/tokenizer.h>

#define GOLDEN_BYTES_MAX (256u << 20)
#define DIFFERENCES_SHOWN 10

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for the result");
}

static json_t *list_ids(const struct token_ids *ids) {
    json_t *list = json_array();
    for (uint64_t i = 0; list && i < ids->count; i++) {
        if (json_array_append_new(list, json_integer(ids->ids[i])) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *list_tokens(const struct tokenizer *tokenizer, const struct token_ids *ids) {
    json_t *list = json_array();
    for (uint64_t i = 0; list && i < ids->count; i++) {
        size_t length = 0;
        const char *token = tokenizer_token(tokenizer, ids->ids[i], &length);
        if (json_array_append_new(list, json_stringn(token ? token : "", length)) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

tsr_status job_tokenize(const char *model, const char *text, size_t length, bool add_special, json_t **result,
                        tsr_error *err) {
    struct tokenizer *tokenizer = NULL;
    struct token_ids ids = {0};
    *result = NULL;
    tsr_status st = tokenizer_open(model, &tokenizer, err);
    if (st == TSR_OK) st = tokenizer_encode(tokenizer, text, length, add_special, &ids, err);
    if (st == TSR_OK) {
        *result = json_pack("{s:s,s:I,s:o,s:o}", "model", model, "vocabulary", (json_int_t)tokenizer_size(tokenizer),
                            "ids", list_ids(&ids), "tokens", list_tokens(tokenizer, &ids));
        if (!*result) st = no_memory(err);
    }
    token_ids_clear(&ids);
    tokenizer_close(tokenizer);
    return st;
}

/* ---- ids as text ---- */

static tsr_status add_id(struct token_ids *ids, uint64_t id, tsr_error *err) {
    if (ids->count == ids->capacity) {
        uint64_t capacity = ids->capacity ? ids->capacity * 2 : 64;
        uint32_t *grown = mem_resize(ids->ids, capacity, sizeof *grown);
        if (!grown) return no_memory(err);
        ids->ids = grown;
        ids->capacity = capacity;
    }
    ids->ids[ids->count++] = (uint32_t)id;
    return TSR_OK;
}

static tsr_status read_ids(const char *text, size_t length, struct token_ids *ids, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (size_t at = 0; at < length && st == TSR_OK;) {
        uint64_t id = 0;
        size_t start = at;
        while (at < length && text[at] >= '0' && text[at] <= '9' && id <= UINT32_MAX) {
            id = id * 10 + (uint64_t)(text[at++] - '0');
        }
        if (at == start && !strchr(" ,\n\r\t[]", text[at])) {
            return tsr_fail(err, TSR_E_INPUT, "ids: expected whole numbers, found something else at byte %zu", at);
        }
        if (id > UINT32_MAX) return tsr_fail(err, TSR_E_INPUT, "ids: the number at byte %zu is too large", start);
        if (at > start)
            st = add_id(ids, id, err);
        else
            at++;
    }
    return st;
}

tsr_status job_detokenize(const char *model, const char *text, size_t length, bool skip_special, json_t **result,
                          tsr_error *err) {
    struct tokenizer *tokenizer = NULL;
    struct token_ids ids = {0};
    struct str decoded = {0};
    *result = NULL;
    tsr_status st = read_ids(text, length, &ids, err);
    if (st == TSR_OK) st = tokenizer_open(model, &tokenizer, err);
    if (st == TSR_OK) st = tokenizer_decode(tokenizer, ids.ids, ids.count, skip_special, &decoded, err);
    if (st == TSR_OK) {
        *result = json_pack("{s:s,s:o,s:o}", "model", model, "ids", list_ids(&ids), "text",
                            json_stringn(decoded.text ? decoded.text : "", decoded.length));
        if (!*result) st = no_memory(err);
    }
    token_ids_clear(&ids);
    str_clear(&decoded);
    tokenizer_close(tokenizer);
    return st;
}

/* ---- golden encodings ---- */

struct golden {
    const struct tokenizer *tokenizer;
    const char *name; /* of the file */
    uint64_t line, differing;
    json_t *differences;
    struct token_ids expected, found;
    struct str decoded, streamed;
    tsr_error *err;
};

static void golden_clear(struct golden *golden) {
    json_decref(golden->differences);
    token_ids_clear(&golden->expected);
    token_ids_clear(&golden->found);
    str_clear(&golden->decoded);
    str_clear(&golden->streamed);
}

static tsr_status add_difference(struct golden *golden, const char *what, json_t *expected, json_t *found) {
    json_t *difference = json_pack("{s:I,s:s,s:o,s:o}", "line", (json_int_t)golden->line, "what", what, "expected",
                                   expected, "found", found);
    if (!difference) return no_memory(golden->err);
    if (json_array_size(golden->differences) >= DIFFERENCES_SHOWN) {
        json_decref(difference);
        return TSR_OK;
    }
    return json_array_append_new(golden->differences, difference) == 0 ? TSR_OK : no_memory(golden->err);
}

static tsr_status expected_ids(struct golden *golden, const json_t *list) {
    size_t i;
    json_t *item;
    tsr_status st = TSR_OK;
    golden->expected.count = 0;
    if (!json_is_array(list)) {
        return tsr_fail(golden->err, TSR_E_INPUT, "%s:%llu: ids: expected a list", golden->name,
                        (unsigned long long)golden->line);
    }
    json_array_foreach(list, i, item) {
        json_int_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        if (id < 0 || id > UINT32_MAX) {
            return tsr_fail(golden->err, TSR_E_INPUT, "%s:%llu: ids: expected ids", golden->name,
                            (unsigned long long)golden->line);
        }
        st = add_id(&golden->expected, (uint64_t)id, golden->err);
        if (st != TSR_OK) break;
    }
    return st;
}

static tsr_status compare_ids(struct golden *golden, const json_t *text, const json_t *ids, bool add_special,
                              bool *equal) {
    tsr_status st = expected_ids(golden, ids);
    golden->found.count = 0;
    if (st == TSR_OK) {
        st = tokenizer_encode(golden->tokenizer, json_string_value(text), json_string_length(text), add_special,
                              &golden->found, golden->err);
    }
    if (st != TSR_OK) return st;
    if (golden->found.count == golden->expected.count &&
        (!golden->found.count ||
         !memcmp(golden->found.ids, golden->expected.ids, golden->found.count * sizeof *golden->found.ids))) {
        return TSR_OK;
    }
    *equal = false;
    return add_difference(golden, add_special ? "ids_template" : "ids", list_ids(&golden->expected),
                          list_ids(&golden->found));
}

static tsr_status stream_ids(struct golden *golden) {
    struct token_stream *stream = token_stream_create(golden->tokenizer, false);
    tsr_status st = stream ? TSR_OK : no_memory(golden->err);
    for (uint64_t i = 0; i < golden->expected.count && st == TSR_OK; i++) {
        st = token_stream_step(stream, golden->expected.ids[i], &golden->streamed, golden->err);
    }
    if (st == TSR_OK) st = token_stream_end(stream, &golden->streamed, golden->err);
    token_stream_destroy(stream);
    return st;
}

static tsr_status compare_text(struct golden *golden, const struct str *found, const json_t *expected, const char *what,
                               bool *equal) {
    size_t length = json_string_length(expected);
    const char *text = found->length ? found->text : "";
    if (found->length == length && !memcmp(text, json_string_value(expected), length)) return TSR_OK;
    *equal = false;
    return add_difference(golden, what, json_incref((json_t *)(uintptr_t)expected), json_stringn(text, found->length));
}

static tsr_status compare_decoded(struct golden *golden, const json_t *decoded, bool *equal) {
    str_truncate(&golden->decoded, 0);
    str_truncate(&golden->streamed, 0);
    tsr_status st = tokenizer_decode(golden->tokenizer, golden->expected.ids, golden->expected.count, false,
                                     &golden->decoded, golden->err);
    if (st == TSR_OK) st = compare_text(golden, &golden->decoded, decoded, "decoded", equal);
    if (st == TSR_OK) st = stream_ids(golden);
    return st == TSR_OK ? compare_text(golden, &golden->streamed, decoded, "streamed", equal) : st;
}

static tsr_status compare_line(struct golden *golden, const json_t *line) {
    const json_t *text = json_object_get(line, "text"), *ids = json_object_get(line, "ids");
    const json_t *with = json_object_get(line, "ids_template"), *decoded = json_object_get(line, "decoded");
    bool equal = true;
    if (!json_is_string(text)) {
        return tsr_fail(golden->err, TSR_E_INPUT, "%s:%llu: text: expected a text", golden->name,
                        (unsigned long long)golden->line);
    }
    tsr_status st = compare_ids(golden, text, with ? with : ids, true, &equal);
    if (st == TSR_OK) st = compare_ids(golden, text, ids, false, &equal);
    if (st == TSR_OK && json_is_string(decoded)) st = compare_decoded(golden, decoded, &equal);
    golden->differing += !equal;
    return st;
}

static tsr_status compare_lines(struct golden *golden, const char *text, uint64_t size) {
    tsr_status st = TSR_OK;
    for (uint64_t at = 0; at < size && st == TSR_OK;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t length = end ? (size_t)(end - (text + at)) : size - at;
        json_t *line = NULL;
        golden->line++;
        if (length) st = json_parse_any_text(text + at, length, golden->name, &line, golden->err);
        if (st == TSR_OK && length) st = compare_line(golden, line);
        json_decref(line);
        at += length + 1;
    }
    return st;
}

tsr_status job_tokenize_golden(const char *model, const char *path, json_t **result, tsr_error *err) {
    struct tokenizer *tokenizer = NULL;
    struct golden golden = {.name = fs_base_name(path), .differences = json_array(), .err = err};
    char *text = NULL;
    uint64_t size;
    *result = NULL;
    tsr_status st = golden.differences ? tokenizer_open(model, &tokenizer, err) : no_memory(err);
    golden.tokenizer = tokenizer;
    if (st == TSR_OK) st = fs_read_whole(path, GOLDEN_BYTES_MAX, &text, &size, err);
    if (st == TSR_OK) st = compare_lines(&golden, text, size);
    if (st == TSR_OK) {
        *result = json_pack("{s:s,s:s,s:I,s:I,s:O}", "model", model, "golden", path, "lines", (json_int_t)golden.line,
                            "differing", (json_int_t)golden.differing, "differences", golden.differences);
        if (!*result) st = no_memory(err);
    }
    if (st == TSR_OK && golden.differing) {
        st = tsr_fail(err, TSR_E_GATE, "%s: %llu of %llu lines differ", golden.name,
                      (unsigned long long)golden.differing, (unsigned long long)golden.line);
    }
    golden_clear(&golden);
    mem_free(text);
    tokenizer_close(tokenizer);
    return st;
}
