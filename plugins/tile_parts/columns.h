/* SPDX-License-Identifier: Apache-2.0
 *
 * Codes of a tensor's columns: their weights' RMS over that of their rows, in units of the shape, for all rows. They are
 * written in the header where they tell more than they take. */
#ifndef COLUMNS_H
#define COLUMNS_H

#include "input.h"
#include "sink.h"

#include <tessera/codec.h>

enum { COLUMN_CODE_MOST = 63 }; /* magnitude of what is chosen; what is read is an int8_t */

struct column_codes {
    int8_t *codes;  /* [columns], or NULL: all 0 */
    float *gain;    /* [columns]: 1 / scale^2 of these, or NULL */
    uint64_t bits;  /* that they take */
    int32_t centre; /* about their mean */
    int32_t low, high; /* the least and the greatest */
    uint32_t rice;
};

static inline int32_t column_code(const struct column_codes *columns, uint64_t column) {
    return columns->codes ? columns->codes[column] : 0;
}

static inline const float *column_gain(const struct column_codes *columns, uint64_t column) {
    return columns->gain ? columns->gain + column : NULL;
}

/* From a sample of the rows; leaves all NULL and 0 where columns are alike. `unit` is the shape's, `group` the number of
 * columns that share a step (0: all). TSR_E_NOMEM, TSR_E_CANCELLED, or what the source says. */
tsr_status columns_choose(const tsr_host *host, const tsr_tensor *tensor, const tsr_row_source *source, uint32_t unit,
                          uint64_t group, struct column_codes *columns, tsr_error *err);
void columns_write(const struct column_codes *columns, uint64_t count, struct sink_bits *bits);

/* Codes and centre, nothing else is known to readers. TSR_E_CORRUPT, TSR_E_NOMEM; `codec` is for the message. */
tsr_status columns_read(const tsr_host *host, uint64_t count, struct bits *bits, struct column_codes *columns,
                        const char *codec, tsr_error *err);
void columns_clear(const tsr_host *host, struct column_codes *columns);

#endif
