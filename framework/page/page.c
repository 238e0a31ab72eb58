/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of tensors, texts that models wrote, messages and paths are hostile: they pass page_escape, which leaves no markup, no
 * quote and no control character. A policy in the head forbids every script but ours (known by its digest) and every
 * connection, should that ever fail. */
#include "page.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <tessera/version.h>

#define SPEC_MAX 16

/* ---- escaping ---- */

static void page_escape(struct str *out, const char *text) {
    struct str safe = {0};
    str_add_safe(&safe, text);
    out->failed = out->failed || safe.failed;
    for (const char *at = safe.text ? safe.text : ""; *at; at++) {
        switch (*at) {
        case '<': str_add_text(out, "&lt;"); break;
        case '>': str_add_text(out, "&gt;"); break;
        case '&': str_add_text(out, "&amp;"); break;
        case '"': str_add_text(out, "&quot;"); break;
        case '\'': str_add_text(out, "&#39;"); break;
        default: str_add(out, at, 1);
        }
    }
    str_clear(&safe);
}

/* One conversion: `spec` is "%.3f" and such, what it takes is known by its end. */
static void add_number(struct str *out, const char *spec, va_list *values) {
    char text[352];
    char kind = spec[strlen(spec) - 1];
    if (strchr("eEfgG", kind)) {
        (void)snprintf(text, sizeof text, spec, va_arg(*values, double));
    } else if (strstr(spec, "ll")) {
        (void)snprintf(text, sizeof text, spec, va_arg(*values, unsigned long long));
    } else if (strchr(spec, 'z')) {
        (void)snprintf(text, sizeof text, spec, va_arg(*values, size_t));
    } else {
        (void)snprintf(text, sizeof text, spec, va_arg(*values, int));
    }
    str_add_text(out, text);
}

void page_add_format(struct page *page, const char *format, ...) {
    va_list values;
    va_start(values, format);
    while (*format) {
        size_t plain = strcspn(format, "%");
        str_add(&page->body, format, plain);
        format += plain;
        if (!*format) break;
        size_t length = strcspn(format + 1, "deEfgGsu%") + 2;
        char spec[SPEC_MAX];
        (void)snprintf(spec, sizeof spec, "%.*s", (int)length, format);
        format += length;
        if (!strcmp(spec, "%%")) {
            str_add_text(&page->body, "%");
        } else if (!strcmp(spec, "%s")) {
            const char *text = va_arg(values, const char *);
            page_escape(&page->body, text ? text : "");
        } else {
            add_number(&page->body, spec, &values);
        }
    }
    va_end(values);
}

/* ---- pieces ---- */

/* Start of the character that `at` is inside of. */
static size_t character_start(const char *text, size_t at) {
    while (at && ((unsigned char)text[at] & 0xC0) == 0x80) at--;
    return at;
}

void page_name(struct page *page, const char *text) {
    size_t length = strlen(text);
    if (length <= PAGE_NAME_MAX) {
        page_add(page, "%s", text);
        return;
    }
    char front[PAGE_NAME_MAX];
    size_t head = character_start(text, PAGE_NAME_MAX / 2), tail = character_start(text, length - PAGE_NAME_MAX / 2);
    (void)snprintf(front, sizeof front, "%.*s", (int)head, text);
    page_add(page, "%s…%s", front, text + tail);
}

/* Groups of three, apart by narrow spaces. */
void page_count(struct page *page, uint64_t count) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, count);
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) str_add_text(&page->body, "\u202f");
        str_add(&page->body, digits + i, 1);
    }
}

void page_bytes(struct page *page, uint64_t bytes) {
    char text[32];
    page_add(page, "%s", text_bytes(bytes, text, sizeof text));
}

void page_error(struct page *page, double error) {
    if (error > 0) {
        page_add(page, "%.2e", error);
    } else {
        page_add(page, "exact");
    }
}

void page_real_format(struct page *page, const char *format, double value) {
    char text[64];
    if (!isfinite(value)) {
        page_add(page, "–");
        return;
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(text, sizeof text, format, value);
#pragma GCC diagnostic pop
    page_add(page, "%s", text);
}

/* A relative path begins with "./", so that no name can pass for a scheme. */
void page_link(struct page *page, const char *path) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    page_add(page, "href=\"%s", *path == '/' ? "" : "./");
    for (; *path; path++) {
        if (strchr(plain, *path)) {
            str_add(&page->body, path, 1);
        } else {
            str_add_format(&page->body, "%%%02X", (unsigned)(unsigned char)*path);
        }
    }
    page_add(page, "\"");
}

void page_section(struct page *page, const char *id, const char *title) {
    if (page->in_section) page_add(page, "</section>\n");
    page_add(page, "<section aria-labelledby=\"%s\">\n<h2 id=\"%s\">%s</h2>\n", id, id, title);
    str_add_format(&page->nav, "<li><a href=\"#%s\">", id);
    page_escape(&page->nav, title);
    str_add_text(&page->nav, "</a></li>");
    page->in_section = true;
}

void page_origin(struct page *page, enum page_kind kind, const char *what, const char *command) {
    const char *word = kind == PAGE_MEASURED ? "measured" : "predicted";
    page_add(page, "<p class=\"origin\"><span class=\"tag %s\">%s</span> %s", word, word, what);
    if (command) page_add(page, " Again: <code>%s</code>", command);
    page_add(page, "</p>\n");
}

void page_shell_word(struct str *command, const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./=:@%+,-";
    if (*word && word[strspn(word, plain)] == '\0') {
        str_add_text(command, word);
        return;
    }
    str_add_text(command, "'");
    for (; *word; word++) {
        if (*word == '\'') {
            str_add_text(command, "'\\''");
        } else {
            str_add(command, word, 1);
        }
    }
    str_add_text(command, "'");
}

static void begin_table(struct page *page, const struct page_table *table, const char *label, const char *kind) {
    page_add(page, "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"%s%s\">\n<table class=\"t%u%s\"><thead><tr>",
             table->label, label, table->text_columns, kind);
    for (unsigned i = 0; table->titles[i]; i++) page_add(page, "<th scope=\"col\">%s</th>", table->titles[i]);
    page_add(page, "</tr></thead><tbody>\n");
}

void page_table_begin(struct page *page, const struct page_table *table) {
    begin_table(page, table, "", table->sorts ? " sorts" : "");
    page->has_table = page->has_table || table->sorts;
    page->rows = 0;
    page->folded = false;
}

void page_row(struct page *page, const struct page_table *table) {
    if (page->rows++ != PAGE_ROWS_OPEN) return;
    page_add(page, "</tbody></table></div>\n<details class=\"more\"><summary>Further rows</summary>\n");
    begin_table(page, table, ", further rows", "");
    page->folded = true;
}

void page_table_end(struct page *page) {
    page_add(page, "</tbody></table></div>\n");
    if (page->folded) page_add(page, "</details>\n");
    page->folded = false;
}

/* ---- the whole ---- */

static void add_head(struct page *whole, const char *title) {
    page_add(whole, "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                    "<meta name=\"color-scheme\" content=\"light dark\"/>\n<meta name=\"generator\" content=\"tessera %s\"/>\n"
                    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src &#39;none&#39;; "
                    "style-src &#39;unsafe-inline&#39;; script-src &#39;sha256-%s&#39;; img-src data:; media-src data:; "
                    "base-uri &#39;none&#39;; form-action &#39;none&#39;\"/>\n<title>%s</title>\n<style>\n",
             TSR_VERSION, PAGE_SCRIPT_SHA256, title);
    str_add_text(&whole->body, PAGE_STYLE);
    str_add_text(&whole->body, PAGE_STYLE_REST);
    page_add(whole, "</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#content\">Skip to the content</a>\n");
}

tsr_status page_finish(struct page *page, const char *title, char **text, tsr_error *err) {
    struct page whole = {0};
    tsr_status st = TSR_OK;
    if (page->in_section) page_add(page, "</section>\n");
    add_head(&whole, title);
    if (page->nav.length) {
        page_add(&whole, "<nav aria-label=\"Contents\"><ul>");
        str_add(&whole.body, page->nav.text, page->nav.length);
        page_add(&whole, "</ul></nav>\n");
    }
    page_add(&whole, "<main id=\"content\">\n");
    str_add(&whole.body, page->body.text, page->body.length);
    page_add(&whole, "</main>\n");
    if (page->has_table) {
        page_add(&whole, "<script>");
        str_add_text(&whole.body, PAGE_SCRIPT);
        page_add(&whole, "</script>\n");
    }
    page_add(&whole, "</body>\n</html>\n");
    if (page->body.failed || page->nav.failed || whole.body.failed) {
        st = tsr_fail(err, TSR_E_NOMEM, "out of memory for a page");
    } else if (whole.body.length > PAGE_BYTES_MAX) {
        st = tsr_fail(err, TSR_E_LIMIT, "the page has %zu bytes, at most %d are allowed", whole.body.length, PAGE_BYTES_MAX);
    }
    page_clear(page);
    *text = whole.body.text;
    if (st != TSR_OK) {
        str_clear(&whole.body);
        *text = NULL;
    }
    return st;
}

tsr_status page_write(struct page *page, const char *title, const char *path, tsr_error *err) {
    char *text = NULL;
    tsr_status st = page_finish(page, title, &text, err);
    if (st == TSR_OK) st = fs_replace(path, text, strlen(text), err);
    mem_free(text);
    return st;
}

void page_clear(struct page *page) {
    str_clear(&page->body);
    str_clear(&page->nav);
}
