/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines of a text as prompts. */
#include "speech_parity.h"

#include <base/alloc.h>
#include <base/str.h>
#include <string.h>

#define TEXT_BYTES_MAX ((uint64_t)64 << 20)

static tsr_status split(struct speech_lines *lines, const char *path, tsr_error *err) {
    uint64_t most = 1;
    for (const char *at = lines->text; *at; at++) most += *at == '\n';
    lines->lines = mem_alloc_array(most, sizeof *lines->lines);
    if (!lines->lines) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    for (char *at = lines->text; *at;) {
        size_t length = strcspn(at, "\r\n");
        char *next = at + length + (at[length] != '\0');
        at[length] = '\0';
        if (at[strspn(at, " \t")]) lines->lines[lines->count++] = at;
        at = next;
    }
    return lines->count ? TSR_OK : tsr_fail(err, TSR_E_INPUT, "%s: holds no text", path);
}

tsr_status speech_lines_read(const char *path, struct speech_lines *lines, tsr_error *err) {
    uint64_t size = 0;
    tsr_status st = fs_read_whole(path, TEXT_BYTES_MAX, &lines->text, &size, err);
    if (st != TSR_OK) return st;
    if (strlen(lines->text) != size || !text_is_utf8(lines->text, size)) {
        return tsr_fail(err, TSR_E_INPUT, "%s: is not text in UTF-8", path);
    }
    lines->digest = digest_of(lines->text, size);
    return split(lines, path, err);
}

void speech_lines_clear(struct speech_lines *lines) {
    mem_free(lines->lines);
    mem_free(lines->text);
    *lines = (struct speech_lines){0};
}

tsr_status speech_line_prompt(const struct open_model *model, const struct tokenizer *tokenizer, const char *line,
                              struct speech_prompt *made, tsr_error *err) {
    tsr_speech_info info = speech_facts(model);
    const struct speech_request request = {.text = line, .speaker = info.speakers[0], .streaming = info.streams_text != 0};
    return speech_prompt_make(model, tokenizer, &request, made, err);
}

tsr_speech_rules speech_line_rules(uint64_t line) {
    tsr_speech_rules rules = speech_rules_greedy();
    rules.temperature = rules.rest_temperature = 0.9;
    rules.top_k = rules.rest_top_k = 50;
    rules.seed = line;
    return rules;
}
