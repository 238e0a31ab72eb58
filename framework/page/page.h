/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages for people: one self-contained HTML file that needs no network and no script, is well-formed XML, follows the
 * reader's light or dark setting and prints. Everything that is not written here by us is escaped in one place: page_add is
 * the only way to put text on a page, and its format must be a literal. Knows nothing of what the pages tell. */
#ifndef PAGE_PAGE_H
#define PAGE_PAGE_H

#include <base/str.h>
#include <jansson.h>
#include <tessera/status.h>

#define PAGE_BYTES_MAX 1500000
#define PAGE_NAME_MAX 160 /* characters of a name that are shown: what is longer loses its middle */

struct page {
    struct str body, nav;
    unsigned ids;      /* given away */
    bool in_section;
    bool has_table;    /* one that sorts and filters */
    uint64_t rows;     /* of the table at hand */
    bool folded;       /* its later rows are */
};

/* Markup with conversions of printf: %s is escaped text (NULL is ""), numbers as printf writes them. */
#define page_add(page, ...) page_add_format(page, "" __VA_ARGS__)
void page_add_format(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Text of any length or origin, cut to PAGE_NAME_MAX. */
void page_name(struct page *page, const char *text);
/* "1 399 421", "1.40 MB", "1.2e-03". */
void page_count(struct page *page, uint64_t count);
void page_bytes(struct page *page, uint64_t bytes);
void page_error(struct page *page, double error);
/* The path of a file as an address: href="...". */
void page_link(struct page *page, const char *path);
/* A number that is missing is a dash. `format` has one conversion of a double. */
#define page_real(page, format, value) page_real_format(page, "" format, value)
void page_real_format(struct page *page, const char *format, double value) __attribute__((format(printf, 2, 0)));

/* Ends the section at hand and begins one with a heading; it is listed in the contents. `id` is a literal of ours. */
void page_section(struct page *page, const char *id, const char *title);

enum page_kind { PAGE_MEASURED, PAGE_PREDICTED };
/* The line under a figure: how its numbers came to be, and the command that makes them again (NULL: none). */
void page_origin(struct page *page, enum page_kind kind, const char *what, const char *command);
/* A word of a shell, quoted where it has to be. */
void page_shell_word(struct str *command, const char *word);

/* A table that scrolls by itself where it is too wide; `sorts`: by the script, where there is one. Rows are the caller's:
 * page_add(page, "<tr><td>...</td></tr>\n"). The first `text_columns` columns are text, the others numbers. */
struct page_table {
    const char *label; /* said by screen readers */
    const char *const *titles; /* ends with NULL */
    unsigned text_columns;
    bool sorts;
};
void page_table_begin(struct page *page, const struct page_table *table);
/* Before each row of a table that may be long. What comes behind the first PAGE_ROWS_OPEN is folded away: a browser lays it out when
 * somebody looks. The script unfolds it before it sorts or filters. */
#define PAGE_ROWS_OPEN 500
void page_row(struct page *page, const struct page_table *table);
void page_table_end(struct page *page);

/* The whole page in fresh memory (mem_free). Clears the page also on failure. TSR_E_LIMIT beyond PAGE_BYTES_MAX. */
tsr_status page_finish(struct page *page, const char *title, char **text, tsr_error *err);
/* The same into a file, whole or not at all. */
tsr_status page_write(struct page *page, const char *title, const char *path, tsr_error *err);
void page_clear(struct page *page);

/* Style sheet and script of every page (page_style.c). */
extern const char PAGE_STYLE[], PAGE_STYLE_REST[], PAGE_SCRIPT[], PAGE_SCRIPT_SHA256[];

#endif
