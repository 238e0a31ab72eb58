/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes a palette from a deterministic sample of all rows of one tensor or of a group: the bytes of hhtld_bitstream.h. */
#ifndef HHTLD_TRAIN_H
#define HHTLD_TRAIN_H

#include "hhtld_palette.h"

#include <stdbool.h>
#include <tessera/ext/products.h>

struct hhtld_settings {
    uint32_t families, leaves; /* 0: chosen by the number of rows */
    uint32_t lanes, iterations;
    bool flat, row_gain, centre, table;
};

struct hhtld_member {
    const tsr_row_source *source;
    uint64_t rows;
};

struct hhtld_training {
    const tsr_host *host;
    const tsr_products *products;
    struct hhtld_settings settings;
    const struct hhtld_member *members;
    uint64_t member_count, rows, columns; /* rows of all members */
};

/* The palette that training makes for so many rows: TSR_E_CONFIG for parameters that
 * do not go together, TSR_E_UNSUPPORTED for rows that no palette serves. */
tsr_status hhtld_train_plan(const struct hhtld_settings *settings, uint64_t rows, uint64_t columns,
                            uint64_t bytes_max, struct hhtld_shape *shape, tsr_error *err);

/* The palette's bytes in the host's memory, for the caller to free. */
tsr_status hhtld_train(const struct hhtld_training *training, const struct hhtld_shape *plan, uint8_t **bytes,
                       uint64_t *size, tsr_error *err);

#endif
