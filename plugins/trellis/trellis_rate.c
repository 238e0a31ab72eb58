/* SPDX-License-Identifier: Apache-2.0
 *
 * The arithmetic of rates. All decisions here end in stored bytes, so they use no libm. */
#include "trellis_rate.h"

#include "escape.h"
#include "shape_fit.h"

#include <math.h>

/* Most of the rate that fixed costs may take from the weights. */
#define FIXED_SHARE 0.1
/* Relative saving that finer probabilities must bring. */
#define FINE_GAIN 0.0003
/* What a bit is worth in squared steps. At high rates error and rate of a quantiser trade at 2 ln 2 times the error,
 * 0.35; larger values with smaller steps were better at 1 to 4 bits (README). */
#define LAMBDA 0.42
/* How far costs move beyond what was counted: the slowest way to their fixed point shrinks by a quarter a round. */
#define RELAX 1.6
#define LOG2_E 1.4426950408889634

_Static_assert(TRELLIS_COSTS == SHAPE_LIMIT_MAX + 1, "a cost for every magnitude that has a symbol");

enum {
    LEARN_LEAST = 1 << 10,         /* weights of a scale whose costs are learned */
    TRUST_LEAST = 1 << 9,          /* and of one whose entropy is believed */
    STREAM_OVERHEAD_BITS = 8 * 76, /* states of the coder, less what they carry, and the fixed part of a tile */
    SCALE_BITS = 17,               /* about what the shape of one scale takes */
    OFFSET_COUNT_LEAST = 64,
    OFFSET_LEAST = 2,
    MIDDLE = SHAPE_LIMIT_MAX
};

static double tensor_weights(const struct trellis_encoder *encoder) {
    return (double)encoder->tensor->rows * (double)encoder->tensor->columns;
}

static double tile_count(const struct trellis_encoder *encoder) {
    return (double)((uint64_t)tensor_weights(encoder) >> 22) + 1;
}

double trellis_bits_rate(const struct trellis_encoder *encoder, const struct trellis_bits *bits) {
    double most = encoder->settings.bits * FIXED_SHARE, fixed = bits->fixed / tensor_weights(encoder);
    return bits->weights + (fixed < most ? fixed : most);
}

/* ---- costs ---- */

/* A Gaussian of the scale's spread over the points of one quantiser, which are two steps apart. */
static void guess_scale(struct trellis_encoder *encoder, uint32_t scale) {
    const double units = (double)(encoder->row_low + (int32_t)scale);
    const double spread = exact_exp2(units * (1u << encoder->shape.unit) / 4) / encoder->scale;
    for (uint32_t q = 0; q < 2; q++) {
        float *costs = trellis_costs(encoder, false, scale, q);
        for (uint32_t m = 0; m < TRELLIS_COSTS; m++) {
            double point = (double)index_point(q, m) / spread;
            double bits = point * point * (LOG2_E / 2) + 1.3257 + exact_log2(spread / 2);
            bits = bits < 0.1 ? 0.1 : bits > 30 ? 30 : bits;
            costs[m] = (float)(LAMBDA * bits);
        }
    }
}

void trellis_rate_guess(struct trellis_encoder *encoder) {
    for (uint32_t s = 0; s < encoder->shape.scales; s++) guess_scale(encoder, s);
}

static uint64_t tally_total(const struct trellis_tally *tally) {
    uint64_t total = 0;
    for (uint32_t s = 0; s < SHAPE_SYMBOLS_MAX; s++) total += tally->symbols[s];
    return total;
}

/* Costs of one quantiser from its counts: both signs cost the same, what was not seen a little more than what was seen
 * once. */
static void learn_quantiser(struct trellis_encoder *encoder, uint32_t scale, uint32_t quantiser,
                            const struct trellis_tally *tally) {
    const uint64_t total = tally_total(tally);
    const double total_log = exact_log2((double)(total ? total : 1));
    float *costs = trellis_costs(encoder, false, scale, quantiser);
    for (uint32_t m = 0; m < TRELLIS_COSTS; m++) {
        uint64_t both = (uint64_t)tally->symbols[MIDDLE + m] + tally->symbols[MIDDLE - m];
        double bits = total_log - exact_log2(both ? (double)both / 2 : 0.3), now = (double)costs[m];
        now += RELAX * (LAMBDA * bits - now);
        costs[m] = now < 0 ? 0 : (float)now;
    }
}

void trellis_rate_learn(struct trellis_encoder *encoder, const struct trellis_counts *counts) {
    for (uint32_t s = 0; s < encoder->shape.scales; s++) {
        if (counts->scale_weights[s] < LEARN_LEAST) continue;
        for (uint32_t q = 0; q < 2; q++) learn_quantiser(encoder, s, q, &counts->tallies[s][q]);
    }
}

/* Bits a weight of the whole tensor from those of each scale in a sample: scales as they are in the tensor. One that the
 * sample hardly has costs what the nearest costs, and what their distance does. */
static double mean_bits(const struct trellis_encoder *encoder, const double *bits, const uint64_t *weights) {
    const double octaves = (1u << encoder->shape.unit) / 4.0;
    double sum = 0;
    for (uint32_t s = 0; s < encoder->shape.scales; s++) {
        uint32_t distance = 0, near = s;
        for (; distance < SHAPE_SCALES_MAX; distance++) {
            near = s + distance;
            if (near < encoder->shape.scales && weights[near] >= TRUST_LEAST) break;
            near = s - distance;
            if (distance <= s && weights[near] >= TRUST_LEAST) break;
        }
        if (distance == SHAPE_SCALES_MAX) near = s;
        if (weights[near] == 0) continue;
        const double own = bits[near] / (double)weights[near] + octaves * ((double)s - (double)near);
        sum += encoder->scale_share[s] * (own > 0 ? own : 0);
    }
    return sum;
}

/* Bits that the header takes besides the columns. */
static double header_bits(const struct trellis_encoder *encoder) {
    const double lists = 66 + SCALE_BITS * (double)encoder->shape.scales;
    return 8 * TRELLIS_HEADER_FIXED + 2 * 8 * 2 * (double)shape_groups(&encoder->shape) + lists;
}

struct trellis_bits trellis_rate_estimate(const struct trellis_encoder *encoder, const struct trellis_counts *counts,
                                          uint64_t side_bits) {
    const double part = tensor_weights(encoder) / (double)(counts->weights ? counts->weights : 1);
    double bits[SHAPE_SCALES_MAX] = {0};
    for (uint32_t s = 0; s < encoder->shape.scales; s++) {
        for (uint32_t q = 0; q < 2 && counts->scale_weights[s] > 0; q++) {
            const struct trellis_tally *tally = &counts->tallies[s][q];
            const double total = (double)tally_total(tally);
            for (uint32_t i = 0; i < SHAPE_SYMBOLS_MAX; i++) bits[s] += exact_entropy_bits(tally->symbols[i], total);
        }
    }
    return (struct trellis_bits){mean_bits(encoder, bits, counts->scale_weights),
                                 header_bits(encoder) + (double)side_bits + (double)encoder->columns.bits +
                                     (double)counts->raw_bits * part + STREAM_OVERHEAD_BITS * tile_count(encoder)};
}

/* ---- shapes, points, model ---- */

/* Costs of a context by its frequencies f, and the bits of what was counted in it. */
static double take_frequencies(struct trellis_encoder *encoder, uint32_t context, const struct trellis_tally *tally,
                               const uint32_t *f) {
    const uint32_t limit = encoder->model.limits[context];
    const double whole = encoder->shape.probability_bits;
    const double escape = whole - exact_log2((double)f[2 * limit + 1]);
    float *costs = trellis_costs(encoder, true, context / 2, context % 2);
    double sum = (escape + 3 * ESCAPE_BITS) * tally->symbols[SHAPE_SYMBOLS_MAX - 1];
    for (uint32_t m = 0; m < TRELLIS_COSTS; m++) {
        double both = (double)tally->symbols[MIDDLE + m] + (m ? (double)tally->symbols[MIDDLE - m] : 0);
        double bits = m > limit ? escape + escape_bits(m - limit)
                                : whole - exact_log2((double)f[limit + m]);
        costs[m] = (float)(LAMBDA * bits);
        sum += both * bits;
    }
    return sum;
}

/* Limits and costs of all contexts at the shape's precision. Bits of what was counted. */
static double take_shape(struct trellis_encoder *encoder, const struct trellis_counts *counts, uint32_t *room,
                         double *bits) {
    double sum = 0;
    for (uint32_t s = 0; s < encoder->shape.scales; s++) {
        bits[s] = 0;
        for (uint32_t q = 0; q < 2; q++) {
            encoder->model.limits[2 * s + q] = shape_frequencies(&encoder->shape, s, q, room);
            bits[s] += take_frequencies(encoder, 2 * s + q, &counts->tallies[s][q], room);
        }
        sum += bits[s];
    }
    return sum;
}

/* 12-bit probabilities, or 14 bits where these save FINE_GAIN: their tables are four times as large. */
static tsr_status choose_shape(struct trellis_encoder *encoder, const struct trellis_counts *counts, uint32_t *room,
                               tsr_error *err) {
    const uint32_t *symbols[SHAPE_CONTEXTS_MAX];
    double bits[SHAPE_SCALES_MAX], sums[2];
    struct shape shapes[2];
    for (uint32_t i = 0; i < SHAPE_CONTEXTS_MAX; i++) symbols[i] = counts->tallies[i / 2][i % 2].symbols;
    for (uint32_t fine = 0; fine < 2; fine++) {
        encoder->shape.probability_bits = fine ? 14 : 12;
        tsr_status status = shape_fit(encoder->host, symbols, &encoder->shape, err);
        if (status != TSR_OK) return status;
        sums[fine] = take_shape(encoder, counts, room, bits);
        shapes[fine] = encoder->shape;
    }
    encoder->shape = shapes[sums[1] < (1 - FINE_GAIN) * sums[0]];
    return TSR_OK;
}

/* Points move to the mean of what was coded by them. */
static void set_offsets(struct trellis_encoder *encoder, const struct trellis_counts *counts, uint32_t group,
                        uint32_t quantiser) {
    struct offsets *offsets = &encoder->offsets[2 * group + quantiser];
    offsets->count = 0;
    for (uint32_t m = 1; m <= OFFSETS_MAX; m++) {
        double count = 0, sum = 0;
        for (uint32_t s = 0; s < encoder->shape.scales; s++) {
            const struct trellis_tally *tally = &counts->tallies[s][quantiser];
            if (shape_group(&encoder->shape, s) != group) continue;
            count += (double)tally->symbols[MIDDLE + m] + (double)tally->symbols[MIDDLE - m];
            sum += tally->overshoot[m - 1];
        }
        const int8_t rounded = offset_nearest(count >= OFFSET_COUNT_LEAST ? sum / count * 128 : 0);
        offsets->values[m - 1] = rounded;
        if (rounded > OFFSET_LEAST || rounded < -OFFSET_LEAST) offsets->count = m;
    }
}

static void set_base(struct trellis_encoder *encoder) {
    const double units = (double)encoder->row_low * (1u << encoder->shape.unit) / 4;
    encoder->shape.base = (int32_t)floor(16 * (units - exact_log2(encoder->scale)) + 0.5);
}

tsr_status trellis_rate_build(struct trellis_encoder *encoder, const struct trellis_counts *counts, uint64_t side_bits,
                              struct trellis_bits *bits, tsr_error *err) {
    const tsr_host *host = encoder->host;
    double of_scale[SHAPE_SCALES_MAX];
    uint32_t *room = host->alloc(host, SHAPE_SYMBOLS_MAX * sizeof *room);
    if (!room) return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for frequencies");
    set_base(encoder);
    tsr_status status = choose_shape(encoder, counts, room, err);
    if (status == TSR_OK) status = shape_model_create(host, encoder->entropy, &encoder->shape, &encoder->model, err);
    if (status == TSR_OK) {
        (void)take_shape(encoder, counts, room, of_scale);
        for (uint32_t g = 0; g < 2 * shape_groups(&encoder->shape); g++) set_offsets(encoder, counts, g / 2, g % 2);
        bits->weights = mean_bits(encoder, of_scale, counts->scale_weights);
        bits->fixed = (double)side_bits + STREAM_OVERHEAD_BITS * tile_count(encoder) +
                      (double)counts->raw_bits * tensor_weights(encoder) /
                          (double)(counts->weights ? counts->weights : 1);
    }
    host->free(host, room);
    return status;
}
