/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads text, cuts it into documents or lines, encodes each. */
#include "gate_text.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/error.h>
#include <string.h>

#define TEXT_BYTES_MAX ((uint64_t)1 << 30)
#define SEPARATOR "<|endoftext|>"

tsr_status gate_tokenizer(const struct open_model *model, struct tokenizer **tokenizer, tsr_error *err) {
    tsr_status st = tokenizer_open(model->root, tokenizer, err);
    if (st != TSR_OK) return st;
    if (tokenizer_size(*tokenizer) <= model->info.vocabulary) return TSR_OK;
    st = tsr_fail(err, TSR_E_INPUT, "%s: the tokenizer has ids up to %u, the model's vocabulary holds %llu", model->root,
                  tokenizer_size(*tokenizer) - 1, (unsigned long long)model->info.vocabulary);
    tokenizer_close(*tokenizer);
    *tokenizer = NULL;
    return st;
}

struct reading {
    const char *path;
    const struct tokenizer *tokenizer;
    struct gate_text *text;
    bool prompts;
    uint64_t *starts; /* first token of each run; pointers are set at the end, when ids no longer move */
    uint64_t capacity;
};

static tsr_status add_run(struct reading *reading, const char *from, size_t length, tsr_error *err) {
    struct gate_text *text = reading->text;
    uint64_t start = text->ids.count;
    if (text->count == reading->capacity) {
        uint64_t capacity = reading->capacity ? reading->capacity * 2 : 64;
        uint64_t *starts = mem_resize(reading->starts, capacity + 1, sizeof *starts);
        if (!starts) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", reading->path);
        reading->starts = starts;
        reading->capacity = capacity;
    }
    tsr_status st = tokenizer_encode(reading->tokenizer, from, length, reading->prompts, &text->ids, err);
    if (st != TSR_OK) return error_context(err, st, "%s", reading->path);
    if (text->ids.count == start) return TSR_OK;
    reading->starts[text->count++] = start;
    return TSR_OK;
}

/* Where the next document ends and the one after it begins. */
static const char *document_end(const char *from, const char *end, const char **next) {
    for (const char *at = from; at < end; at++) {
        at = memchr(at, '<', (size_t)(end - at));
        if (!at) break;
        size_t left = (size_t)(end - at);
        bool alone = (at == from || at[-1] == '\n') && left >= strlen(SEPARATOR) && !memcmp(at, SEPARATOR, strlen(SEPARATOR));
        const char *behind = at + strlen(SEPARATOR);
        if (!alone || (behind < end && *behind != '\n')) continue;
        *next = behind < end ? behind + 1 : end;
        return at > from ? at - 1 : at; /* without the line feed in front */
    }
    *next = end;
    return end;
}

static const char *line_end(const char *from, const char *end, const char **next) {
    const char *feed = memchr(from, '\n', (size_t)(end - from));
    *next = feed ? feed + 1 : end;
    return feed ? feed : end;
}

static tsr_status cut(struct reading *reading, const char *bytes, uint64_t size, tsr_error *err) {
    const char *end = bytes + size, *next;
    tsr_status st = TSR_OK;
    for (const char *at = bytes; at < end && st == TSR_OK; at = next) {
        const char *stop = reading->prompts ? line_end(at, end, &next) : document_end(at, end, &next);
        if (stop > at) st = add_run(reading, at, (size_t)(stop - at), err);
    }
    return st;
}

static tsr_status set_runs(struct reading *reading, tsr_error *err) {
    struct gate_text *text = reading->text;
    if (!text->count) return tsr_fail(err, TSR_E_INPUT, "%s: has no text", reading->path);
    text->runs = mem_alloc_array(text->count, sizeof *text->runs);
    if (!text->runs) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", reading->path);
    reading->starts[text->count] = text->ids.count;
    for (uint64_t i = 0; i < text->count; i++) {
        text->runs[i] = (struct token_run){text->ids.ids + reading->starts[i], reading->starts[i + 1] - reading->starts[i]};
    }
    return TSR_OK;
}

static tsr_status read_text(struct reading *reading, tsr_error *err) {
    char *bytes = NULL;
    uint64_t size = 0;
    tsr_status st = fs_read_whole(reading->path, TEXT_BYTES_MAX, &bytes, &size, err);
    if (st == TSR_OK) {
        reading->text->digest = digest_of(bytes, size);
        st = cut(reading, bytes, size, err);
    }
    if (st == TSR_OK) st = set_runs(reading, err);
    mem_free(reading->starts);
    mem_free(bytes);
    return st;
}

tsr_status gate_text_documents(const char *path, const struct tokenizer *tokenizer, struct gate_text *text, tsr_error *err) {
    struct reading reading = {.path = path, .tokenizer = tokenizer, .text = text};
    return read_text(&reading, err);
}

tsr_status gate_text_prompts(const char *path, const struct tokenizer *tokenizer, struct gate_text *text, tsr_error *err) {
    struct reading reading = {.path = path, .tokenizer = tokenizer, .text = text, .prompts = true};
    return read_text(&reading, err);
}

void gate_text_clear(struct gate_text *text) {
    token_ids_clear(&text->ids);
    mem_free(text->runs);
    *text = (struct gate_text){0};
}

void gate_text_context(const struct tokenizer *tokenizer, const struct token_run *run, uint64_t at, uint64_t before,
                       struct str *out) {
    uint64_t first = at > before ? at - before : 0;
    (void)tokenizer_decode(tokenizer, run->tokens + first, min_u64(at, run->count) - first, false, out, NULL);
}
