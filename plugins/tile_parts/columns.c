/* SPDX-License-Identifier: Apache-2.0
 *
 * A wrong scale by d octaves costs a weight about d^2 ln 2 bits (Gaussian), a mean of m times the deviation from it that is not
 * told log2(1 + m^2) / 2 bits: both are chosen where what they tell is worth more than they take. No libm but floor and sqrt. */
#include "columns.h"

#include "row_step.h"
#include "step_code.h"

#include <math.h>
#include <string.h>

#define OCTAVES_MOST 15.0
/* Means are told in this part of the columns' deviation. */
#define MEAN_PART (1.0 / 32)
#define MEAN_UNIT_MOST 0x1p100f
/* Bits that a column's mean must be worth, and squares of its own uncertainty in the sample. */
#define MEAN_BITS_LEAST 10.0
#define MEAN_CERTAIN 9.0

enum {
    ROWS_LEAST = 8,
    LONG_ROW = 1 << 22,
    BLOCKS = 64, /* of whole rows, spread over the tensor */
    BLOCK_WEIGHTS = 1 << 14,
    MEAN_CODE_MOST = 32767,
    CENTRE_BITS = 8, /* as stored, and those below */
    UNIT_BITS = 32,
    RICE_PARAMETER_BITS = 4
};

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static int32_t nearest(double value) {
    return (int32_t)floor(value + 0.5);
}

/* ---- measuring ---- */

/* Means over the rows seen, a row's weights over the RMS of their group; sums while rows are looked at. */
struct moments {
    double square; /* of a weight over the RMS */
    double first;  /* of a weight over the square of the RMS */
    double gain;   /* 1 over the square of the RMS */
};

struct look {
    const tsr_host *host;
    const tsr_tensor *tensor;
    const tsr_row_source *source;
    uint64_t group;
    struct moments *moments; /* [columns] */
    float *x;
    uint64_t rows, blocks, seen; /* of a block; to look at; rows */
};

/* Adds a row up; groups that are too small to tell are left out, and it is false where all are. */
static bool look_at_row(const struct look *look, const float *row) {
    const uint64_t columns = look->tensor->columns;
    bool told = false;
    for (uint64_t at = 0; at < columns; at += look->group) {
        const uint64_t count = least(look->group, columns - at);
        const double rms = row_look(row + at, NULL, NULL, count).rms, gain = 1 / (rms * rms);
        if (!(gain < 0x1p120)) continue;
        for (uint64_t c = at; c < at + count; c++) {
            struct moments *to = &look->moments[c];
            to->square += (double)row[c] * (double)row[c] * gain;
            to->first += (double)row[c] * gain;
            to->gain += gain;
        }
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
    memset(look->moments, 0, columns * sizeof *look->moments);
    tsr_status status = TSR_OK;
    for (uint64_t i = 0; i < look->blocks && status == TSR_OK; i++) status = look_at_block(look, i, err);
    host->free(host, look->x);
    for (uint64_t c = 0; c < columns && look->seen; c++) {
        look->moments[c].square /= (double)look->seen;
        look->moments[c].first /= (double)look->seen;
        look->moments[c].gain /= (double)look->seen;
    }
    return status;
}

/* ---- lists of whole numbers, one a column ---- */

typedef int32_t number_of(const struct column_codes *columns, uint64_t column);

static int32_t mean_code(const struct column_codes *columns, uint64_t column) {
    return nearest((double)columns->means[column] / (double)columns->unit);
}

static int32_t code_distance(const struct column_codes *columns, uint64_t column) {
    return columns->codes[column] - columns->centre;
}

/* Bits of the list by the Rice parameter with the fewest. */
static uint64_t plan_list(const struct column_codes *columns, uint64_t count, number_of *number, uint32_t *best_rice) {
    uint64_t best = UINT64_MAX;
    for (uint32_t rice = 0; rice <= RICE_MAX; rice++) {
        uint64_t bits = 0;
        for (uint64_t c = 0; c < count; c++) bits += rice_bits(zigzag(number(columns, c)), rice);
        if (bits >= best) continue;
        best = bits;
        *best_rice = rice;
    }
    return best;
}

static void write_list(const struct column_codes *columns, uint64_t count, number_of *number, uint32_t rice,
                       struct sink_bits *bits) {
    bits_put(bits, rice, RICE_PARAMETER_BITS);
    for (uint64_t c = 0; c < count; c++) bits_put_rice(bits, zigzag(number(columns, c)), rice);
}

/* ---- means ---- */

/* What is left of a column's square once a mean is taken off. */
static double around(const struct moments *of, double mean) {
    const double left = of->square - 2 * mean * of->first + mean * mean * of->gain;
    return left > 0 ? left : 0;
}

/* A part of the deviation that columns have on average; 0 where there is none. */
static float mean_unit(const struct look *look) {
    const uint64_t columns = look->tensor->columns;
    double sum = 0;
    for (uint64_t c = 0; c < columns; c++) {
        const struct moments *of = &look->moments[c];
        if (of->gain > 0) sum += around(of, of->first / of->gain) / of->gain;
    }
    const double unit = sqrt(sum / (double)columns) * MEAN_PART;
    return unit > 0x1p-100 && unit < (double)MEAN_UNIT_MOST ? (float)unit : 0;
}

/* Bits that a mean is worth to all weights of its column; 0 where it may be chance. */
static double mean_worth(const struct look *look, const struct moments *of, double mean) {
    const double left = around(of, mean), ratio = left > 0 ? of->square / left : 0x1p30;
    if ((ratio - 1) * (double)look->seen < MEAN_CERTAIN) return 0;
    return (double)look->tensor->rows * exact_log2(ratio) / 2;
}

/* Takes means off the moments' squares where they pay. */
static void choose_means(const tsr_host *host, const struct look *look, struct column_codes *columns) {
    const uint64_t count = look->tensor->columns;
    double worth = 0;
    columns->unit = mean_unit(look);
    for (uint64_t c = 0; c < count; c++) {
        const struct moments *of = &look->moments[c];
        double code = columns->unit > 0 && of->gain > 0 ? floor(of->first / of->gain / (double)columns->unit + 0.5) : 0;
        code = code < -MEAN_CODE_MOST ? -MEAN_CODE_MOST : code > MEAN_CODE_MOST ? MEAN_CODE_MOST : code;
        const double own = mean_worth(look, of, code * (double)columns->unit);
        columns->means[c] = own > MEAN_BITS_LEAST ? (float)code * columns->unit : 0;
        worth += own > MEAN_BITS_LEAST ? own : 0;
    }
    const uint64_t bits =
        UNIT_BITS + RICE_PARAMETER_BITS + plan_list(columns, count, mean_code, &columns->mean_rice);
    if (worth > (double)bits) {
        for (uint64_t c = 0; c < count; c++)
            look->moments[c].square = around(&look->moments[c], (double)columns->means[c]);
        columns->bits += bits;
        return;
    }
    host->free(host, columns->means);
    columns->means = NULL;
}

/* ---- codes ---- */

/* Returns the sum of squared octaves that codes are away from their mean. */
static double set_codes(struct column_codes *columns, const struct moments *moments, uint64_t count, double octaves) {
    double sum = 0, square = 0;
    for (uint64_t c = 0; c < count; c++) {
        const double energy = moments[c].square;
        double log = energy > 0x1p-30 ? exact_log2(energy) / 2 : -OCTAVES_MOST;
        log = log > OCTAVES_MOST ? OCTAVES_MOST : log;
        const int32_t code = nearest(log / octaves);
        columns->codes[c] = (int8_t)code;
        columns->low = c == 0 || code < columns->low ? code : columns->low;
        columns->high = c == 0 || code > columns->high ? code : columns->high;
        sum += code;
        square += (double)code * code;
    }
    columns->centre = nearest(sum / (double)count);
    return (square - sum * sum / (double)count) * octaves * octaves;
}

static void drop_codes(const tsr_host *host, struct column_codes *columns) {
    host->free(host, columns->codes);
    host->free(host, columns->gain);
    columns->codes = NULL;
    columns->gain = NULL;
    columns->centre = columns->low = columns->high = 0;
}

static void choose_codes(const tsr_host *host, const struct look *look, struct column_codes *columns, double octaves) {
    const uint64_t count = look->tensor->columns;
    /* What a sample of equal columns would seem to tell. */
    const double chance = (double)count * 1.04 / (double)look->seen;
    const double told =
        ROW_STEP_LOSS * (double)look->tensor->rows * (set_codes(columns, look->moments, count, octaves) - chance);
    const uint64_t bits = CENTRE_BITS + RICE_PARAMETER_BITS + plan_list(columns, count, code_distance, &columns->rice);
    for (uint64_t c = 0; c < count; c++) columns->gain[c] = (float)exact_exp2(-2 * columns->codes[c] * octaves);
    if (told >= (double)bits)
        columns->bits += bits;
    else
        drop_codes(host, columns);
}

tsr_status columns_choose(const tsr_host *host, const tsr_tensor *tensor, const tsr_row_source *source,
                          struct columns_wanted wanted, struct column_codes *columns, tsr_error *err) {
    const uint64_t count = tensor->columns;
    struct look look = {.host = host, .tensor = tensor, .source = source, .group = wanted.group ? wanted.group : count};
    *columns = (struct column_codes){0};
    if (tensor->rows < ROWS_LEAST || count < 2 || count > LONG_ROW) return TSR_OK;
    look.moments = host->alloc(host, count * sizeof *look.moments);
    columns->codes = host->alloc(host, count);
    columns->gain = host->alloc(host, count * sizeof *columns->gain);
    columns->means = wanted.means ? host->alloc(host, count * sizeof *columns->means) : NULL;
    const bool room = look.moments && columns->codes && columns->gain && (columns->means || !wanted.means);
    tsr_status status = room ? measure(&look, err) : tsr_fail(err, TSR_E_NOMEM, "no memory for scales of columns");
    if (status != TSR_OK || look.seen < ROWS_LEAST) {
        columns_clear(host, columns);
    } else {
        if (wanted.means) choose_means(host, &look, columns);
        choose_codes(host, &look, columns, (1u << wanted.unit) / 4.0);
    }
    host->free(host, look.moments);
    return status;
}

void columns_clear(const tsr_host *host, struct column_codes *columns) {
    host->free(host, columns->codes);
    host->free(host, columns->gain);
    host->free(host, columns->means);
    *columns = (struct column_codes){0};
}

/* ---- bytes ---- */

void columns_write_codes(const struct column_codes *columns, uint64_t count, struct sink_bits *bits) {
    if (!columns->codes) return;
    bits_put(bits, (uint8_t)columns->centre, CENTRE_BITS);
    write_list(columns, count, code_distance, columns->rice, bits);
}

void columns_write_means(const struct column_codes *columns, uint64_t count, struct sink_bits *bits) {
    uint32_t unit;
    if (!columns->means) return;
    memcpy(&unit, &columns->unit, sizeof unit);
    bits_put(bits, unit, UNIT_BITS);
    write_list(columns, count, mean_code, columns->mean_rice, bits);
}

static tsr_status cut_short(uint64_t count, const struct bits *bits, const char *codec, tsr_error *err) {
    /* A code takes a bit at least. */
    if (count <= bits->count - bits->at) return TSR_OK;
    return tsr_fail(err, TSR_E_CORRUPT, "%s: header: columns cut short", codec);
}

tsr_status columns_read_codes(const tsr_host *host, uint64_t count, struct bits *bits, struct column_codes *columns,
                              const char *codec, tsr_error *err) {
    columns->centre = (int8_t)bits_get(bits, CENTRE_BITS);
    columns->rice = bits_get(bits, RICE_PARAMETER_BITS);
    tsr_status status = cut_short(count, bits, codec, err);
    if (status != TSR_OK) return status;
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

tsr_status columns_read_means(const tsr_host *host, uint64_t count, struct bits *bits, struct column_codes *columns,
                              const char *codec, tsr_error *err) {
    const uint32_t unit = bits_get(bits, UNIT_BITS);
    memcpy(&columns->unit, &unit, sizeof unit);
    columns->mean_rice = bits_get(bits, RICE_PARAMETER_BITS);
    tsr_status status = cut_short(count, bits, codec, err);
    if (status != TSR_OK) return status;
    if (!(columns->unit > 0 && columns->unit < MEAN_UNIT_MOST))
        return tsr_fail(err, TSR_E_CORRUPT, "%s: header: unit of means out of range", codec);
    columns->means = host->alloc(host, count * sizeof *columns->means);
    if (!columns->means) return tsr_fail(err, TSR_E_NOMEM, "%s: no memory for means of columns", codec);
    for (uint64_t c = 0; c < count; c++)
        columns->means[c] = (float)unzigzag(bits_get_rice(bits, columns->mean_rice)) * columns->unit;
    return TSR_OK;
}
