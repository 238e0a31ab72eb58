/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows that are searched, decoded and whole in memory in their own dtype, and their exact scores. */
#ifndef SEARCH_SEARCH_ROWS_H
#define SEARCH_SEARCH_ROWS_H

#include <reading/decoder.h>
#include <tessera/ext/signature.h>

/* Zero-initialise; clear in any case. */
struct search_rows {
    uint8_t *bytes; /* [rows][columns] */
    uint64_t rows, columns, width; /* width: bytes of an element */
    int32_t dtype;
};

/* From the tensor that `input` tells of: F32, F16 or BF16, else TSR_E_UNSUPPORTED. */
tsr_status search_rows_decode(const struct decoder_input *input, const struct registry *registry, const struct env *env,
                              struct search_rows *rows, tsr_error *err);
/* From tensor `name` of the checkpoint at `path`, plain or compressed. Its shape must give the same matrix as `like`. */
tsr_status search_rows_load(const char *path, const char *name, const struct search_rows *like,
                            const struct registry *registry, const struct env *env, struct search_rows *rows,
                            tsr_error *err);
void search_rows_clear(struct search_rows *rows);

/* The row as F32 in `row`, which has room for `columns`. [any] */
void search_rows_get(const struct search_rows *rows, uint64_t index, float *row);
/* Scores of rows[count], or of rows 0..count-1 when `list` is NULL; `row` is working memory for one row. [any] */
void search_rows_score(const struct search_rows *rows, const uint64_t *list, uint64_t count, const float *x, int32_t kind,
                       float *row, double *scores);

#endif
