/* SPDX-License-Identifier: Apache-2.0
 *
 * What all rows of a tensor have in common, column by column: the mean of the weights, and codes of their RMS over that of
 * their rows, in units of the shape. Both are written in the header where they tell more than they take. */
#ifndef COLUMNS_H
#define COLUMNS_H

#include "input.h"
#include "sink.h"

#include <tessera/codec.h>

enum { COLUMN_CODE_MOST = 63 }; /* magnitude of what is chosen; what is read is an int8_t */

struct column_codes {
    int8_t *codes;  /* [columns], or NULL: all 0 */
    float *gain;    /* [columns]: 1 / scale^2 of these, or NULL */
    int32_t centre; /* about the codes' mean */
    int32_t low, high; /* the least and the greatest code */
    uint32_t rice;
    float *means; /* [columns], or NULL: all 0. A whole number times `unit` */
    float unit;
    uint32_t mean_rice;
    uint64_t bits; /* that all this takes */
};

static inline int32_t column_code(const struct column_codes *columns, uint64_t column) {
    return columns->codes ? columns->codes[column] : 0;
}

static inline const float *column_gain(const struct column_codes *columns, uint64_t column) {
    return columns->gain ? columns->gain + column : NULL;
}

static inline const float *column_means(const struct column_codes *columns, uint64_t column) {
    return columns->means ? columns->means + column : NULL;
}

struct columns_wanted {
    uint32_t unit;  /* the shape's */
    uint64_t group; /* columns that share a step; 0: all */
    bool means;
};

/* From a sample of the rows; leaves all NULL and 0 where columns are alike. TSR_E_NOMEM, TSR_E_CANCELLED, or what the
 * source says. */
tsr_status columns_choose(const tsr_host *host, const tsr_tensor *tensor, const tsr_row_source *source,
                          struct columns_wanted wanted, struct column_codes *columns, tsr_error *err);
void columns_clear(const tsr_host *host, struct column_codes *columns);

/* Each writes what there is. */
void columns_write_codes(const struct column_codes *columns, uint64_t count, struct sink_bits *bits);
void columns_write_means(const struct column_codes *columns, uint64_t count, struct sink_bits *bits);

/* Codes and their centre, and means; nothing else is known to readers. TSR_E_CORRUPT, TSR_E_NOMEM; `codec` is for the
 * message. */
tsr_status columns_read_codes(const tsr_host *host, uint64_t count, struct bits *bits, struct column_codes *columns,
                              const char *codec, tsr_error *err);
tsr_status columns_read_means(const tsr_host *host, uint64_t count, struct bits *bits, struct column_codes *columns,
                              const char *codec, tsr_error *err);

#endif
