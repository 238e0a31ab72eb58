/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of the report page, one source file each. Each adds sections; nothing where there is nothing to tell. */
#ifndef PAGE_PAGE_PARTS_H
#define PAGE_PAGE_PARTS_H

#include "job_page.h"
#include "page_chart.h"

#define REPORT_OTHERS_MAX 8

struct report {
    const struct report_page_options *options;
    json_t *whole;                      /* what job_report made: owner of the next three */
    const json_t *receipt, *run, *gates; /* gates: the list; NULL where none ran */
    json_t *given_gates, *plan, *points; /* read from files, or NULL */
    json_t *others[REPORT_OTHERS_MAX];  /* results of job_report */
    const json_t *other_gates[REPORT_OTHERS_MAX]; /* lists, of the given file or of the receipt; NULL where none ran */
    struct str commands[4];             /* by enum report_command: OUT in them is quoted for a shell */
};

enum report_command { COMMAND_REPLAY, COMMAND_COMPARE, COMMAND_GATES, COMMAND_PREDICT };
const char *report_command(const struct report *report, enum report_command which);

void report_gates(struct page *page, const struct report *report);
void report_sizes(struct page *page, const struct report *report);   /* against quality, by role */
void report_layers(struct page *page, const struct report *report);  /* errors and the chain, by layer */
void report_tensors(struct page *page, const struct report *report); /* takes the room that is left on the page */
tsr_status report_sounds(struct page *page, const struct report *report, tsr_error *err);

/* The gate's object, or NULL. */
const json_t *report_gate(const struct report *report, const char *name);
/* A number table below a chart: opens <details>. */
void report_numbers_begin(struct page *page, const struct page_table *table);
void report_numbers_end(struct page *page);

#endif
