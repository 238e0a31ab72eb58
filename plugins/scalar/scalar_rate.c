/* SPDX-License-Identifier: Apache-2.0
 *
 * The arithmetic of rates. All decisions here end in stored bytes, so they use no libm but floor. */
#include "scalar_rate.h"

#include "escape.h"
#include "scalar_tables.h"
#include "scales.h"
#include "shape_fit.h"

#include <math.h>

/* Most of the rate that fixed costs may take from the weights. */
#define FIXED_SHARE 0.1
/* Relative saving that finer probabilities must bring. */
#define FINE_GAIN 0.0003
/* How many bits too few a sample seems to need for each symbol that it has (Miller 1955). */
#define SAMPLE_BIAS 0.72

enum {
    STREAM_OVERHEAD_BITS = 8 * 102, /* states of the coder, less what they carry, and the fixed part of a tile */
    HEADER_BITS = 8 * 16,
    SCALE_BITS = 12, /* about what the shape of one scale takes */
    MIDDLE = SHAPE_LIMIT_MAX
};

static uint64_t tile_count(const struct scalar_encoder *encoder) {
    return encoder->tensor->rows * encoder->tensor->columns / SCALAR_MEASURE_BLOCK + 1;
}

double scalar_bits_rate(const struct scalar_encoder *encoder, const struct scalar_bits *bits, double weights) {
    double most = encoder->settings.bits * FIXED_SHARE;
    if (weights == 0) return encoder->settings.bits;
    return bits->weights / weights + (bits->fixed / weights < most ? bits->fixed / weights : most);
}

double scalar_rate_estimate(const struct scalar_encoder *encoder, const struct scalar_counts *counts) {
    const double all = (double)encoder->tensor->rows * (double)encoder->tensor->columns;
    const double part = all > 0 ? (double)counts->sums.weights / all : 1;
    double whole = HEADER_BITS + (double)encoder->columns.bits + STREAM_OVERHEAD_BITS * (double)tile_count(encoder);
    struct scalar_bits bits = {0, (double)(counts->sums.side_bits + counts->sums.raw_bits)};
    for (uint32_t b = 0; b < SCALAR_BINS; b++) {
        const double total = (double)counts->bin_weights[b];
        if (total == 0) continue;
        whole += SCALE_BITS;
        for (uint32_t s = 0; s < SCALAR_SYMBOLS_MAX; s++) {
            const double count = (double)counts->symbols[b][s];
            bits.weights += exact_entropy_bits(count, total);
            if (count > 0 && part < 1) bits.weights += SAMPLE_BIAS;
            if (s == SCALAR_SYMBOLS_MAX - 1) bits.weights += ESCAPE_FAR_BITS * count;
        }
    }
    bits.fixed += whole * part;
    return scalar_bits_rate(encoder, &bits, (double)counts->sums.weights);
}

/* ---- scales ---- */

/* From the bins that are met, and counts by scale. */
static void choose_scales(struct scalar_encoder *encoder, const struct scalar_counts *counts,
                          struct scalar_tallies *tallies) {
    double weights[SCALAR_BINS];
    for (uint32_t b = 0; b < SCALAR_BINS; b++) weights[b] = (double)counts->bin_weights[b];
    encoder->shape.scales = scales_window(weights, SCALAR_BINS, &encoder->first);
    tallies->scales = encoder->shape.scales;
    tallies->shift = 0;
    while (counts->sums.weights >> tallies->shift > UINT32_MAX / 2) tallies->shift++;
    memset(tallies->symbols, 0, tallies->scales * sizeof *tallies->symbols);
    for (int32_t b = 0; b < SCALAR_BINS; b++) {
        uint32_t *own = tallies->symbols[shape_scale(&encoder->shape, b, -encoder->first)];
        for (uint32_t s = 0; counts->bin_weights[b] > 0 && s < SCALAR_SYMBOLS_MAX; s++)
            own[s] += (uint32_t)(counts->symbols[b][s] >> tallies->shift);
    }
}

/* In half steps, as shapes with one quantiser are. */
static void set_base(struct scalar_encoder *encoder) {
    const int32_t units = encoder->first - SCALAR_BUCKET_MEAN + encoder->row_units + encoder->columns.centre;
    const double octaves = (double)units * (1u << encoder->shape.unit) / 4;
    encoder->shape.base = (int32_t)floor(16 * (octaves + 1 - exact_log2(scalar_reference(encoder))) + 0.5);
}

/* ---- distributions ---- */

/* Bits of what was counted in a scale by its frequencies f. */
static double counted_bits(const struct shape *shape, const uint32_t *symbols, uint32_t limit, const uint32_t *f) {
    const double whole = shape->probability_bits, escape = whole - exact_log2((double)f[2 * limit + 1]);
    double sum = (escape + ESCAPE_FAR_BITS) * (double)symbols[SCALAR_SYMBOLS_MAX - 1];
    for (uint32_t m = 0; m <= SHAPE_LIMIT_MAX; m++) {
        const double both = (double)symbols[MIDDLE + m] + (m ? (double)symbols[MIDDLE - m] : 0);
        if (both == 0) continue;
        sum += both * (m > limit ? escape + escape_bits(m - limit) : whole - exact_log2((double)f[limit + m]));
    }
    return sum;
}

static double shape_cost(const struct shape *shape, const struct scalar_tallies *tallies) {
    uint32_t f[SCALAR_SYMBOLS_MAX];
    double sum = 0;
    for (uint32_t s = 0; s < shape->scales; s++) {
        const uint32_t limit = shape_frequencies(shape, s, 0, f);
        sum += counted_bits(shape, tallies->symbols[s], limit, f);
    }
    return sum;
}

static tsr_status fit_shape(struct scalar_encoder *encoder, const struct scalar_tallies *tallies, double *bits,
                            tsr_error *err) {
    const uint32_t *symbols[SHAPE_CONTEXTS_MAX];
    for (uint32_t s = 0; s < tallies->scales; s++) symbols[s] = tallies->symbols[s];
    tsr_status status = shape_fit(encoder->host, symbols, &encoder->shape, err);
    if (status == TSR_OK) *bits = shape_cost(&encoder->shape, tallies) * (double)(UINT64_C(1) << tallies->shift);
    return status;
}

/* 12-bit probabilities, or 14 bits where these save FINE_GAIN: their tables are four times as large. */
static struct scalar_tables plan_tables(const struct scalar_tallies *tallies) {
    const struct scalar_tables coarse = scalar_tables_plan(tallies, 12), fine = scalar_tables_plan(tallies, 14);
    return fine.bits < (1 - FINE_GAIN) * coarse.bits ? fine : coarse;
}

/* The cheaper of both; *bits gets what symbols and escapes take. */
static tsr_status choose_model(struct scalar_encoder *encoder, const struct scalar_tallies *tallies, double *bits,
                               tsr_error *err) {
    const struct scalar_tables tables = plan_tables(tallies);
    encoder->shape.probability_bits = tables.probability_bits;
    tsr_status status = fit_shape(encoder, tallies, bits, err);
    if (status != TSR_OK) return status;
    const double size = (double)(UINT64_C(1) << tallies->shift);
    encoder->tables = tables.bits * size < *bits + (double)shape_bits(&encoder->shape);
    if (encoder->tables) return scalar_tables_create(encoder, tallies, &tables, bits, err);
    return shape_model_create(encoder->host, encoder->entropy, &encoder->shape, &encoder->model, err);
}

/* ---- points ---- */

static void set_offsets(struct scalar_encoder *encoder, const struct scalar_points *points, uint32_t list) {
    struct offsets *offsets = &encoder->offsets[list];
    offsets->count = 0;
    for (uint32_t m = 0; encoder->settings.centroids && m < OFFSETS_MAX && m < encoder->model.middle; m++) {
        double sum = 0, count = 0;
        for (uint32_t b = 0; b < SCALAR_BINS; b++) {
            if (scalar_bucket_list(encoder, b) != list) continue;
            sum += points->overshoot[b][m];
            count += (double)points->counts[b][m];
        }
        offsets->values[m] = offset_nearest(count > 0 ? sum / count * 256 : 0);
        if (offsets->values[m] != 0) offsets->count = m + 1;
    }
}

tsr_status scalar_rate_build(struct scalar_encoder *encoder, const struct scalar_counts *counts,
                             const struct scalar_points *points, struct scalar_bits *bits, tsr_error *err) {
    const tsr_host *host = encoder->host;
    struct scalar_tallies tallies = {.symbols = host->alloc(host, SHAPE_SCALES_MAX * sizeof *tallies.symbols)};
    if (!tallies.symbols) return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for counts by scale");
    choose_scales(encoder, counts, &tallies);
    set_base(encoder);
    tsr_status status = choose_model(encoder, &tallies, &bits->weights, err);
    for (uint32_t i = 0; i < shape_groups(&encoder->shape); i++) set_offsets(encoder, points, i);
    bits->fixed = (double)(counts->sums.side_bits + counts->sums.raw_bits) +
                  (double)STREAM_OVERHEAD_BITS * (double)tile_count(encoder);
    host->free(host, tallies.symbols);
    return status;
}
