/* SPDX-License-Identifier: Apache-2.0
 *
 * A wrong scale by d octaves costs a weight about d^2 ln 2 bits (Gaussian), so codes are written where what they tell
 * is worth more than they take. No libm. */
#include "trellis_scales.h"

#include "side.h"

#include <math.h>

/* Bits a weight and squared octave; as nats of a Gaussian whose RMS is wrong by a factor: its logarithm squared. */
#define LOSS 0.69
#define COLUMN_OCTAVES_MOST 15.0

enum { ROWS_LEAST = 8, LONG_ROW = 1 << 22, HISTOGRAM = 1024, HISTOGRAM_ZERO = 512, END_LEAST = 1 << 10 };

static double unit_octaves(const struct trellis_encoder *encoder) {
    return (1u << encoder->shape.unit) / 4.0;
}

static int32_t nearest(double value) {
    return (int32_t)floor(value + 0.5);
}

/* ---- columns ---- */

/* Codes of columns; returns the sum of squared octaves that they are away from their mean. */
static double set_codes(struct trellis_encoder *encoder, const double *energy) {
    const uint64_t columns = encoder->tensor->columns;
    const double octaves = unit_octaves(encoder);
    double sum = 0, square = 0;
    for (uint64_t c = 0; c < columns; c++) {
        double log = energy[c] > 0x1p-30 ? exact_log2(energy[c]) / 2 : -COLUMN_OCTAVES_MOST;
        log = log > COLUMN_OCTAVES_MOST ? COLUMN_OCTAVES_MOST : log;
        encoder->columns[c] = (int8_t)nearest(log / octaves);
        sum += encoder->columns[c];
        square += (double)encoder->columns[c] * encoder->columns[c];
    }
    encoder->column_centre = nearest(sum / (double)columns);
    return (square - sum * sum / (double)columns) * octaves * octaves;
}

static void plan_codes(struct trellis_encoder *encoder) {
    encoder->column_bits = UINT64_MAX;
    for (uint32_t rice = 0; rice <= RICE_MAX; rice++) {
        uint64_t bits = 12;
        for (uint64_t c = 0; c < encoder->tensor->columns; c++) {
            bits += rice_bits(zigzag(encoder->columns[c] - encoder->column_centre), rice);
        }
        if (bits >= encoder->column_bits) continue;
        encoder->column_bits = bits;
        encoder->column_rice = rice;
    }
}

static void drop_columns(struct trellis_encoder *encoder) {
    encoder->host->free(encoder->host, encoder->columns);
    encoder->host->free(encoder->host, encoder->column_gain);
    encoder->columns = NULL;
    encoder->column_gain = NULL;
    encoder->column_bits = 0;
}

tsr_status trellis_columns_choose(struct trellis_encoder *encoder, const tsr_row_source *source, tsr_error *err) {
    const tsr_host *host = encoder->host;
    const uint64_t columns = encoder->tensor->columns, rows = encoder->tensor->rows;
    uint64_t seen = 0;
    encoder->column_bits = 0;
    if (rows < ROWS_LEAST || columns < 2 || columns > LONG_ROW) return TSR_OK;
    double *energy = host->alloc(host, columns * sizeof *energy);
    encoder->columns = host->alloc(host, columns);
    encoder->column_gain = host->alloc(host, columns * sizeof *encoder->column_gain);
    tsr_status status = energy && encoder->columns && encoder->column_gain
                            ? trellis_measure_columns(encoder, source, energy, &seen, err)
                            : tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for scales of columns");
    if (status == TSR_OK && seen >= ROWS_LEAST) {
        /* What a sample of equal columns would seem to tell. */
        const double chance = (double)columns * 1.04 / (double)seen;
        const double told = LOSS * (double)rows * (set_codes(encoder, energy) - chance);
        plan_codes(encoder);
        for (uint64_t c = 0; c < columns; c++) {
            encoder->column_gain[c] = (float)exact_exp2(-2 * encoder->columns[c] * unit_octaves(encoder));
        }
        if (told < (double)encoder->column_bits) drop_columns(encoder);
    } else {
        drop_columns(encoder);
    }
    host->free(host, energy);
    return status;
}

/* ---- rows and the window of scales ---- */

struct histogram {
    double rows[HISTOGRAM], columns[HISTOGRAM], sums[HISTOGRAM];
    uint64_t coded;
};

static bool is_coded(const struct trellis_encoder *encoder, const struct trellis_row_facts *facts, uint64_t index) {
    const struct segment row = trellis_row_choose(encoder, facts, index);
    return segment_is_coded(&row);
}

/* How often each number of units is met: in rows, as shares of columns, and in their sums, of weights. */
static void count(const struct trellis_encoder *encoder, const struct trellis_row_facts *facts, struct histogram *h) {
    const uint64_t columns = encoder->tensor->columns;
    for (uint64_t r = 0; r < encoder->tensor->rows; r++) {
        if (!is_coded(encoder, &facts[r], r)) continue;
        h->rows[HISTOGRAM_ZERO + trellis_row_units(encoder, &facts[r], r)]++;
        h->coded++;
    }
    for (uint64_t c = 0; c < columns; c++) h->columns[HISTOGRAM_ZERO + trellis_column_code(encoder, c)]++;
}

static void add_up(struct histogram *h) {
    for (int32_t r = 0; r < HISTOGRAM; r++) {
        if (h->rows[r] == 0) continue;
        for (int32_t c = -TRELLIS_COLUMN_MOST; c <= TRELLIS_COLUMN_MOST; c++) {
            const int32_t at = r + c;
            h->sums[at < 0 ? 0 : at >= HISTOGRAM ? HISTOGRAM - 1 : at] += h->rows[r] * h->columns[HISTOGRAM_ZERO + c];
        }
    }
}

/* Codes of rows where they tell more than they take; their centre is the mean. */
static void choose_rows(struct trellis_encoder *encoder, struct histogram *h) {
    double sum = 0, square = 0, bits = 0;
    for (int32_t i = 0; i < HISTOGRAM; i++) {
        sum += h->rows[i] * (i - HISTOGRAM_ZERO);
        square += h->rows[i] * (i - HISTOGRAM_ZERO) * (i - HISTOGRAM_ZERO);
    }
    const double mean = h->coded ? sum / (double)h->coded : 0, octaves = unit_octaves(encoder);
    encoder->row_centre = nearest(mean);
    for (int32_t i = 0; i < HISTOGRAM; i++) {
        bits += h->rows[i] * (double)rice_bits(zigzag(i - HISTOGRAM_ZERO - encoder->row_centre), 0);
    }
    const double told = LOSS * octaves * octaves * (square - mean * sum) * (double)encoder->tensor->columns;
    encoder->rows_coded = h->coded > 1 && told > bits;
    if (encoder->rows_coded) return;
    memset(h->rows, 0, sizeof h->rows);
    h->rows[HISTOGRAM_ZERO + encoder->row_centre] = (double)h->coded;
}

/* From the lowest to the highest sum that has weights enough for numbers of its own; where these are too many, the lowest
 * share a scale: they cost the least. */
static void choose_window(struct trellis_encoder *encoder, const struct histogram *h, int32_t *low) {
    int32_t first = 0, last = HISTOGRAM - 1;
    double below = h->sums[0], above = h->sums[last];
    while (first < last && below < END_LEAST) below += h->sums[++first];
    while (last > first && above < END_LEAST) above += h->sums[--last];
    if (last - first >= TRELLIS_SCALES_MAX) first = last - TRELLIS_SCALES_MAX + 1;
    encoder->shape.scales = (uint32_t)(last - first + 1);
    *low = first;
}

static void set_shares(struct trellis_encoder *encoder, const struct histogram *h, int32_t low) {
    const double all = (double)encoder->tensor->rows * (double)encoder->tensor->columns;
    memset(encoder->scale_share, 0, sizeof encoder->scale_share);
    for (int32_t i = 0; i < HISTOGRAM; i++) {
        encoder->scale_share[trellis_scale(&encoder->shape, i - low, 0)] += all > 0 ? h->sums[i] / all : 0;
    }
}

static void set_classes(struct trellis_encoder *encoder) {
    for (int32_t b = 0; b < TRELLIS_ROW_BUCKETS; b++) {
        encoder->row_class[b] = (uint8_t)zigzag(b - TRELLIS_CODE_ZERO - encoder->row_centre);
    }
}

tsr_status trellis_scales_choose(struct trellis_encoder *encoder, const struct trellis_row_facts *facts,
                                 tsr_error *err) {
    struct histogram *h = encoder->host->alloc(encoder->host, sizeof *h);
    int32_t low = 0;
    if (!h) return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory to choose scales");
    memset(h, 0, sizeof *h);
    encoder->rows_coded = false;
    count(encoder, facts, h);
    choose_rows(encoder, h);
    add_up(h);
    choose_window(encoder, h, &low);
    set_shares(encoder, h, low);
    encoder->row_low = low - HISTOGRAM_ZERO;
    encoder->row_centre -= encoder->row_low;
    const int32_t most = TRELLIS_SCALES_MAX + TRELLIS_COLUMN_MOST;
    encoder->row_centre = encoder->row_centre < -most ? -most : encoder->row_centre > most ? most : encoder->row_centre;
    set_classes(encoder);
    encoder->host->free(encoder->host, h);
    return TSR_OK;
}
