/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the first tile: the scale that gives the rate asked for, with costs that belong to it, then classes, limits,
 * points and the entropy model, and the header that carries them. */
#include "trellis_rate.h"
#include "trellis_scales.h"

#include "rate_search.h"
#include "sink.h"

#include <math.h>

enum {
    SEARCH_STEPS = 12,
    FIRST_ROUNDS = 6,
    ROUNDS = 2,
    LOW_RATE_ROUNDS = 5,
    BUILDS = 4,
    SEARCH_BLOCKS = 6, /* of 2^14 weights */
    BUILD_BLOCKS = 64,
    STEP_MANTISSA_MOST = 7
};

/* log2 of the scale: steps are then finer than F32 needs. */
#define LOG_SCALE_LEAST (-14.0)
/* About: that of a uniform quantiser (Gish and Pierce 1968) of twice the step. */
#define LOG_GAUSSIAN 1.05
/* Slopes of the rate: costs follow the scale, and rates with them. */
#define STEEPEST (-4.0)
#define FLATTEST (-0.2)
/* Below it costs and counts agree late. */
#define LOW_RATE 1.5
#define SEARCH_TOLERANCE 0.003
#define BUILD_TOLERANCE 0.004
/* What finer steps may cost, relative to the rate asked for. */
#define FINE_STEPS 0.0005

/* What one prepare works with. */
struct preparation {
    struct trellis_encoder *encoder;
    struct trellis_measure measure;
    struct trellis_counts counts;
    struct row_facts *facts; /* [rows] */
    struct segment *rows;            /* [rows] at the present scale */
    uint64_t side_bits;
    struct rate_search search;
    uint8_t *header; /* once built, and its bytes */
    uint64_t header_bytes;
};

static void set_scale(struct preparation *work, double log_scale) {
    const uint64_t rows = work->encoder->tensor->rows;
    work->encoder->scale = exact_exp2(log_scale);
    for (uint64_t r = 0; r < rows; r++) work->rows[r] = trellis_row_choose(work->encoder, &work->facts[r], r);
    work->side_bits = side_plan(work->rows, rows, trellis_classes(work->encoder)).bits;
}

static tsr_status learn(struct preparation *work, uint32_t rounds, tsr_error *err) {
    tsr_status status = TSR_OK;
    for (uint32_t i = 0; i < rounds && status == TSR_OK; i++) {
        status = trellis_measure_run(&work->measure, &work->counts, err);
        if (status == TSR_OK) trellis_rate_learn(work->encoder, &work->counts);
    }
    return status;
}

/* Costs decide what is counted, and counts are the costs: some rounds are needed until both agree. */
static tsr_status search_rate(struct preparation *work, tsr_error *err) {
    struct trellis_encoder *encoder = work->encoder;
    struct rate_search *search = &work->search;
    double previous = search->at;
    work->measure.blocks = SEARCH_BLOCKS;
    set_scale(work, search->at);
    trellis_rate_guess(encoder);
    tsr_status status = learn(work, FIRST_ROUNDS, err);
    for (uint32_t i = 0; i < SEARCH_STEPS && status == TSR_OK; i++) {
        set_scale(work, search->at);
        status = learn(work, ROUNDS, err);
        if (status != TSR_OK) break;
        struct trellis_bits bits = trellis_rate_estimate(encoder, &work->counts, work->side_bits);
        double rate = trellis_bits_rate(encoder, &bits), at = search->at;
        if (rate_is_near(rate, search->asked, SEARCH_TOLERANCE) || rate_search_is_over(search)) break;
        rate_search_next(search, rate, previous);
        previous = at;
    }
    return status;
}

static uint64_t header_bound(const struct trellis_encoder *encoder) {
    const uint64_t offsets = UINT64_C(2) * shape_groups(&encoder->shape) * (1 + OFFSETS_MAX);
    return TRELLIS_HEADER_FIXED + offsets + (encoder->columns.bits + shape_bits(&encoder->shape) + 7) / 8;
}

/* Into zeroed bytes; returns how many. */
static uint64_t make_header(const struct trellis_encoder *encoder, uint8_t *bytes) {
    const struct shape *shape = &encoder->shape;
    struct sink sink = {bytes, header_bound(encoder), 0, false};
    uint8_t log_states = 0;
    while (encoder->code.states >> (log_states + 1)) log_states++;
    sink_number(&sink, encoder->mantissa_bits, 1);
    sink_number(&sink, log_states, 1);
    shape_write_numbers(shape, &sink);
    sink_number(&sink, (encoder->rows_coded ? TRELLIS_ROWS_CODED : 0) | (encoder->columns.codes ? TRELLIS_COLUMNS_CODED : 0) |
                           (encoder->columns.means ? TRELLIS_MEANS : 0), 1);
    sink_number(&sink, (uint8_t)encoder->row_centre, 1);
    offsets_write(encoder->offsets, 2 * shape_groups(shape), &sink);
    struct sink_bits bits = {bytes + sink.at, 0};
    columns_write_codes(&encoder->columns, encoder->tensor->columns, &bits);
    columns_write_means(&encoder->columns, encoder->tensor->columns, &bits);
    shape_write(shape, &bits);
    return sink.at + (bits.at + 7) / 8;
}

/* Measures at the present scale and builds everything. */
static tsr_status build(struct preparation *work, tsr_error *err) {
    struct trellis_encoder *encoder = work->encoder;
    struct trellis_bits bits = {0, 0};
    tsr_status status = trellis_measure_run(&work->measure, &work->counts, err);
    if (status != TSR_OK) return status;
    status = trellis_rate_build(encoder, &work->counts, work->side_bits, &bits, err);
    if (status != TSR_OK) return status;
    encoder->host->free(encoder->host, work->header);
    work->header = encoder->host->alloc(encoder->host, header_bound(encoder));
    if (!work->header) return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for a header");
    memset(work->header, 0, (size_t)header_bound(encoder));
    work->header_bytes = make_header(encoder, work->header);
    bits.fixed += 8 * (double)work->header_bytes;
    work->search.rate = trellis_bits_rate(encoder, &bits);
    return status;
}

static tsr_status build_at_rate(struct preparation *work, tsr_error *err) {
    struct rate_search *search = &work->search;
    double at = exact_log2(work->encoder->scale), before_at = at, before = 0;
    work->measure.blocks = BUILD_BLOCKS;
    const uint32_t rounds = search->asked < LOW_RATE ? LOW_RATE_ROUNDS : 1;
    tsr_status status = learn(work, rounds, err);
    if (status != TSR_OK) return status;
    for (uint32_t i = 0;; i++) {
        status = build(work, err);
        if (status != TSR_OK || rate_is_near(search->rate, search->asked, BUILD_TOLERANCE) || i == BUILDS - 1) return status;
        if (i > 0 && at != before_at) {
            double slope = (search->rate - before) / (at - before_at);
            search->slope = slope < -4 ? -4 : slope > -0.3 ? -0.3 : slope;
        }
        before = search->rate;
        before_at = at;
        at -= (search->rate - search->asked) / search->slope;
        at = at < LOG_SCALE_LEAST ? LOG_SCALE_LEAST : at > search->most ? search->most : at;
        set_scale(work, at);
        status = learn(work, rounds, err);
        if (status != TSR_OK) return status;
    }
}

static void set_weighted_rms(struct preparation *work) {
    struct trellis_encoder *encoder = work->encoder;
    const uint64_t rows = encoder->tensor->rows;
    double sum = 0;
    for (uint64_t r = 0; encoder->row_weight && r < rows; r++) {
        double weight = (double)encoder->row_weight[r];
        if (weight > 0 && weight < HUGE_VAL) sum += weight * work->facts[r].rms * work->facts[r].rms;
    }
    encoder->weighted_rms = rows ? sqrt(sum / (double)rows) : 0;
}

/* Rows whose weights are alike have steps that are, and codes of those take no more bits with all of their mantissa. Without
 * it, rounding would move all steps at once, and the rate by an eighth of a bit. */
static void refine_steps(struct preparation *work) {
    struct trellis_encoder *encoder = work->encoder;
    const uint32_t coarse = encoder->mantissa_bits;
    const double weights = (double)encoder->tensor->rows * (double)encoder->tensor->columns;
    if (!encoder->row_weight) return;
    set_scale(work, work->search.at);
    const double most = (double)work->side_bits + FINE_STEPS * encoder->settings.bits * weights;
    encoder->mantissa_bits = STEP_MANTISSA_MOST;
    set_scale(work, work->search.at);
    if ((double)work->side_bits > most) encoder->mantissa_bits = coarse;
}

void trellis_encoder_clear(struct trellis_encoder *encoder) {
    if (!encoder->host) return;
    if (encoder->model.entropy) encoder->entropy->model_destroy(encoder->host, encoder->model.entropy);
    encoder->host->free(encoder->host, encoder->costs);
    columns_clear(encoder->host, &encoder->columns);
}

static tsr_status allocate(struct preparation *work, tsr_error *err) {
    struct trellis_encoder *encoder = work->encoder;
    const tsr_host *host = encoder->host;
    const uint64_t rows = encoder->tensor->rows + 1;
    work->counts.tallies = host->alloc(host, SHAPE_SCALES_MAX * sizeof *work->counts.tallies);
    work->facts = host->alloc(host, rows * sizeof *work->facts);
    work->rows = host->alloc(host, rows * sizeof *work->rows);
    encoder->costs = host->alloc(host, UINT64_C(4) * SHAPE_SCALES_MAX * TRELLIS_COSTS * sizeof *encoder->costs);
    if (!work->counts.tallies || !work->facts || !work->rows || !encoder->costs)
        return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory to prepare %llu rows", (unsigned long long)rows);
    work->measure.rows = work->rows;
    return TSR_OK;
}

static tsr_status prepare(struct preparation *work, tsr_error *err) {
    struct trellis_encoder *encoder = work->encoder;
    encoder->mantissa_bits = row_step_mantissa_bits(encoder->tensor->columns);
    encoder->shape.unit = shape_unit_for((double)encoder->tensor->rows * (double)encoder->tensor->columns);
    encoder->shape.scales = 1;
    encoder->shape.quantisers = 2;
    tsr_status status = allocate(work, err);
    if (status == TSR_OK) {
        const struct columns_wanted wanted = {.unit = encoder->shape.unit, .means = true};
        status = columns_choose(encoder->host, encoder->tensor, work->measure.source, wanted, &encoder->columns, err);
    }
    if (status == TSR_OK) status = trellis_measure_rows(encoder, work->measure.source, work->facts, err);
    if (status != TSR_OK) return status;
    set_weighted_rms(work);
    encoder->scale = 1;
    status = trellis_scales_choose(encoder, work->facts, err);
    if (status != TSR_OK) return status;
    refine_steps(work);
    status = search_rate(work, err);
    return status == TSR_OK ? build_at_rate(work, err) : status;
}

tsr_status trellis_prepare(struct trellis_encoder *encoder, const tsr_row_source *source, const tsr_writer *header,
                           tsr_error *err) {
    const tsr_host *host = encoder->host;
    struct preparation work = {.encoder = encoder,
                               .measure = {.encoder = encoder, .source = source},
                               .search = rate_search_begin(encoder->settings.bits, LOG_GAUSSIAN, LOG_SCALE_LEAST)};
    work.search.steepest = STEEPEST;
    work.search.flattest = FLATTEST;
    tsr_status status = prepare(&work, err);
    if (status == TSR_OK) status = header->write(header->ctx, work.header, work.header_bytes, err);
    host->free(host, work.header);
    host->free(host, work.rows);
    host->free(host, work.facts);
    host->free(host, work.counts.tallies);
    return status;
}
