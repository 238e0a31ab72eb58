/* SPDX-License-Identifier: Apache-2.0
 *
 * A chat template, a zero byte, a message: the canonical form is one of its own, and what is recognised can be written
 * down, with the message in it but for white space. */
#include <base/alloc.h>
#include <model/chat_format.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_canonical(const char *text, size_t length) {
    struct str once = {0}, twice = {0};
    chat_canonical(text, length, &once);
    bool more_line_ends = once.length && once.text[once.length - 1] == '\n';
    if (once.length) chat_canonical(once.text, once.length, &twice);
    bool same = once.length == twice.length && (!once.length || !memcmp(once.text, twice.text, once.length));
    if (!same && !more_line_ends && !once.failed && !twice.failed) __builtin_trap();
    str_clear(&once);
    str_clear(&twice);
}

static void check_render(const struct chat_style *style, const char *message) {
    const struct chat_turn turns[] = {{message, message}, {message, NULL}};
    const struct chat_text text = {
        .turns = turns, .turn_count = 2, .bos = "<s>", .eos = "</s>", .date = "1 Jan 2026", .long_date = "January 1, 2026"};
    struct str out = {0};
    if (chat_render(style, &text, &out, NULL) == TSR_OK) {
        bool plain = strspn(message, "abcdefghijklmnopqrstuvwxyz") == strlen(message);
        if (plain && *message && !strstr(out.text, message)) __builtin_trap();
    }
    str_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = mem_dup_bytes(data, size);
    struct chat_style style = {0};
    if (!text) return 0;
    size_t length = strlen(text);
    check_canonical(text, length);
    if (chat_recognise(text, length, &style, NULL) == TSR_OK) {
        check_render(&style, length < size ? text + length + 1 : "");
    } else if (style.format) {
        __builtin_trap();
    }
    chat_style_clear(&style);
    mem_free(text);
    return 0;
}
