/* SPDX-License-Identifier: Apache-2.0
 *
 * Scales from histograms of all rows and columns, before anything is quantised. */
#include "trellis_scales.h"

#include "scales.h"
#include "side.h"

enum { HISTOGRAM = 1024, HISTOGRAM_ZERO = 512 };

struct histogram {
    double rows[HISTOGRAM], columns[HISTOGRAM], sums[HISTOGRAM];
    uint64_t coded;
};

static bool is_coded(const struct trellis_encoder *encoder, const struct row_facts *facts, uint64_t index) {
    const struct segment row = trellis_row_choose(encoder, facts, index);
    return segment_is_coded(&row);
}

/* How often each number of units is met: in rows, as shares of columns, and in their sums, of weights. */
static void count(const struct trellis_encoder *encoder, const struct row_facts *facts, struct histogram *h) {
    const uint64_t columns = encoder->tensor->columns;
    for (uint64_t r = 0; r < encoder->tensor->rows; r++) {
        if (!is_coded(encoder, &facts[r], r)) continue;
        h->rows[HISTOGRAM_ZERO + trellis_row_units(encoder, &facts[r], r)]++;
        h->coded++;
    }
    for (uint64_t c = 0; c < columns; c++) h->columns[HISTOGRAM_ZERO + column_code(&encoder->columns, c)]++;
}

static void add_up(struct histogram *h) {
    for (int32_t r = 0; r < HISTOGRAM; r++) {
        if (h->rows[r] == 0) continue;
        for (int32_t c = -COLUMN_CODE_MOST; c <= COLUMN_CODE_MOST; c++) {
            const int32_t at = r + c;
            h->sums[at < 0 ? 0 : at >= HISTOGRAM ? HISTOGRAM - 1 : at] += h->rows[r] * h->columns[HISTOGRAM_ZERO + c];
        }
    }
}

/* Rows without codes of their own are all alike. */
static void choose_rows(struct trellis_encoder *encoder, struct histogram *h) {
    int32_t centre = 0;
    encoder->rows_coded =
        scales_rows_pay(h->rows, HISTOGRAM, encoder->shape.unit, (double)encoder->tensor->columns, &centre);
    encoder->row_centre = centre - HISTOGRAM_ZERO;
    if (encoder->rows_coded) return;
    memset(h->rows, 0, sizeof h->rows);
    h->rows[centre] = (double)h->coded;
}

static void set_shares(struct trellis_encoder *encoder, const struct histogram *h, int32_t low) {
    const double all = (double)encoder->tensor->rows * (double)encoder->tensor->columns;
    memset(encoder->scale_share, 0, sizeof encoder->scale_share);
    for (int32_t i = 0; i < HISTOGRAM; i++) {
        encoder->scale_share[shape_scale(&encoder->shape, i - low, 0)] += all > 0 ? h->sums[i] / all : 0;
    }
}

static void set_classes(struct trellis_encoder *encoder) {
    for (int32_t b = 0; b < TRELLIS_ROW_BUCKETS; b++) {
        encoder->row_class[b] = (uint8_t)zigzag(b - TRELLIS_CODE_ZERO - encoder->row_centre);
    }
}

tsr_status trellis_scales_choose(struct trellis_encoder *encoder, const struct row_facts *facts, tsr_error *err) {
    struct histogram *h = encoder->host->alloc(encoder->host, sizeof *h);
    int32_t low = 0;
    if (!h) return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory to choose scales");
    memset(h, 0, sizeof *h);
    encoder->rows_coded = false;
    count(encoder, facts, h);
    choose_rows(encoder, h);
    add_up(h);
    encoder->shape.scales = scales_window(h->sums, HISTOGRAM, &low);
    set_shares(encoder, h, low);
    encoder->row_low = low - HISTOGRAM_ZERO;
    encoder->row_centre -= encoder->row_low;
    const int32_t most = SHAPE_SCALES_MAX + COLUMN_CODE_MOST;
    encoder->row_centre = encoder->row_centre < -most ? -most : encoder->row_centre > most ? most : encoder->row_centre;
    set_classes(encoder);
    encoder->host->free(encoder->host, h);
    return TSR_OK;
}
