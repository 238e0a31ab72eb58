/* SPDX-License-Identifier: Apache-2.0
 *
 * A wrong scale by d octaves costs a weight about d^2 ln 2 bits (Gaussian), so codes are chosen where what they tell is
 * worth more than they take. No libm but floor and sqrt. */
#include "columns.h"

#include "row_step.h"
#include "step_code.h"

#include <math.h>
#include <string.h>

#define OCTAVES_MOST 15.0

enum {
    ROWS_LEAST = 8,
    LONG_ROW = 1 << 22,
    BLOCKS = 64, /* of whole rows, spread over the tensor */
    BLOCK_WEIGHTS = 1 << 14
};

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static int32_t nearest(double value) {
    return (int32_t)floor(value + 0.5);
}

/* ---- measuring ---- */

struct look {
    const tsr_host *host;
    const tsr_tensor *tensor;
    const tsr_row_source *source;
    uint64_t group; /* columns that share a step */
    double *energy; /* [columns]: mean over the rows seen of the square of a weight over the RMS of its group */
    float *x;
    uint64_t rows, blocks, seen; /* of a block; to look at; rows */
};

/* Adds a row up; groups that are too small to tell are left out, and it is false where all are. */
static bool look_at_row(const struct look *look, const float *row) {
    const uint64_t columns = look->tensor->columns;
    bool told = false;
    for (uint64_t at = 0; at < columns; at += look->group) {
        const uint64_t count = least(look->group, columns - at);
        const double rms = row_look(row + at, NULL, count).rms, gain = 1 / (rms * rms);
        if (!(gain < 0x1p120)) continue;
        for (uint64_t c = at; c < at + count; c++) look->energy[c] += (double)row[c] * (double)row[c] * gain;
        told = true;
    }
    return told;
}

static tsr_status look_at_block(struct look *look, uint64_t block, tsr_error *err) {
    const uint64_t columns = look->tensor->columns, all = (look->tensor->rows - 1) / look->rows + 1;
    const uint64_t first = block * all / look->blocks * look->rows;
    const uint64_t rows = least(look->rows, look->tensor->rows - first);
    if (look->host->cancelled(look->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    tsr_status status = look->source->read(look->source->ctx, first, rows, 0, columns, look->x, err);
    for (uint64_t r = 0; r < rows && status == TSR_OK; r++) look->seen += look_at_row(look, look->x + r * columns);
    return status;
}

static tsr_status measure(struct look *look, tsr_error *err) {
    const tsr_host *host = look->host;
    const uint64_t columns = look->tensor->columns;
    look->rows = columns < BLOCK_WEIGHTS ? BLOCK_WEIGHTS / columns : 1;
    look->blocks = least((look->tensor->rows - 1) / look->rows + 1, BLOCKS);
    look->x = host->alloc(host, look->rows * columns * sizeof *look->x);
    if (!look->x) return tsr_fail(err, TSR_E_NOMEM, "no memory to look at columns");
    memset(look->energy, 0, columns * sizeof *look->energy);
    tsr_status status = TSR_OK;
    for (uint64_t i = 0; i < look->blocks && status == TSR_OK; i++) status = look_at_block(look, i, err);
    host->free(host, look->x);
    for (uint64_t c = 0; c < columns && look->seen; c++) look->energy[c] /= (double)look->seen;
    return status;
}

/* ---- choosing ---- */

/* Returns the sum of squared octaves that codes are away from their mean. */
static double set_codes(struct column_codes *columns, const double *energy, uint64_t count, double octaves) {
    double sum = 0, square = 0;
    for (uint64_t c = 0; c < count; c++) {
        double log = energy[c] > 0x1p-30 ? exact_log2(energy[c]) / 2 : -OCTAVES_MOST;
        log = log > OCTAVES_MOST ? OCTAVES_MOST : log;
        const int32_t code = nearest(log / octaves);
        columns->codes[c] = (int8_t)code;
        columns->low = c == 0 || code < columns->low ? code : columns->low;
        columns->high = c == 0 || code > columns->high ? code : columns->high;
        sum += columns->codes[c];
        square += (double)columns->codes[c] * columns->codes[c];
    }
    columns->centre = nearest(sum / (double)count);
    return (square - sum * sum / (double)count) * octaves * octaves;
}

static void plan_codes(struct column_codes *columns, uint64_t count) {
    columns->bits = UINT64_MAX;
    for (uint32_t rice = 0; rice <= RICE_MAX; rice++) {
        uint64_t bits = 12;
        for (uint64_t c = 0; c < count; c++) bits += rice_bits(zigzag(columns->codes[c] - columns->centre), rice);
        if (bits >= columns->bits) continue;
        columns->bits = bits;
        columns->rice = rice;
    }
}

/* Codes, and whether they pay. */
static bool choose(const struct look *look, struct column_codes *columns, double octaves) {
    const uint64_t count = look->tensor->columns;
    if (look->seen < ROWS_LEAST) return false;
    /* What a sample of equal columns would seem to tell. */
    const double chance = (double)count * 1.04 / (double)look->seen;
    const double told =
        ROW_STEP_LOSS * (double)look->tensor->rows * (set_codes(columns, look->energy, count, octaves) - chance);
    plan_codes(columns, count);
    for (uint64_t c = 0; c < count; c++) columns->gain[c] = (float)exact_exp2(-2 * columns->codes[c] * octaves);
    return told >= (double)columns->bits;
}

tsr_status columns_choose(const tsr_host *host, const tsr_tensor *tensor, const tsr_row_source *source, uint32_t unit,
                          uint64_t group, struct column_codes *columns, tsr_error *err) {
    struct look look = {.host = host, .tensor = tensor, .source = source, .group = group ? group : tensor->columns};
    const uint64_t count = tensor->columns;
    *columns = (struct column_codes){0};
    if (tensor->rows < ROWS_LEAST || count < 2 || count > LONG_ROW) return TSR_OK;
    look.energy = host->alloc(host, count * sizeof *look.energy);
    columns->codes = host->alloc(host, count);
    columns->gain = host->alloc(host, count * sizeof *columns->gain);
    tsr_status status = look.energy && columns->codes && columns->gain
                            ? measure(&look, err)
                            : tsr_fail(err, TSR_E_NOMEM, "no memory for scales of columns");
    if (status != TSR_OK || !choose(&look, columns, (1u << unit) / 4.0)) columns_clear(host, columns);
    host->free(host, look.energy);
    return status;
}

void columns_clear(const tsr_host *host, struct column_codes *columns) {
    host->free(host, columns->codes);
    host->free(host, columns->gain);
    *columns = (struct column_codes){0};
}

/* ---- bytes ---- */

void columns_write(const struct column_codes *columns, uint64_t count, struct sink_bits *bits) {
    if (!columns->codes) return;
    bits_put(bits, (uint8_t)columns->centre, 8);
    bits_put(bits, columns->rice, 4);
    for (uint64_t c = 0; c < count; c++) bits_put_rice(bits, zigzag(columns->codes[c] - columns->centre), columns->rice);
}

tsr_status columns_read(const tsr_host *host, uint64_t count, struct bits *bits, struct column_codes *columns,
                        const char *codec, tsr_error *err) {
    columns->centre = (int8_t)bits_get(bits, 8);
    columns->rice = bits_get(bits, 4);
    /* A code takes a bit at least. */
    if (count > bits->count - bits->at) return tsr_fail(err, TSR_E_CORRUPT, "%s: header: columns cut short", codec);
    columns->codes = host->alloc(host, count);
    if (!columns->codes) return tsr_fail(err, TSR_E_NOMEM, "%s: no memory for scales of columns", codec);
    for (uint64_t c = 0; c < count; c++) {
        const int32_t code = columns->centre + unzigzag(bits_get_rice(bits, columns->rice));
        if (code < INT8_MIN || code > INT8_MAX)
            return tsr_fail(err, TSR_E_CORRUPT, "%s: header: column out of range", codec);
        columns->codes[c] = (int8_t)code;
    }
    return TSR_OK;
}
