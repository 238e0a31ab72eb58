/* SPDX-License-Identifier: Apache-2.0
 *
 * Canonical form of templates, and writing conversations. The canonical form only unites what Jinja (3.1) itself does
 * not tell apart, so two templates with one form write the same conversation. */
#include "chat_format.h"

#include <string.h>

void chat_style_clear(struct chat_style *style) {
    str_clear(&style->own_system);
    *style = (struct chat_style){0};
}

/* ---- canonical form ---- */

struct scan {
    const char *text;
    size_t length, at;
    struct str *out;
};

static bool at_text(const struct scan *scan, const char *what) {
    size_t size = strlen(what);
    return scan->length - scan->at >= size && !memcmp(scan->text + scan->at, what, size);
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Jinja reads all three line ends as one. */
static void copy_byte(struct scan *scan) {
    char c = scan->text[scan->at++];
    if (c == '\r') {
        if (scan->at < scan->length && scan->text[scan->at] == '\n') scan->at++;
        c = '\n';
    }
    str_add(scan->out, &c, 1);
}

static void add_escaped(struct str *out, char c) {
    const char *name = c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\\' ? "\\\\" : c == '"' ? "\\\"" : NULL;
    if (name) {
        str_add_text(out, name);
    } else {
        str_add(out, &c, 1);
    }
}

/* A string literal, in double quotes; escapes other than the plain ones stay as they are. */
static void copy_literal(struct scan *scan) {
    char quote = scan->text[scan->at++];
    str_add_text(scan->out, "\"");
    while (scan->at < scan->length && scan->text[scan->at] != quote) {
        char c = scan->text[scan->at];
        if (c == '\\' && scan->at + 1 < scan->length) {
            char next = scan->text[scan->at + 1];
            bool plain = next == 'n' || next == 't' || next == '\\' || next == '\'' || next == '"';
            if (plain) {
                add_escaped(scan->out, (char)(next == 'n' ? '\n' : next == 't' ? '\t' : next));
            } else {
                str_add(scan->out, scan->text + scan->at, 2);
            }
            scan->at += 2;
        } else if (c == '\r') {
            scan->at += scan->at + 1 < scan->length && scan->text[scan->at + 1] == '\n' ? 2 : 1;
            add_escaped(scan->out, '\n');
        } else {
            add_escaped(scan->out, c);
            scan->at++;
        }
    }
    if (scan->at < scan->length) scan->at++;
    str_add_text(scan->out, "\"");
}

static bool ends_with(const struct str *str, const char *tail, size_t behind) {
    size_t size = strlen(tail);
    return str->length >= size + behind && !memcmp(str->text + str->length - behind - size, tail, size);
}

/* A closing bracket. message["role"] becomes message.role: of these names a message has no method, so the two mean the
 * same. */
static void close_bracket(struct str *out) {
    static const char *const names[] = {"[\"role\"", "[\"content\"", "[\"tool_calls\""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t size = strlen(names[i]);
        if (!ends_with(out, names[i], 0)) continue;
        if (!ends_with(out, "message", size) && !ends_with(out, "]", size)) continue;
        str_truncate(out, out->length - size);
        str_add_text(out, ".");
        str_add(out, names[i] + 2, size - 3);
        return;
    }
    str_add_text(out, "]");
}

static bool is_operator(char c) {
    return !is_word(c) && c != '"' && c != '\'';
}

/* What stands between the delimiters, up to `end`, the sign of the delimiter with it. A blank stays, as one, between two
 * words and between two operators, which it may keep apart; beside a word or literal it tells nothing. */
static void copy_tag(struct scan *scan, const char *end) {
    bool blank = false;
    str_add(scan->out, scan->text + scan->at, 2);
    scan->at += 2;
    while (scan->at < scan->length && !at_text(scan, end)) {
        char c = scan->text[scan->at];
        char last = scan->out->length ? scan->out->text[scan->out->length - 1] : 0;
        if (is_blank(c)) {
            blank = true;
            scan->at++;
            continue;
        }
        bool both_words = is_word(c) && is_word(last), both_operators = is_operator(c) && is_operator(last);
        if (blank && (both_words || both_operators)) str_add_text(scan->out, " ");
        blank = false;
        if (c == '\'' || c == '"') {
            copy_literal(scan);
        } else {
            if (c == ']') {
                close_bracket(scan->out);
            } else {
                str_add(scan->out, &c, 1);
            }
            scan->at++;
        }
    }
    /* "} }}" without the blank would end a byte earlier when read again. */
    if (blank && scan->at < scan->length && ends_with(scan->out, "}", 0)) str_add_text(scan->out, " ");
}

void chat_canonical(const char *text, size_t length, struct str *out) {
    struct scan scan = {text, length, 0, out};
    /* Jinja drops one line end at the end of a template. */
    if (scan.length && text[scan.length - 1] == '\n') scan.length--;
    if (scan.length < length && scan.length && text[scan.length - 1] == '\r') scan.length--;
    while (scan.at < scan.length) {
        const char *end = at_text(&scan, "{{") ? "}}" : at_text(&scan, "{%") ? "%}" : NULL;
        bool comment = at_text(&scan, "{#");
        if (end) copy_tag(&scan, end);
        while (comment && scan.at < scan.length && !at_text(&scan, "#}")) copy_byte(&scan);
        if (scan.at < scan.length) copy_byte(&scan);
    }
}

/* ---- recognition ---- */

/* Text that stands for itself inside of a literal, line ends apart. */
static bool is_plain(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\' && i + 1 < length && text[i + 1] == 'n') {
            i++;
        } else if (strchr("\"\\{}", text[i])) {
            return false;
        }
    }
    return true;
}

static void take_system(struct chat_style *style, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        bool line_end = text[i] == '\\';
        if (line_end) i++;
        str_add(&style->own_system, line_end ? "\n" : &text[i], 1);
    }
    style->has_own_system = true;
}

static bool matches(const struct chat_known *known, const struct str *form, struct str *joined) {
    char hex[DIGEST_HEX];
    size_t head = known->head, tail = known->tail;
    str_truncate(joined, 0);
    if (!head) {
        str_add(joined, form->text, form->length);
    } else if (form->length >= head + tail && is_plain(form->text + head, form->length - head - tail)) {
        str_add(joined, form->text, head);
        str_add(joined, form->text + form->length - tail, tail);
    }
    if (!joined->length || joined->failed) return false;
    struct digest digest = digest_of(joined->text, joined->length);
    return !strcmp(digest_to_hex(&digest, hex), known->digest);
}

tsr_status chat_recognise(const char *text, size_t length, struct chat_style *style, tsr_error *err) {
    struct str form = {0}, joined = {0};
    char hex[DIGEST_HEX];
    chat_canonical(text, length, &form);
    str_add(&form, "", 0);
    for (size_t i = 0; i < CHAT_KNOWN_COUNT && !style->format && form.length && !form.failed; i++) {
        const struct chat_known *known = &CHAT_KNOWN[i];
        if (!matches(known, &form, &joined)) continue;
        style->format = known->format;
        if (known->head) take_system(style, form.text + known->head, form.length - known->head - known->tail);
    }
    tsr_status st = TSR_OK;
    if (form.failed || joined.failed || style->own_system.failed) {
        st = tsr_fail(err, TSR_E_NOMEM, "chat template: out of memory");
    } else if (!style->format) {
        struct digest digest = digest_of(form.text, form.length);
        st = tsr_fail(err, TSR_E_UNSUPPORTED, "chat template %s is none of the known ones (docs/chat.md)",
                      digest_to_hex(&digest, hex));
    }
    str_clear(&joined);
    str_clear(&form);
    return st;
}

/* ---- writing ---- */

/* Length of the white space character (Python's str.isspace) at the front of text[length]; 0 when there is none. */
static size_t space_at(const char *text, size_t length) {
    static const char *const wide[] = {"\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
                                       "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
                                       "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
                                       "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    unsigned char c = length ? (unsigned char)text[0] : 'x';
    if (c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F)) return 1;
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        size_t size = strlen(wide[i]);
        if (size <= length && !memcmp(text, wide[i], size)) return size;
    }
    return 0;
}

static void trim(const char **text, size_t *length) {
    for (size_t size; (size = space_at(*text, *length)) > 0; *length -= size) *text += size;
    for (bool again = true; again && *length;) {
        again = false;
        for (size_t size = 1; size <= 3 && size <= *length && !again; size++) {
            again = space_at(*text + *length - size, size) == size;
            if (again) *length -= size;
        }
    }
}

struct writer {
    const struct chat_format *format;
    const struct chat_text *text;
    struct str *out;
    bool needs_eos; /* and there is none */
};

/* Text of the format, with what it leaves open put in. */
static void write_frame(struct writer *writer, const char *frame) {
    for (; *frame; frame++) {
        const char *text = NULL;
        switch (*frame) {
        case '\001':
            text = writer->text->bos ? writer->text->bos : "";
            break;
        case '\002':
            text = writer->text->eos;
            break;
        case '\003':
            text = writer->text->date;
            break;
        case '\004':
            text = writer->text->long_date;
            break;
        default:
            str_add(writer->out, frame, 1);
            continue;
        }
        if (text) str_add_text(writer->out, text);
        writer->needs_eos = writer->needs_eos || !text;
    }
}

static void write_content(struct writer *writer, const char *content, size_t length, unsigned trimming) {
    if (writer->format->flags & trimming) trim(&content, &length);
    str_add(writer->out, content, length);
}

static void write_turn(struct writer *writer, const struct chat_wrap *wrap, const char *content, unsigned trimming) {
    write_frame(writer, wrap->before);
    write_content(writer, content, strlen(content), trimming);
    write_frame(writer, wrap->after);
}

/* `system` is NULL when it does not stand in this turn. */
static void write_user(struct writer *writer, const char *system, const char *content) {
    const struct chat_format *format = writer->format;
    struct writer inside = *writer;
    struct str joined = {0};
    inside.out = &joined;
    if (system) write_turn(&inside, &format->system, system, CHAT_TRIM_SYSTEM);
    write_content(&inside, content, strlen(content), CHAT_TRIM_USER);
    write_frame(writer, format->user.before);
    if (joined.length) write_content(writer, joined.text, joined.length, CHAT_TRIM_JOINED);
    write_frame(writer, format->user.after);
    writer->out->failed = writer->out->failed || joined.failed;
    str_clear(&joined);
}

static void write_assistant(struct writer *writer, const char *content) {
    static const char mark[] = "</think>";
    unsigned flags = writer->format->flags;
    const char *last = NULL, *begin = content;
    for (const char *at = content; (flags & CHAT_DROP_THOUGHTS) && (at = strstr(at, mark)); at++) last = at;
    if (last) begin = last + sizeof mark - 1;
    while (last && (flags & CHAT_TRIM_THOUGHT_LINES) && *begin == '\n') begin++;
    write_turn(writer, &writer->format->assistant, begin, CHAT_TRIM_ASSISTANT);
}

static const char *system_of(const struct chat_style *style, const struct chat_text *text) {
    const char *own = style->own_system.text ? style->own_system.text : "";
    const char *system = text->system ? text->system : style->has_own_system ? own : style->format->default_system;
    bool skip = system && !*system && (style->format->flags & CHAT_SKIP_EMPTY_SYSTEM);
    return skip ? NULL : system;
}

static void write_turns(struct writer *writer, const char *system) {
    const struct chat_format *format = writer->format;
    const struct chat_text *text = writer->text;
    write_frame(writer, format->open);
    if (system && format->place == CHAT_SYSTEM_TURN) write_turn(writer, &format->system, system, CHAT_TRIM_SYSTEM);
    for (size_t i = 0; i < text->turn_count; i++) {
        bool here = (format->place == CHAT_SYSTEM_FIRST_USER && i == 0) ||
                    (format->place == CHAT_SYSTEM_LAST_USER && i + 1 == text->turn_count);
        write_user(writer, here ? system : NULL, text->turns[i].user);
        if (text->turns[i].assistant) write_assistant(writer, text->turns[i].assistant);
    }
    write_frame(writer, format->answer);
}

tsr_status chat_render(const struct chat_style *style, const struct chat_text *text, struct str *out, tsr_error *err) {
    struct str filled = {0};
    struct writer writer = {style->format, text, out, false}, filler = {style->format, text, &filled, false};
    const char *system = system_of(style, text);
    if (system && style->format->place == CHAT_SYSTEM_REFUSED) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "the chat template has no place for a system message");
    }
    if (system && system == style->format->default_system) {
        write_frame(&filler, system);
        system = filled.text ? filled.text : "";
    }
    write_turns(&writer, system);
    bool failed = out->failed || filled.failed;
    str_clear(&filled);
    if (failed) return tsr_fail(err, TSR_E_NOMEM, "chat: out of memory");
    return writer.needs_eos
               ? tsr_fail(err, TSR_E_INPUT, "the tokenizer has no eos_token, which the chat template needs")
               : TSR_OK;
}
