/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the first tile: the scale that gives the rate asked for, or the least error with a fixed number of points,
 * then classes, centroids and the entropy model, and the header that carries them. */
#include "spiral_rate.h"

#include "rate_search.h"
#include "sink.h"

#include <math.h>

enum {
    SEARCH_STEPS = 16,
    FULL_PASSES = 4,
    CURVE_SHARE = 40,
    TICKETS_LEAST = 13312,
    TICKETS_OF_CLASSES = 1 << 14,
    SAMPLE_TICKETS_A_POINT = 64
};

/* How much finer than for Gaussian weights the scale may become: then most of the tickets would lie outside the part of
 * the curve that is searched. */
#define FINER 2.5
/* Cells of area pi cost log2(2 e / scale^2) / 2. */
#define LOG_GAUSSIAN 1.2213
/* Below this rate a point in the middle of the distribution is worth more than round cells. */
#define CENTRE_RATE 0.8
/* Relative difference from the rate asked for that ends the search on a sample, and on the tensor. */
#define SAMPLE_TOLERANCE 0.002
#define TENSOR_TOLERANCE 0.004

tsr_status spiral_encoder_set_curve(struct spiral_encoder *encoder, const struct spiral_curve *curve, tsr_error *err) {
    encoder->curve = *curve;
    encoder->rings_memory = encoder->host->alloc(encoder->host, spiral_rings_bytes(curve->count));
    if (!encoder->rings_memory) return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory for %u points", curve->count);
    spiral_rings_init(&encoder->rings, curve, encoder->rings_memory);
    return TSR_OK;
}

/* The uniform curve as far as searches go: many times the mean ticket of a Gaussian, 2^(2 bits) / e, and so far that
 * the length of most escapes shows. */
static struct spiral_curve curve_for(const struct spiral_encoder *encoder) {
    const struct spiral_settings *settings = &encoder->settings;
    const double most = spiral_bucket_count(encoder) > 1 ? TICKETS_OF_CLASSES : SPIRAL_TICKETS_MAX;
    if (settings->points) return (struct spiral_curve){.companded = 1, .count = settings->points};
    double count = exact_exp2(2 * settings->bits) * CURVE_SHARE;
    if (count < TICKETS_LEAST) count = TICKETS_LEAST;
    if (count > most) count = most;
    return (struct spiral_curve){.delta = settings->bits < CENTRE_RATE ? 0 : 8, .count = (uint32_t)count};
}

/* What one prepare works with. */
struct preparation {
    struct spiral_encoder *encoder;
    const tsr_row_source *source;
    struct spiral_counts counts;
    struct rate_search search;
    uint8_t *header; /* once built, and its bytes */
    uint64_t header_bytes;
};

static tsr_status search_rate(struct preparation *work, tsr_error *err) {
    const struct spiral_measure measure = {.encoder = work->encoder, .source = work->source, .sample = true};
    struct rate_search *search = &work->search;
    double previous = search->at;
    for (uint32_t i = 0; i < SEARCH_STEPS; i++) {
        work->encoder->scale = exact_exp2(search->at);
        tsr_status status = spiral_measure_run(&measure, &work->counts, err);
        if (status != TSR_OK) return status;
        double rate = spiral_rate_estimate(work->encoder, &work->counts), at = search->at;
        if (rate_is_near(rate, search->asked, SAMPLE_TOLERANCE) || rate_search_is_over(search)) break;
        rate_search_next(search, rate, previous);
        previous = at;
    }
    return TSR_OK;
}

/* The factor between RMS and the companded curve by number of points, for Gaussian weights; and the ones tried beside.
 */
static tsr_status search_factor(struct preparation *work, tsr_error *err) {
    static const double FACTORS[] = {1, 0.9, 1.1, 1.25, 1.5};
    const struct spiral_measure measure = {.encoder = work->encoder, .source = work->source, .sample = true};
    const double octaves = exact_log2((double)work->encoder->settings.points) / 2;
    const double usual = octaves < 2 ? 0.6 + 0.3 * octaves : octaves < 4 ? 1 + 0.1 * octaves : 1.4;
    double best = 0, chosen = usual;
    for (uint32_t i = 0; i < sizeof FACTORS / sizeof FACTORS[0]; i++) {
        work->encoder->scale = usual * FACTORS[i];
        tsr_status status = spiral_measure_run(&measure, &work->counts, err);
        if (status != TSR_OK) return status;
        if (i > 0 && work->counts.sums.error >= best) continue;
        best = work->counts.sums.error;
        chosen = work->encoder->scale;
    }
    work->encoder->scale = chosen;
    return TSR_OK;
}

static void reset_classes(struct spiral_encoder *encoder) {
    encoder->class_count = spiral_bucket_count(encoder);
    for (uint32_t b = 0; b < SPIRAL_CLASSES_MAX; b++) {
        encoder->bucket_class[b] = (uint8_t)(b < encoder->class_count ? b : 0);
    }
}

static uint64_t header_bound(const struct spiral_encoder *encoder) {
    return 16 + 2 * VARINT_MAX + encoder->class_count * (2 + 2 * SPIRAL_OFFSETS_MAX) +
           encoder->class_count * encoder->entropy->model_bound(encoder->alphabet);
}

static void put_number(uint8_t *bytes, uint64_t *at, uint64_t value, unsigned size) {
    for (unsigned i = 0; i < size; i++) bytes[(*at)++] = (uint8_t)(value >> (8 * i));
}

static void put_classes(const struct spiral_encoder *encoder, uint8_t *bytes, uint64_t *at) {
    put_number(bytes, at, encoder->curve.delta, 1);
    put_number(bytes, at, encoder->low_bits, 1);
    put_number(bytes, at, encoder->class_count, 1);
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        const struct spiral_class *class = &encoder->classes[c];
        put_number(bytes, at, class->offset_count, 1);
        memcpy(bytes + *at, class->offsets, 2 * class->offset_count);
        *at += 2 * class->offset_count;
        put_number(bytes, at, class->shrink, 1);
    }
}

static tsr_status make_header(const struct spiral_encoder *encoder, uint8_t *bytes, uint64_t *size, tsr_error *err) {
    const bool rotate = encoder->settings.rotate, packed = encoder->model == NULL;
    uint64_t at = 0, model_bytes = 0;
    put_number(bytes, &at, encoder->curve.companded ? SPIRAL_COMPANDED : SPIRAL_UNIFORM, 1);
    put_number(bytes, &at, (rotate ? SPIRAL_ROTATED : 0) | (packed ? SPIRAL_PACKED : 0), 1);
    if (rotate) put_number(bytes, &at, encoder->seed, 8);
    put_number(bytes, &at, encoder->mantissa_bits, 1);
    put_varint(bytes, &at, (uint32_t)encoder->stride);
    put_varint(bytes, &at, encoder->alphabet);
    if (!encoder->curve.companded) put_classes(encoder, bytes, &at);
    tsr_status status = TSR_OK;
    if (!packed)
        status =
            encoder->entropy->model_write(encoder->model, bytes + at, header_bound(encoder) - at, &model_bytes, err);
    *size = at + model_bytes;
    return status;
}

/* Measures the tensor, or a sample, at the present scale and builds everything. */
static tsr_status build(struct preparation *work, bool sample, tsr_error *err) {
    struct spiral_encoder *encoder = work->encoder;
    const struct spiral_measure measure = {.encoder = encoder, .source = work->source, .sample = sample};
    struct spiral_bits bits = {0, 0};
    reset_classes(encoder);
    tsr_status status = spiral_measure_run(&measure, &work->counts, err);
    if (status != TSR_OK) return status;
    status = spiral_rate_build(encoder, &work->counts, &bits, err);
    if (status != TSR_OK) return status;
    encoder->host->free(encoder->host, work->header);
    work->header = encoder->host->alloc(encoder->host, header_bound(encoder));
    if (!work->header) return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory for a header");
    status = make_header(encoder, work->header, &work->header_bytes, err);
    bits.fixed += 8 * (double)work->header_bytes;
    work->search.rate = spiral_bits_rate(encoder, &bits, (double)work->counts.sums.weights);
    return status;
}

static tsr_status build_at_rate(struct preparation *work, tsr_error *err) {
    struct spiral_encoder *encoder = work->encoder;
    struct rate_search *search = &work->search;
    double at = exact_log2(encoder->scale), before_at = at, before = 0;
    for (uint32_t i = 0;; i++) {
        tsr_status status = build(work, false, err);
        if (status != TSR_OK || rate_is_near(search->rate, search->asked, TENSOR_TOLERANCE) || i == FULL_PASSES - 1)
            return status;
        if (i > 0 && at != before_at) {
            double slope = (search->rate - before) / (at - before_at);
            search->slope = slope < -1.2 ? -1.2 : slope > -0.2 ? -0.2 : slope;
        }
        before = search->rate;
        before_at = at;
        at -= (search->rate - search->asked) / search->slope;
        at = at < search->least ? search->least : at > search->most ? search->most : at;
        encoder->scale = exact_exp2(at);
    }
}

static tsr_status set_weighted_rms(struct preparation *work, tsr_error *err) {
    const struct spiral_measure measure = {.encoder = work->encoder, .source = work->source, .energy_only = true};
    if (spiral_bucket_count(work->encoder) == 1) return TSR_OK;
    tsr_status status = spiral_measure_run(&measure, &work->counts, err);
    const struct spiral_sums *sums = &work->counts.sums;
    work->encoder->weighted_rms = sqrt(sums->weights ? sums->weighted_energy / (double)sums->weights : 0);
    return status;
}

/* With a fixed number of points nothing is won by coarse steps but their bits. */
static uint32_t choose_mantissa_bits(const struct spiral_encoder *encoder) {
    if (encoder->settings.points) return encoder->settings.points < 64 ? 5 : 7;
    return row_step_mantissa_bits(encoder->tensor->columns);
}

static tsr_status prepare_points(struct preparation *work, tsr_error *err) {
    const uint64_t points = work->encoder->settings.points;
    tsr_status status = search_factor(work, err);
    bool sample = work->counts.sums.bucket_tickets[0] >= points * SAMPLE_TICKETS_A_POINT;
    return status == TSR_OK ? build(work, sample, err) : status;
}

void spiral_encoder_clear(struct spiral_encoder *encoder) {
    if (!encoder->host) return;
    if (encoder->model) encoder->entropy->model_destroy(encoder->host, encoder->model);
    encoder->host->free(encoder->host, encoder->rings_memory);
}

static tsr_status create_counts(struct preparation *work, tsr_error *err) {
    const tsr_host *host = work->encoder->host;
    struct spiral_counts *counts = &work->counts;
    counts->buckets = spiral_bucket_count(work->encoder);
    counts->tickets = work->encoder->rings.count;
    const uint64_t entries = (uint64_t)counts->buckets * counts->tickets;
    counts->counts = host->alloc(host, (entries + counts->tickets) * sizeof *counts->counts);
    if (!counts->counts) return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory for counts");
    counts->scratch = counts->counts + entries;
    return TSR_OK;
}

static tsr_status prepare(struct preparation *work, tsr_error *err) {
    struct spiral_encoder *encoder = work->encoder;
    const struct spiral_curve curve = curve_for(encoder);
    reset_classes(encoder);
    encoder->mantissa_bits = choose_mantissa_bits(encoder);
    tsr_status status = spiral_encoder_set_curve(encoder, &curve, err);
    if (status == TSR_OK) status = create_counts(work, err);
    if (status == TSR_OK) status = set_weighted_rms(work, err);
    if (status != TSR_OK) return status;
    if (encoder->settings.points) return prepare_points(work, err);
    status = search_rate(work, err);
    return status == TSR_OK ? build_at_rate(work, err) : status;
}

tsr_status spiral_prepare(struct spiral_encoder *encoder, const tsr_row_source *source, const tsr_writer *header,
                          tsr_error *err) {
    const tsr_host *host = encoder->host;
    struct preparation *work = host->alloc(host, sizeof *work);
    if (!work) return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory to prepare");
    memset(work, 0, sizeof *work);
    work->encoder = encoder;
    work->source = source;
    const double bits = encoder->settings.bits;
    work->search = rate_search_begin(bits, LOG_GAUSSIAN, LOG_GAUSSIAN - bits - FINER);
    tsr_status status = prepare(work, err);
    if (status == TSR_OK) status = header->write(header->ctx, work->header, work->header_bytes, err);
    host->free(host, work->header);
    host->free(host, work->counts.counts);
    host->free(host, work);
    return status;
}
