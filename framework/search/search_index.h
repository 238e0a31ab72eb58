/* SPDX-License-Identifier: Apache-2.0
 *
 * A stored index opened for searching: its codec's instance, its tiles in memory, the rows to which it escalates. */
#ifndef SEARCH_SEARCH_INDEX_H
#define SEARCH_SEARCH_INDEX_H

#include "search_rows.h"

#include <plugin/instance.h>
#include <reading/stored.h>

/* Zero-initialise; close in any case. */
struct search_index {
    const struct search_rows *rows;
    struct decoder decoder;
    struct instance instance;
    const tsr_signature *signature;
    void *search;
    uint8_t **tiles; /* [grid.count] as stored */
    float *row;      /* working memory for one row */
    int32_t kind;    /* of the search that runs */
};

/* The index of `tensor`, over `rows`, which must live on. TSR_E_INPUT when it has none. */
tsr_status search_index_open(const struct stored *stored, const struct stored_tensor *tensor,
                             const struct search_rows *rows, const struct registry *registry, const struct env *env,
                             struct search_index *index, tsr_error *err);
void search_index_close(struct search_index *index);

/* One search; `scores` may be NULL (ext/signature.h). A plugin that answers nonsense misbehaves: TSR_E_PLUGIN. [instance] */
tsr_status search_index_run(struct search_index *index, const tsr_search_request *request, uint64_t *rows,
                            double *scores, uint64_t *found, tsr_search_stats *stats, tsr_error *err);

#endif
