/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the first tile: codes of columns and rows, the scale that gives the rate asked for, then distributions,
 * reconstruction points and the entropy model, and the header that carries them. */
#include "scalar_rate.h"

#include "rate_search.h"
#include "scales.h"
#include "sink.h"

#include <math.h>

enum { SEARCH_STEPS = 16, FULL_PASSES = 4, STEP_MANTISSA_MOST = 7, HEADER_FIXED = 8 };

/* log2 of the scale: steps are then finer than F32 needs. */
#define LOG_SCALE_LEAST (-14.0)
/* log2(sqrt(2 pi e)) (Gish and Pierce 1968). */
#define LOG_GAUSSIAN 2.05
/* Relative difference from the rate asked for that ends the search on a sample, and on the tensor. */
#define SAMPLE_TOLERANCE 0.002
#define TENSOR_TOLERANCE 0.004
/* What finer steps may cost, relative to the rate asked for. */
#define FINE_STEPS 0.0005

/* A bound on errors can hold all steps below the scale: then the rate no longer depends on it. */
static bool stalled(double rate, double before, double asked) {
    return rate > asked && fabs(rate - before) < 1e-6 * asked;
}

/* What one prepare works with. */
struct preparation {
    struct scalar_encoder *encoder;
    const tsr_row_source *source;
    struct scalar_room *room;
    struct scalar_counts counts;
    struct scalar_points *points;
    struct rate_search search;
    uint8_t *header; /* once built, and its bytes */
    uint64_t header_bytes;
};

static tsr_status search_sample(struct preparation *work, tsr_error *err) {
    const struct scalar_measure measure = {.encoder = work->encoder, .source = work->source, .room = work->room, .sample = true};
    struct rate_search *search = &work->search;
    double previous = search->at;
    for (uint32_t i = 0; i < SEARCH_STEPS; i++) {
        work->encoder->scale = exact_exp2(search->at);
        tsr_status status = scalar_measure_run(&measure, &work->counts, err);
        if (status != TSR_OK) return status;
        double rate = scalar_rate_estimate(work->encoder, &work->counts), at = search->at;
        if (rate_is_near(rate, search->asked, SAMPLE_TOLERANCE) || rate_search_is_over(search)) break;
        if (stalled(rate, search->rate, search->asked)) break;
        rate_search_next(search, rate, previous);
        previous = at;
    }
    return TSR_OK;
}

static uint64_t header_bound(const struct scalar_encoder *encoder) {
    const uint64_t shape = encoder->tables ? encoder->shape.scales * UINT64_C(2) : (shape_bits(&encoder->shape) + 7) / 8;
    const uint64_t model =
        encoder->tables ? encoder->shape.scales * encoder->entropy->model_bound(2 * encoder->model.middle + 2) : 0;
    return HEADER_FIXED + VARINT_MAX + shape_groups(&encoder->shape) * (1 + OFFSETS_MAX) + encoder->columns.bits / 8 +
           1 + shape + model;
}

static void put_numbers(const struct scalar_encoder *encoder, struct sink *sink) {
    const struct shape *shape = &encoder->shape;
    sink_number(sink, encoder->mantissa_bits, 1);
    shape_write_numbers(shape, sink);
    sink_number(sink, (encoder->rows_coded ? SCALAR_ROWS_CODED : 0) |
                          (encoder->columns.codes ? SCALAR_COLUMNS_CODED : 0) | (encoder->tables ? SCALAR_TABLES : 0), 1);
    sink_number(sink, (uint8_t)(SCALAR_BUCKET_MEAN - encoder->columns.centre - encoder->first), 1);
    sink_varint(sink, (uint32_t)encoder->settings.group);
    for (uint32_t s = 0; encoder->tables && s < shape->scales; s++) sink_varint(sink, encoder->model.limits[s]);
    offsets_write(encoder->offsets, shape_groups(shape), sink);
}

/* Into zeroed bytes. */
static tsr_status make_header(const struct scalar_encoder *encoder, uint8_t *bytes, uint64_t *size, tsr_error *err) {
    const uint64_t bound = header_bound(encoder);
    struct sink sink = {bytes, bound, 0, false};
    uint64_t model_bytes = 0;
    put_numbers(encoder, &sink);
    struct sink_bits bits = {bytes + sink.at, 0};
    columns_write_codes(&encoder->columns, encoder->tensor->columns, &bits);
    if (!encoder->tables) shape_write(&encoder->shape, &bits);
    *size = sink.at + (bits.at + 7) / 8;
    if (!encoder->tables) return TSR_OK;
    tsr_status status =
        encoder->entropy->model_write(encoder->model.entropy, bytes + *size, bound - *size, &model_bytes, err);
    *size += model_bytes;
    return status;
}

/* Builds everything from the counts of the whole tensor. */
static tsr_status build(struct preparation *work, tsr_error *err) {
    struct scalar_encoder *encoder = work->encoder;
    struct scalar_bits bits = {0, 0};
    tsr_status status = scalar_rate_build(encoder, &work->counts, work->points, &bits, err);
    if (status != TSR_OK) return status;
    encoder->host->free(encoder->host, work->header);
    work->header = encoder->host->alloc(encoder->host, header_bound(encoder));
    if (!work->header) return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for a header");
    memset(work->header, 0, (size_t)header_bound(encoder));
    status = make_header(encoder, work->header, &work->header_bytes, err);
    bits.fixed += 8 * (double)work->header_bytes;
    work->search.rate = scalar_bits_rate(encoder, &bits, (double)work->counts.sums.weights);
    return status;
}

/* Measures the whole tensor at the present scale; the rate is then known but for what distributions lose. */
static tsr_status measure_tensor(struct preparation *work, tsr_error *err) {
    struct scalar_encoder *encoder = work->encoder;
    const bool all = scalar_measure_sample_is_all(encoder);
    const struct scalar_measure measure = {.encoder = encoder,
                                           .source = work->source,
                                           .room = work->room,
                                           .overshoot = all && encoder->settings.centroids};
    tsr_status status = scalar_measure_run(&measure, &work->counts, err);
    if (status != TSR_OK) return status;
    if (measure.overshoot) *work->points = work->counts.sums.points;
    work->search.rate = scalar_rate_estimate(encoder, &work->counts);
    return TSR_OK;
}

static double clamped(double value, double least, double most) {
    return value < least ? least : value > most ? most : value;
}

/* Measures, and builds where the rate seems to be near: *lost, what the estimate is short of, is then known. */
static tsr_status try_scale(struct preparation *work, double *lost, bool *found, tsr_error *err) {
    struct rate_search *search = &work->search;
    tsr_status status = measure_tensor(work, err);
    const double estimate = search->rate;
    search->rate += *lost;
    *found = rate_is_near(search->rate, search->asked, TENSOR_TOLERANCE);
    if (status != TSR_OK || !*found) return status;
    status = build(work, err);
    *lost = search->rate - estimate;
    *found = rate_is_near(search->rate, search->asked, TENSOR_TOLERANCE);
    return status;
}

/* Scales come and go with the step, and steps are rounded, so the rate has jumps, and a slope over one of them is no slope:
 * from pass to pass it is kept to what a quantiser can have. Where none of them is near enough the nearest is taken. */
static tsr_status build_at_rate(struct preparation *work, tsr_error *err) {
    struct scalar_encoder *encoder = work->encoder;
    struct rate_search *search = &work->search;
    double at = exact_log2(encoder->scale), before_at = at, before = 0, best_at = at, best = HUGE_VAL, lost = 0;
    for (uint32_t i = 0; i < FULL_PASSES && encoder->settings.step == 0; i++) {
        bool found;
        tsr_status status = try_scale(work, &lost, &found, err);
        if (status != TSR_OK || found) return status;
        if (fabs(search->rate - search->asked) < best) {
            best = fabs(search->rate - search->asked);
            best_at = at;
        }
        if (i > 0 && stalled(search->rate, before, search->asked)) break;
        if (i > 0 && at != before_at) search->slope = (search->rate - before) / (at - before_at);
        search->slope = clamped(search->slope, -1.2, search->asked < 1 ? -0.3 * search->asked : -0.3);
        before = search->rate;
        before_at = at;
        at = clamped(at - (search->rate - search->asked) / search->slope, LOG_SCALE_LEAST, search->most);
        encoder->scale = exact_exp2(at);
    }
    if (encoder->settings.step == 0) encoder->scale = exact_exp2(best_at);
    tsr_status status = measure_tensor(work, err);
    return status == TSR_OK ? build(work, err) : status;
}

static tsr_status set_weighted_rms(struct preparation *work, tsr_error *err) {
    const struct scalar_measure measure = {.encoder = work->encoder, .source = work->source, .room = work->room, .energy_only = true};
    if (!work->encoder->row_weight) return TSR_OK;
    tsr_status status = scalar_measure_run(&measure, &work->counts, err);
    const struct scalar_sums *sums = &work->counts.sums;
    work->encoder->weighted_rms = sqrt(sums->weights ? sums->weighted_energy / (double)sums->weights : 0);
    return status;
}

/* Reconstruction points from a sample; where the sample is all, the passes over the tensor give them. */
static tsr_status sample_points(struct preparation *work, tsr_error *err) {
    const struct scalar_measure measure = {
        .encoder = work->encoder, .source = work->source, .room = work->room, .sample = true, .overshoot = true};
    if (!work->encoder->settings.centroids || scalar_measure_sample_is_all(work->encoder)) return TSR_OK;
    tsr_status status = scalar_measure_run(&measure, &work->counts, err);
    if (status == TSR_OK) *work->points = work->counts.sums.points;
    return status;
}

/* Rows whose weights are alike have steps that are, and codes of those take no more bits with all of their mantissa. Without
 * it, rounding would move all steps at once, and the rate by an eighth of a bit. */
static tsr_status refine_steps(struct preparation *work, tsr_error *err) {
    struct scalar_encoder *encoder = work->encoder;
    const struct scalar_measure measure = {.encoder = encoder, .source = work->source, .room = work->room, .sample = true};
    const uint32_t mantissa_bits[2] = {encoder->mantissa_bits, STEP_MANTISSA_MOST};
    double side[2] = {0, 0};
    if (!encoder->row_weight) return TSR_OK;
    for (uint32_t fine = 0; fine < 2; fine++) {
        encoder->mantissa_bits = mantissa_bits[fine];
        tsr_status status = scalar_measure_run(&measure, &work->counts, err);
        if (status != TSR_OK) return status;
        side[fine] = (double)work->counts.sums.side_bits;
    }
    const double allowed = FINE_STEPS * encoder->settings.bits * (double)work->counts.sums.weights;
    if (side[1] > side[0] + allowed) encoder->mantissa_bits = mantissa_bits[0];
    return TSR_OK;
}

/* For encode with an error bound and for blocks, which decode what they are about to write. */
static tsr_status make_points(struct scalar_encoder *encoder, tsr_error *err) {
    const uint64_t alphabet = 2 * encoder->model.middle + 2, lists = shape_groups(&encoder->shape);
    encoder->points = encoder->host->alloc(encoder->host, lists * alphabet * sizeof(float));
    if (!encoder->points) return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for reconstruction points");
    for (uint32_t i = 0; i < lists; i++) {
        scalar_fill_points(encoder->points + i * alphabet, encoder->model.middle, &encoder->offsets[i]);
    }
    return TSR_OK;
}

void scalar_encoder_clear(struct scalar_encoder *encoder) {
    if (!encoder->host) return;
    if (encoder->model.entropy) encoder->entropy->model_destroy(encoder->host, encoder->model.entropy);
    encoder->host->free(encoder->host, encoder->points);
    columns_clear(encoder->host, &encoder->columns);
}

/* Of a row's first segment. */
static uint64_t segment_columns(const struct scalar_encoder *encoder) {
    return scalar_segment_columns(encoder->tensor->columns, encoder->settings.group, 0);
}

/* Codes of rows where a sample says that they tell more than they take. */
static tsr_status choose_rows(struct preparation *work, tsr_error *err) {
    struct scalar_encoder *encoder = work->encoder;
    const struct scalar_measure measure = {
        .encoder = encoder, .source = work->source, .room = work->room, .sample = true};
    int32_t mean = SCALAR_BUCKET_MEAN;
    encoder->rows_coded = true;
    tsr_status status = scalar_measure_run(&measure, &work->counts, err);
    if (status != TSR_OK) return status;
    encoder->rows_coded = scales_rows_pay(work->counts.sums.segments, SCALAR_BINS, encoder->shape.unit,
                                          (double)segment_columns(encoder), &mean);
    encoder->row_units = mean - SCALAR_BUCKET_MEAN;
    return TSR_OK;
}

static tsr_status prepare(struct preparation *work, tsr_error *err) {
    struct scalar_encoder *encoder = work->encoder;
    for (int32_t b = 0; b < SCALAR_BINS; b++) encoder->row_stored[b] = (uint8_t)zigzag(b - SCALAR_BUCKET_MEAN);
    encoder->shape.quantisers = 1;
    encoder->shape.unit = shape_unit_for((double)encoder->tensor->rows * (double)encoder->tensor->columns);
    encoder->mantissa_bits = row_step_mantissa_bits(segment_columns(encoder));
    encoder->scale = encoder->settings.step > 0 ? encoder->settings.step : exact_exp2(work->search.at);
    const struct columns_wanted wanted = {.unit = encoder->shape.unit, .group = encoder->settings.group};
    tsr_status status = columns_choose(encoder->host, encoder->tensor, work->source, wanted, &encoder->columns, err);
    if (status == TSR_OK) status = set_weighted_rms(work, err);
    if (status == TSR_OK) status = choose_rows(work, err);
    if (status == TSR_OK) status = refine_steps(work, err);
    if (status == TSR_OK && encoder->settings.step == 0) status = search_sample(work, err);
    if (status == TSR_OK) status = sample_points(work, err);
    if (status == TSR_OK) status = build_at_rate(work, err);
    return status == TSR_OK ? make_points(encoder, err) : status;
}

tsr_status scalar_prepare(struct scalar_encoder *encoder, const tsr_row_source *source, const tsr_writer *header,
                          tsr_error *err) {
    const tsr_host *host = encoder->host;
    struct preparation work = {.encoder = encoder,
                               .source = source,
                               .search = rate_search_begin(encoder->settings.bits, LOG_GAUSSIAN, LOG_SCALE_LEAST)};
    tsr_status status = TSR_OK;
    work.counts.symbols = host->alloc(host, SCALAR_BINS * sizeof *work.counts.symbols);
    work.points = host->alloc(host, sizeof *work.points);
    work.room = scalar_room_create(host, encoder);
    if (!work.counts.symbols || !work.points || !work.room) {
        status = tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for counts");
        goto done;
    }
    memset(work.points, 0, sizeof *work.points);
    status = prepare(&work, err);
    if (status == TSR_OK) status = header->write(header->ctx, work.header, work.header_bytes, err);
done:
    host->free(host, work.header);
    host->free(host, work.points);
    host->free(host, work.counts.symbols);
    scalar_room_free(host, work.room);
    return status;
}
