/* SPDX-License-Identifier: Apache-2.0
 *
 * Results as pages for people (page.h): what `tessera report --html` and `tessera diff --html` write. Figures are those of the
 * JSON results, never computed a second way. */
#ifndef PAGE_JOB_PAGE_H
#define PAGE_JOB_PAGE_H

#include <base/env.h>
#include <jansson.h>
#include <tessera/status.h>

struct report_page_options {
    const char *output;        /* the compressed checkpoint */
    const char *const *others; /* further ones of the same source, drawn beside it */
    uint64_t other_count;
    const char *gates;         /* what `tessera gate --json` printed, instead of the receipt's gates; or NULL */
    const char *plan;          /* what `tessera plan --json` printed, or NULL: nothing predicted is shown */
    const char *points;        /* sizes and divergences of other programs (docs/report.md), or NULL */
    const char *const *sounds; /* FILE or FILE=TITLE */
    uint64_t sound_count;
};

/* TSR_E_INPUT for a file that is not what it should be. */
tsr_status job_report_page(const struct report_page_options *options, const char *path, tsr_error *err);
/* `result` is what job_diff made. */
tsr_status job_diff_page(const json_t *result, const char *path, tsr_error *err);

#endif
