/* SPDX-License-Identifier: Apache-2.0
 *
 * Standard output: text is gathered and written in one go, so that a full disk or a closed pipe is seen. Names from
 * files never reach a terminal with control characters in them. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <base/str.h>
#include <jansson.h>
#include <reading/members.h>
#include <tessera/status.h>

struct output {
    struct str text;
    bool bold;       /* headings may be */
    bool pipe_ended; /* the reader went away: further text is dropped */
    unsigned width;  /* of the terminal; 0: not a terminal, any width */
};

void output_init(struct output *output); /* zero-initialised before */
void output_clear(struct output *output);
/* Writes what was gathered. TSR_E_IO with the system's reason; a reader that went away is no failure. */
tsr_status output_flush(struct output *output, tsr_error *err);

/* Adds the value, indented, and a line end. */
tsr_status output_json(struct output *output, const json_t *value, tsr_error *err);
void output_heading(struct output *output, const char *text);

/* A table whose columns are as wide as their widest cell. On a terminal that is too narrow columns of text are
 * shortened in their middle, the first one first; what does not fit even then is left out, which a line says. Numbers stand right. */
#define TABLE_COLUMNS_MAX 11
struct table_column {
    const char *title;
    bool right;
};
struct table {
    const struct table_column *columns;
    unsigned column_count;
    struct str cells; /* NUL-terminated one after the other, row by row */
    uint64_t cell_count;
};
void table_cell(struct table *table, const char *text); /* made safe; NULL is "" */
void table_cell_format(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_cell_bytes(struct table *table, uint64_t bytes);
/* Adds the table to the output and clears it. An empty one adds nothing. */
void output_table(struct output *output, struct table *table);

#endif
