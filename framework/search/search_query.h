/* SPDX-License-Identifier: Apache-2.0
 *
 * Query vectors from a safetensors file. */
#ifndef SEARCH_SEARCH_QUERY_H
#define SEARCH_SEARCH_QUERY_H

#include <stdint.h>
#include <tessera/status.h>

/* Zero-initialise; clear in any case. */
struct search_queries {
    float *x; /* [count][columns], finite */
    uint64_t count, columns;
};

/* `text` is FILE or FILE:TENSOR; without TENSOR the file has one tensor. Its last extent is `columns`, all others count
 * queries. TSR_E_INPUT for another shape, a dtype other than F32, F16, BF16, or NaN and Inf. */
tsr_status search_queries_read(const char *text, uint64_t columns, struct search_queries *queries, tsr_error *err);
void search_queries_clear(struct search_queries *queries);

#endif
