/* SPDX-License-Identifier: Apache-2.0
 *
 * Gathers what a command has to say and writes it with write(2): the errno of a failure is still at hand then, which
 * stdio would have lost. */
#include "output.h"

#include <base/alloc.h>
#include <errno.h>
#include <format/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COLUMN_GAP 2
#define FIRST_COLUMN_MIN 16
#define TEXT_COLUMN_MIN 8
#define TERMINAL_WIDTH_MIN 40

void output_init(struct output *output) {
    const char *term = getenv("TERM");
    bool terminal = isatty(STDOUT_FILENO) == 1;
    output->bold = terminal && !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0;
    struct winsize size = {0};
    if (!terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size)) return;
    output->width = size.ws_col >= TERMINAL_WIDTH_MIN ? size.ws_col : 0;
}

void output_clear(struct output *output) {
    str_clear(&output->text);
}

tsr_status output_flush(struct output *output, tsr_error *err) {
    if (output->text.failed) return tsr_fail(err, TSR_E_NOMEM, "standard output: out of memory");
    for (size_t at = 0; at < output->text.length && !output->pipe_ended;) {
        ssize_t wrote = write(STDOUT_FILENO, output->text.text + at, output->text.length - at);
        if (wrote >= 0) {
            at += (size_t)wrote;
        } else if (errno == EPIPE) {
            output->pipe_ended = true;
        } else if (errno != EINTR) {
            return tsr_fail(err, TSR_E_IO, "standard output: %s", strerror(errno));
        }
    }
    str_truncate(&output->text, 0);
    return TSR_OK;
}

tsr_status output_json(struct output *output, const json_t *value, tsr_error *err) {
    char *text = json_to_text(value, 1);
    if (!text) return tsr_fail(err, TSR_E_NOMEM, "result: out of memory");
    str_add_text(&output->text, text);
    str_add_text(&output->text, "\n");
    mem_free(text);
    return TSR_OK;
}

void output_heading(struct output *output, const char *text) {
    str_add_format(&output->text, output->bold ? "\033[1m%s\033[0m\n" : "%s\n", text);
}

void table_cell(struct table *table, const char *text) {
    str_add_safe(&table->cells, text ? text : "");
    str_add(&table->cells, "", 1);
    table->cell_count++;
}

void table_cell_format(struct table *table, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    table_cell(table, text);
}

void table_cell_bytes(struct table *table, uint64_t bytes) {
    char text[32];
    table_cell(table, text_bytes(bytes, text, sizeof text));
}

/* Characters, not bytes: continuation bytes of UTF-8 take no room. */
static unsigned display_width(const char *text) {
    unsigned width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static const char *skip_characters(const char *text, unsigned count) {
    for (; *text && count; count--) {
        text++;
        while (((unsigned char)*text & 0xC0) == 0x80) text++;
    }
    return text;
}

/* The cell in `width` characters; what is longer loses its middle. */
static void add_padded(struct str *out, const char *text, unsigned width, bool right, bool last) {
    unsigned have = display_width(text);
    if (have > width) {
        unsigned head = (width - 3) / 2, tail = width - 3 - head;
        const char *front = skip_characters(text, head);
        str_add(out, text, (size_t)(front - text));
        str_add_text(out, "...");
        str_add_text(out, skip_characters(text, have - tail));
        return;
    }
    if (right) str_add_format(out, "%*s", (int)(width - have), "");
    str_add_text(out, text);
    if (!right && !last) str_add_format(out, "%*s", (int)(width - have), "");
}

static void column_widths(const struct table *table, unsigned *widths) {
    const char *cell = table->cells.text;
    for (unsigned c = 0; c < table->column_count; c++) widths[c] = display_width(table->columns[c].title);
    for (uint64_t i = 0; i < table->cell_count; i++, cell += strlen(cell) + 1) {
        unsigned width = display_width(cell), c = (unsigned)(i % table->column_count);
        if (width > widths[c]) widths[c] = width;
    }
}

static unsigned total_width(const unsigned *widths, unsigned columns) {
    unsigned total = 0;
    for (unsigned c = 0; c < columns; c++) total += widths[c] + (c ? COLUMN_GAP : 0);
    return total;
}

/* Takes from the first column, then from the widest one of text, until the table fits or nothing more can be taken. */
static void narrow_columns(const struct table *table, unsigned width, unsigned *widths) {
    unsigned total = total_width(widths, table->column_count);
    if (total > width && widths[0] > FIRST_COLUMN_MIN) {
        unsigned excess = total - width;
        widths[0] = widths[0] > excess + FIRST_COLUMN_MIN ? widths[0] - excess : FIRST_COLUMN_MIN;
    }
    while (total_width(widths, table->column_count) > width) {
        unsigned widest = 0;
        for (unsigned c = 1; c < table->column_count; c++) {
            if (!table->columns[c].right && widths[c] > TEXT_COLUMN_MIN && (!widest || widths[c] > widths[widest])) widest = c;
        }
        if (!widest) return;
        widths[widest]--;
    }
}

/* How many columns are shown: what does not fit even then is left out, from the end. */
static unsigned fit_columns(const struct output *output, const struct table *table, unsigned *widths) {
    unsigned columns = table->column_count;
    column_widths(table, widths);
    if (!output->width) return columns;
    narrow_columns(table, output->width, widths);
    while (columns > 2 && total_width(widths, columns) > output->width) columns--;
    return columns;
}

static void add_row(struct str *out, const struct table *table, unsigned columns, const unsigned *widths, const char **cells) {
    for (unsigned c = 0; c < columns; c++) {
        if (c) str_add_format(out, "%*s", COLUMN_GAP, "");
        add_padded(out, cells[c], widths[c], table->columns[c].right, c + 1 == columns);
    }
}

static void count_left_out(struct output *output, const struct table *table, unsigned columns) {
    if (columns == table->column_count) return;
    str_add_format(&output->text, "(%u more columns in a wider window)\n", table->column_count - columns);
}

void output_table(struct output *output, struct table *table) {
    unsigned widths[TABLE_COLUMNS_MAX];
    const char *cells[TABLE_COLUMNS_MAX];
    if (table->cells.failed) output->text.failed = true;
    if (table->cell_count && !table->cells.failed) {
        unsigned columns = fit_columns(output, table, widths);
        for (unsigned c = 0; c < table->column_count; c++) cells[c] = table->columns[c].title;
        struct str title = {0};
        add_row(&title, table, columns, widths, cells);
        output_heading(output, title.text ? title.text : "");
        str_clear(&title);
        const char *cell = table->cells.text;
        for (uint64_t i = 0; i < table->cell_count; i += table->column_count) {
            for (unsigned c = 0; c < table->column_count; c++, cell += strlen(cell) + 1) cells[c] = cell;
            add_row(&output->text, table, columns, widths, cells);
            str_add_text(&output->text, "\n");
        }
        count_left_out(output, table, columns);
    }
    str_clear(&table->cells);
    table->cell_count = 0;
}
