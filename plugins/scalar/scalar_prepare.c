/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the first tile: the scale that gives the rate asked for, then classes, limits, reconstruction points and the
 * entropy model, and the header that carries them. */
#include "scalar_rate.h"

#include "sink.h"

#include <math.h>

enum { SEARCH_STEPS = 16, FULL_PASSES = 4, STEP_MANTISSA_MOST = 7 };

/* log2 of the scale. Beyond them steps are finer than F32 needs, or everything is zero. */
#define LOG_SCALE_LEAST (-14.0)
#define LOG_SCALE_MOST 8.0
/* log2 of RMS over step at R bits is R - this for a Gaussian, log2(sqrt(2 pi e)) (Gish and Pierce 1968), and more for
 * anything else of the same RMS, as nothing has more entropy. */
#define LOG_GAUSSIAN 2.05
/* Relative difference from the rate asked for that ends the search on a sample, and on the tensor. */
#define SAMPLE_TOLERANCE 0.002
#define TENSOR_TOLERANCE 0.004
/* What finer steps may cost, relative to the rate asked for. */
#define FINE_STEPS 0.0005

/* The rate as a function of log2(scale), which falls with a slope of -1 at high rates, less at low ones. */
struct search {
    double asked;
    double at, rate;  /* last trial */
    double low, high; /* rate(low) > asked > rate(high) as far as known */
    double most;      /* largest log2(scale) to try */
    double slope;
    uint32_t trials;
};

/* From one bit on, the scale of a Gaussian bounds that of all others: weights that are all alike, which have no entropy
 * at any scale, still get their step. Half a bit and the share of fixed costs are allowed for. */
static struct search search_begin(double asked) {
    double most = asked < 1 ? LOG_SCALE_MOST : LOG_GAUSSIAN + 0.5 - 0.9 * asked;
    return (struct search){
        .asked = asked, .at = LOG_GAUSSIAN - asked, .low = LOG_SCALE_LEAST, .high = most, .most = most, .slope = -1};
}

/* Takes the rate at search->at and moves on: secant steps, kept inside the bracket. */
static void search_next(struct search *search, double rate, double previous_at) {
    double difference = rate - search->asked;
    if (search->trials > 0 && search->at != previous_at) {
        double slope = (rate - search->rate) / (search->at - previous_at);
        search->slope = slope < -1.2 ? -1.2 : slope > -0.05 ? -0.05 : slope;
    }
    if (difference > 0)
        search->low = search->at;
    else
        search->high = search->at;
    double next = search->at - difference / search->slope;
    if (next <= search->low || next >= search->high) next = (search->low + search->high) / 2;
    search->rate = rate;
    search->at = next;
    search->trials++;
}

/* A bound on errors can hold all steps below the scale: then the rate no longer depends on it. */
static bool stalled(double rate, double before, double asked) {
    return rate > asked && fabs(rate - before) < 1e-6 * asked;
}

static bool near(double rate, double asked, double tolerance) {
    return fabs(rate - asked) <= tolerance * asked;
}

/* What one prepare works with. */
struct preparation {
    struct scalar_encoder *encoder;
    const tsr_row_source *source;
    struct scalar_counts counts;
    struct scalar_points *points;
    struct search search;
    uint8_t *header; /* once built, and its bytes */
    uint64_t header_bytes;
};

static tsr_status search_sample(struct preparation *work, tsr_error *err) {
    const struct scalar_measure measure = {.encoder = work->encoder, .source = work->source, .sample = true};
    struct search *search = &work->search;
    double previous = search->at;
    for (uint32_t i = 0; i < SEARCH_STEPS; i++) {
        work->encoder->scale = exact_exp2(search->at);
        tsr_status status = scalar_measure_run(&measure, &work->counts, err);
        if (status != TSR_OK) return status;
        double rate = scalar_rate_estimate(work->encoder, &work->counts), at = search->at;
        if (near(rate, search->asked, SAMPLE_TOLERANCE) || search->high - search->low < 0.001) break;
        if (stalled(rate, search->rate, search->asked)) break;
        search_next(search, rate, previous);
        previous = at;
    }
    return TSR_OK;
}

static void reset_classes(struct scalar_encoder *encoder) {
    encoder->class_count = scalar_bucket_count(encoder);
    for (uint32_t b = 0; b < SCALAR_CLASSES_MAX; b++) {
        encoder->bucket_class[b] = (uint8_t)(b < encoder->class_count ? b : 0);
    }
}

static uint64_t header_bound(const struct scalar_encoder *encoder) {
    return 2 + 2 * VARINT_MAX + encoder->class_count * (1 + SCALAR_OFFSETS_MAX) +
           encoder->class_count * encoder->entropy->model_bound(2 * encoder->middle + 2);
}

static tsr_status make_header(const struct scalar_encoder *encoder, uint8_t *bytes, uint64_t *size, tsr_error *err) {
    uint64_t at = 0, model_bytes = 0;
    bytes[at++] = (uint8_t)encoder->mantissa_bits;
    bytes[at++] = (uint8_t)encoder->class_count;
    put_varint(bytes, &at, (uint32_t)encoder->settings.group);
    put_varint(bytes, &at, encoder->middle);
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        const struct scalar_class *class = &encoder->classes[c];
        bytes[at++] = (uint8_t) class->offset_count;
        memcpy(bytes + at, class->offsets, class->offset_count);
        at += class->offset_count;
    }
    tsr_status status =
        encoder->entropy->model_write(encoder->model, bytes + at, header_bound(encoder) - at, &model_bytes, err);
    *size = at + model_bytes;
    return status;
}

/* Measures the whole tensor at the present scale and builds everything. */
static tsr_status build(struct preparation *work, const struct scalar_measure *measure, tsr_error *err) {
    struct scalar_encoder *encoder = work->encoder;
    struct scalar_bits bits = {0, 0};
    reset_classes(encoder);
    tsr_status status = scalar_measure_run(measure, &work->counts, err);
    if (status != TSR_OK) return status;
    if (measure->overshoot) scalar_rate_points(&work->counts, work->points);
    status = scalar_rate_build(encoder, &work->counts, work->points, &bits, err);
    if (status != TSR_OK) return status;
    encoder->host->free(encoder->host, work->header);
    work->header = encoder->host->alloc(encoder->host, header_bound(encoder));
    if (!work->header) return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for a header");
    status = make_header(encoder, work->header, &work->header_bytes, err);
    bits.fixed += 8 * (double)work->header_bytes;
    work->search.rate = scalar_bits_rate(encoder, &bits, (double)work->counts.sums.weights);
    return status;
}

static double clamped(double value, double least, double most) {
    return value < least ? least : value > most ? most : value;
}

/* Classes come and go with the scale, so the rate has steps, and a slope over one of them is no slope: from pass to pass
 * it is kept to what a quantiser can have. */
static tsr_status build_at_rate(struct preparation *work, tsr_error *err) {
    struct scalar_encoder *encoder = work->encoder;
    struct search *search = &work->search;
    const bool all = scalar_measure_sample_is_all(encoder);
    const struct scalar_measure measure = {
        .encoder = encoder, .source = work->source, .overshoot = all && encoder->settings.centroids};
    tsr_status status = TSR_OK;
    double at = exact_log2(encoder->scale), before_at = at;
    for (uint32_t i = 0; i < FULL_PASSES; i++) {
        const double before = i ? search->rate : 0;
        status = build(work, &measure, err);
        if (status != TSR_OK || encoder->settings.step > 0) break;
        if (near(search->rate, search->asked, TENSOR_TOLERANCE) || i == FULL_PASSES - 1) break;
        if (stalled(search->rate, before, search->asked)) break;
        if (i > 0 && at != before_at) search->slope = (search->rate - before) / (at - before_at);
        search->slope = clamped(search->slope, -1.2, search->asked < 1 ? -0.3 * search->asked : -0.3);
        before_at = at;
        at = clamped(at - (search->rate - search->asked) / search->slope, LOG_SCALE_LEAST, search->most);
        encoder->scale = exact_exp2(at);
    }
    return status;
}

static tsr_status set_weighted_rms(struct preparation *work, tsr_error *err) {
    const struct scalar_measure measure = {.encoder = work->encoder, .source = work->source, .energy_only = true};
    if (!work->encoder->row_weight) return TSR_OK;
    tsr_status status = scalar_measure_run(&measure, &work->counts, err);
    const struct scalar_sums *sums = &work->counts.sums;
    work->encoder->weighted_rms = sqrt(sums->weights ? sums->weighted_energy / (double)sums->weights : 0);
    return status;
}

/* Reconstruction points from a sample; where the sample is all, the passes over the tensor give them. */
static tsr_status sample_points(struct preparation *work, tsr_error *err) {
    const struct scalar_measure measure = {
        .encoder = work->encoder, .source = work->source, .sample = true, .overshoot = true};
    if (!work->encoder->settings.centroids || scalar_measure_sample_is_all(work->encoder)) return TSR_OK;
    tsr_status status = scalar_measure_run(&measure, &work->counts, err);
    if (status == TSR_OK) scalar_rate_points(&work->counts, work->points);
    return status;
}

/* Shorter segments get coarser steps: their RMS scatters more, so codes cost more, while a deviation d of ln(step)
 * costs only about d^2 nats whatever the length. */
static uint32_t choose_mantissa_bits(const struct scalar_encoder *encoder) {
    uint64_t columns = scalar_segment_columns(encoder->tensor->columns, encoder->settings.group, 0);
    return columns <= 64 ? 2 : columns <= 512 ? 3 : columns <= 2048 ? 4 : 5;
}

/* Rows whose weights are alike have steps that are, and codes of those take no more bits with all of their mantissa. Without
 * it, rounding would move all steps at once, and the rate by an eighth of a bit. */
static tsr_status refine_steps(struct preparation *work, tsr_error *err) {
    struct scalar_encoder *encoder = work->encoder;
    const struct scalar_measure measure = {.encoder = encoder, .source = work->source, .sample = true};
    const uint32_t mantissa_bits[2] = {encoder->mantissa_bits, STEP_MANTISSA_MOST};
    double side[2] = {0, 0};
    if (!encoder->row_weight) return TSR_OK;
    if (encoder->settings.step == 0) encoder->scale = exact_exp2(work->search.at);
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

/* With an error bound, encode decodes what it is about to write. */
static tsr_status make_points(struct scalar_encoder *encoder, tsr_error *err) {
    const uint64_t alphabet = 2 * encoder->middle + 2;
    if (encoder->settings.error_bound == 0) return TSR_OK;
    encoder->points = encoder->host->alloc(encoder->host, encoder->class_count * alphabet * sizeof(float));
    if (!encoder->points) return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for reconstruction points");
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        const struct scalar_class *class = &encoder->classes[c];
        scalar_fill_points(encoder->points + c * alphabet, encoder->middle, class->offsets, class->offset_count);
    }
    return TSR_OK;
}

void scalar_encoder_clear(struct scalar_encoder *encoder) {
    if (!encoder->host) return;
    if (encoder->model) encoder->entropy->model_destroy(encoder->host, encoder->model);
    encoder->host->free(encoder->host, encoder->points);
}

static tsr_status prepare(struct preparation *work, tsr_error *err) {
    struct scalar_encoder *encoder = work->encoder;
    reset_classes(encoder);
    encoder->mantissa_bits = choose_mantissa_bits(encoder);
    encoder->scale = encoder->settings.step;
    tsr_status status = set_weighted_rms(work, err);
    if (status == TSR_OK) status = refine_steps(work, err);
    if (status == TSR_OK && encoder->settings.step == 0) status = search_sample(work, err);
    if (status == TSR_OK) status = sample_points(work, err);
    if (status == TSR_OK) status = build_at_rate(work, err);
    return status == TSR_OK ? make_points(encoder, err) : status;
}

tsr_status scalar_prepare(struct scalar_encoder *encoder, const tsr_row_source *source, const tsr_writer *header,
                          tsr_error *err) {
    const tsr_host *host = encoder->host;
    struct preparation work = {.encoder = encoder, .source = source, .search = search_begin(encoder->settings.bits)};
    tsr_status status = TSR_OK;
    work.counts.buckets = scalar_bucket_count(encoder);
    work.counts.symbols = host->alloc(host, work.counts.buckets * sizeof *work.counts.symbols);
    work.points = host->alloc(host, sizeof *work.points);
    if (!work.counts.symbols || !work.points) {
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
    return status;
}
