/* SPDX-License-Identifier: Apache-2.0
 *
 * search: rows of a stored tensor, found through its index, compared with the dense search in the same run. */
#ifndef PIPELINE_JOB_SEARCH_H
#define PIPELINE_JOB_SEARCH_H

#include "job.h"

#define SEARCH_TOP_MAX 4096
#define SEARCH_PAIRS_MAX 100000

struct job_search_options {
    const char *output; /* a compressed checkpoint */
    const char *tensor; /* full name */
    const char *query;  /* FILE or FILE:TENSOR, or NULL */
    const char *reference; /* checkpoint whose rows are read instead, or NULL */
    uint64_t top;       /* 1..SEARCH_TOP_MAX */
    double threshold;   /* 0: exact */
    double duplicates;  /* cosine from which rows are near-duplicates; 0: not asked for */
    bool nearest;       /* by distance instead of product */
    bool rows_only;     /* no scores: hits that bounds alone decide are not read */
};

/* *result: docs/cli.md, "search". TSR_E_GATE when a search that had to be exact was not; *result is there then too. */
tsr_status job_search(const struct job_search_options *options, const struct registry *registry, const struct env *env,
                      json_t **result, tsr_error *err);

#endif
