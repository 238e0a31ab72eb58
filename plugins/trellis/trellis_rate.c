/* SPDX-License-Identifier: Apache-2.0
 *
 * The arithmetic of rates. All decisions here end in stored bytes, so they use no libm. */
#include "trellis_rate.h"

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

_Static_assert(TRELLIS_COSTS == TRELLIS_LIMIT_MAX + 1, "a cost for every magnitude that has a symbol");

enum {
    CLASS_WEIGHTS_LEAST = 1 << 12, /* a smaller class costs more in tables than it saves */
    STREAM_OVERHEAD_BITS = 8 * 76, /* states of the coder, less what they carry, and the fixed part of a tile */
    HEADER_BITS = 8 * 12,
    SYMBOL_TABLE_BITS = 5, /* about what the model stores for each symbol */
    ESCAPE_BITS = 8,       /* and as many more for indices beyond 63 */
    MIDDLE = TRELLIS_LIMIT_MAX
};

double trellis_log2(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    double exponent = (double)((int64_t)(bits >> 52) - 1023);
    bits = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1023) << 52;
    memcpy(&value, &bits, sizeof bits);
    if (value > 1.4142135623730951) {
        value /= 2;
        exponent += 1;
    }
    /* ln m = 2 artanh((m - 1) / (m + 1)) */
    double t = (value - 1) / (value + 1), square = t * t, sum = 0;
    for (int k = 17; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
    return exponent + 2 * t * sum * LOG2_E;
}

double trellis_exp2(double value) {
    int whole = (int)(value < 0 ? value - 0.5 : value + 0.5);
    double x = (value - whole) * 0.6931471805599453, sum = 1;
    for (int k = 14; k >= 1; k--) sum = 1 + sum * x / k;
    uint64_t bits = (uint64_t)(whole + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

/* Bits of `count` events among `total` at their own frequency. */
static double entropy_bits(uint64_t count, uint64_t total) {
    return count == 0 ? 0 : (double)count * (trellis_log2((double)total) - trellis_log2((double)count));
}

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

static float *costs_of(const struct trellis_encoder *encoder, uint32_t index, uint32_t quantiser) {
    return encoder->cost_memory + ((uint64_t)index * 2 + quantiser) * TRELLIS_COSTS;
}

/* A Gaussian of the bucket's spread over the points of one quantiser, which are two steps apart. */
static void guess_bucket(struct trellis_encoder *encoder, uint32_t bucket) {
    double spread = 1 / encoder->scale;
    if (trellis_bucket_count(encoder) > 1) spread *= trellis_exp2(((double)bucket - 8) / 2);
    for (uint32_t q = 0; q < 2; q++) {
        for (uint32_t m = 0; m < TRELLIS_COSTS; m++) {
            double point = (double)trellis_point(q, m) / spread;
            double bits = point * point * (LOG2_E / 2) + 1.3257 + trellis_log2(spread / 2);
            bits = bits < 0.1 ? 0.1 : bits > 30 ? 30 : bits;
            costs_of(encoder, bucket, q)[m] = (float)(LAMBDA * bits);
        }
    }
}

void trellis_rate_guess(struct trellis_encoder *encoder) {
    for (uint32_t i = 0; i < 2 * TRELLIS_CLASSES_MAX; i++) {
        for (uint32_t q = 0; q < 2; q++) encoder->costs[i].cost[q] = costs_of(encoder, i, q);
    }
    for (uint32_t b = 0; b < trellis_bucket_count(encoder); b++) guess_bucket(encoder, b);
}

static uint64_t tally_total(const struct trellis_tally *tally) {
    uint64_t total = 0;
    for (uint32_t s = 0; s < TRELLIS_SYMBOLS_MAX; s++) total += tally->symbols[s];
    return total;
}

/* Costs of one quantiser from its counts: both signs cost the same, what was not seen a little more than what was seen
 * once, and magnitudes beyond the limit what escapes cost. */
static void learn_quantiser(struct trellis_encoder *encoder, uint32_t index, uint32_t quantiser,
                            const struct trellis_tally *tally, uint32_t limit, double relax) {
    const uint64_t total = tally_total(tally);
    const double total_log = trellis_log2((double)(total ? total : 1));
    float *costs = costs_of(encoder, index, quantiser);
    uint64_t outside = tally->symbols[TRELLIS_SYMBOLS_MAX - 1];
    for (uint32_t m = limit + 1; m <= MIDDLE; m++)
        outside += (uint64_t)tally->symbols[MIDDLE + m] + tally->symbols[MIDDLE - m];
    const double escape = total_log - trellis_log2(outside ? (double)outside : 0.3) + ESCAPE_BITS;
    for (uint32_t m = 0; m < TRELLIS_COSTS; m++) {
        uint64_t both = (uint64_t)tally->symbols[MIDDLE + m] + tally->symbols[MIDDLE - m];
        double bits = total_log - trellis_log2(both ? (double)both / 2 : 0.3);
        if (m > limit) bits = escape + (m < 64 ? 0 : ESCAPE_BITS);
        double now = relax == 1 ? 0 : (double)costs[m];
        now += relax * (LAMBDA * bits - now);
        costs[m] = now < 0 ? 0 : (float)now;
    }
}

void trellis_rate_learn(struct trellis_encoder *encoder, const struct trellis_counts *counts) {
    for (uint32_t b = 0; b < counts->buckets; b++) {
        if (counts->bucket_weights[b] < CLASS_WEIGHTS_LEAST / 4) continue;
        for (uint32_t q = 0; q < 2; q++)
            learn_quantiser(encoder, b, q, &counts->tallies[b][q], TRELLIS_LIMIT_MAX, RELAX);
    }
}

struct trellis_bits trellis_rate_estimate(const struct trellis_encoder *encoder, const struct trellis_counts *counts,
                                          uint64_t side_bits) {
    double weights = 0, tables = 0, part = tensor_weights(encoder) / (double)(counts->weights ? counts->weights : 1);
    for (uint32_t b = 0; b < counts->buckets; b++) {
        for (uint32_t q = 0; q < 2; q++) {
            const struct trellis_tally *tally = &counts->tallies[b][q];
            const uint64_t total = tally_total(tally);
            for (uint32_t s = 0; total > 0 && s < TRELLIS_SYMBOLS_MAX; s++) {
                weights += entropy_bits(tally->symbols[s], total);
                if (tally->symbols[s] > 1) tables += SYMBOL_TABLE_BITS;
            }
        }
    }
    return (struct trellis_bits){weights * part / tensor_weights(encoder),
                                 tables + HEADER_BITS + (double)side_bits + (double)counts->raw_bits * part +
                                     STREAM_OVERHEAD_BITS * tile_count(encoder)};
}

/* ---- classes, limits, points, model ---- */

/* Adjacent buckets share a class until it is worth a table of its own. */
static void assign_classes(struct trellis_encoder *encoder, const struct trellis_counts *counts) {
    uint64_t weights = 0, left = 0;
    uint32_t class = 0;
    for (uint32_t b = 0; b < TRELLIS_CLASSES_MAX; b++) left += counts->bucket_weights[b];
    for (uint32_t b = 0; b < TRELLIS_CLASSES_MAX; b++) {
        encoder->bucket_class[b] = (uint8_t) class;
        weights += counts->bucket_weights[b];
        left -= counts->bucket_weights[b];
        if (weights < CLASS_WEIGHTS_LEAST || left < CLASS_WEIGHTS_LEAST) continue;
        weights = 0;
        class ++;
    }
    encoder->class_count = class + 1;
}

static void add_tally(struct trellis_tally *to, const struct trellis_tally *from) {
    for (uint32_t s = 0; s < TRELLIS_SYMBOLS_MAX; s++) to->symbols[s] += from->symbols[s];
    for (uint32_t m = 0; m < TRELLIS_OFFSETS_MAX; m++) to->overshoot[m] += from->overshoot[m];
}

/* Moves counts of buckets to the place of their class; a class never has a larger number than its buckets. */
static void fold(const struct trellis_encoder *encoder, struct trellis_counts *counts) {
    for (uint32_t b = 0; b < counts->buckets; b++) {
        uint32_t class = encoder->bucket_class[b];
        if (class == b) continue;
        if (b == 0 || encoder->bucket_class[b - 1] != class) {
            memset(counts->tallies[class], 0, sizeof counts->tallies[class]);
            counts->bucket_weights[class] = 0;
        }
        counts->bucket_weights[class] += counts->bucket_weights[b];
        for (uint32_t q = 0; q < 2; q++) add_tally(&counts->tallies[class][q], &counts->tallies[b][q]);
    }
}

/* Where the tail begins to be cheaper as escapes, and the bits that all symbols cost then. A symbol rarer than one slot
 * of the coder's 2^probability_bits takes the slot from the others all the same. */
static uint32_t choose_limit(const struct trellis_tally *tallies, uint32_t probability_bits, double *best) {
    const uint64_t totals[2] = {tally_total(&tallies[0]), tally_total(&tallies[1])};
    uint64_t inside[2] = {0, 0};
    double kept = 0;
    uint32_t limit = 0;
    for (uint32_t m = 0; m < TRELLIS_LIMIT_MAX; m++) {
        double cost = 0;
        for (uint32_t q = 0; q < 2; q++) {
            const double slot = (double)totals[q] / (double)(1u << probability_bits);
            for (uint32_t n = 0; n < (m ? 2 : 1); n++) {
                uint64_t count = tallies[q].symbols[n ? MIDDLE - m : MIDDLE + m];
                inside[q] += count;
                kept += entropy_bits(count, totals[q]) + SYMBOL_TABLE_BITS;
                if ((double)count < slot) kept += (slot - (double)count) * LOG2_E;
            }
            uint64_t outside = totals[q] - inside[q];
            cost += entropy_bits(outside, totals[q]) + ESCAPE_BITS * (m < 63 ? 1 : 2) * (double)outside;
        }
        if (m == 0 || kept + cost < *best) {
            *best = kept + cost;
            limit = m;
        }
        if (inside[0] == totals[0] && inside[1] == totals[1]) break;
    }
    return limit;
}

/* 12-bit probabilities, or 14 bits where these save FINE_GAIN: their tables are four times as large. */
static uint32_t choose_probability_bits(struct trellis_encoder *encoder, const struct trellis_counts *counts) {
    uint32_t limits[2][TRELLIS_CLASSES_MAX];
    double sums[2] = {0, 0};
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        for (uint32_t fine = 0; fine < 2; fine++) {
            double bits = 0;
            limits[fine][c] = choose_limit(counts->tallies[c], fine ? 14 : 12, &bits);
            sums[fine] += bits;
        }
    }
    int chosen = sums[1] < (1 - FINE_GAIN) * sums[0];
    encoder->middle = 0;
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        encoder->limits[c] = limits[chosen][c];
        if (encoder->limits[c] > encoder->middle) encoder->middle = encoder->limits[c];
    }
    return chosen ? 14 : 12;
}

/* Points move to the mean of what was coded by them. */
static void set_offsets(struct trellis_offsets *offsets, const struct trellis_tally *tally, uint32_t limit) {
    offsets->count = 0;
    for (uint32_t m = 1; m <= TRELLIS_OFFSETS_MAX && m <= limit; m++) {
        uint64_t count = (uint64_t)tally->symbols[MIDDLE + m] + tally->symbols[MIDDLE - m];
        double offset = count ? tally->overshoot[m - 1] / (double)count * 128 : 0;
        offset = offset < -127 ? -127 : offset > 127 ? 127 : offset;
        offsets->values[m - 1] = (int8_t)(offset < 0 ? offset - 0.5 : offset + 0.5);
        if (offsets->values[m - 1] != 0) offsets->count = m;
    }
}

/* Counts of the model, [class][quantiser][2M+2], none below `least` for what can be coded: what encode meets may differ
 * slightly from what was counted. Returns the bits that escapes take outside the model. */
static double model_counts(const struct trellis_encoder *encoder, const struct trellis_counts *counts, uint32_t floor,
                           uint32_t *model) {
    const uint32_t alphabet = 2 * encoder->middle + 2;
    double outside_bits = 0;
    memset(model, 0, (size_t)encoder->class_count * 2 * alphabet * sizeof *model);
    for (uint32_t context = 0; context < 2 * encoder->class_count; context++) {
        const uint32_t limit = encoder->limits[context / 2];
        const struct trellis_tally *tally = &counts->tallies[context / 2][context % 2];
        uint32_t *own = model + (size_t)context * alphabet, escapes = tally->symbols[TRELLIS_SYMBOLS_MAX - 1];
        outside_bits += 3.0 * ESCAPE_BITS * escapes;
        for (uint32_t s = 0; s < TRELLIS_SYMBOLS_MAX - 1; s++) {
            const uint32_t magnitude = s < MIDDLE ? MIDDLE - s : s - MIDDLE, count = tally->symbols[s];
            if (magnitude > limit) {
                escapes += count;
                outside_bits += (double)ESCAPE_BITS * (magnitude < 64 ? 1 : 2) * count;
            } else {
                own[encoder->middle + s - MIDDLE] = count > floor ? count : floor;
            }
        }
        own[alphabet - 1] = escapes > floor ? escapes : floor;
    }
    return outside_bits;
}

tsr_status trellis_rate_build(struct trellis_encoder *encoder, struct trellis_counts *counts, uint64_t side_bits,
                              struct trellis_bits *bits, tsr_error *err) {
    const tsr_host *host = encoder->host;
    assign_classes(encoder, counts);
    fold(encoder, counts);
    uint32_t probability_bits = choose_probability_bits(encoder, counts);
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        for (uint32_t q = 0; q < 2; q++) {
            const struct trellis_tally *tally = &counts->tallies[c][q];
            set_offsets(&encoder->offsets[2 * c + q], tally, encoder->limits[c]);
            learn_quantiser(encoder, TRELLIS_CLASSES_MAX + c, q, tally, encoder->limits[c], 1);
        }
    }
    const tsr_entropy_shape shape = {sizeof shape, 2 * encoder->middle + 2, 2 * encoder->class_count, probability_bits,
                                     0};
    uint32_t *model = host->alloc(host, (uint64_t)shape.contexts * shape.alphabet * sizeof *model);
    if (!model) return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for %u counts", shape.contexts * shape.alphabet);
    encoder->entropy->model_destroy(host, encoder->model);
    encoder->model = NULL;
    double outside = model_counts(encoder, counts, 1, model);
    tsr_status status = encoder->entropy->model_create_contexts(host, model, &shape, &encoder->model, err);
    (void)model_counts(encoder, counts, 0, model);
    double coded = status == TSR_OK ? encoder->entropy->model_cost(encoder->model, model) : 0;
    host->free(host, model);
    const double measured = (double)(counts->weights ? counts->weights : 1);
    bits->weights = (coded + outside) / measured;
    bits->fixed = (double)side_bits + (double)counts->raw_bits * tensor_weights(encoder) / measured +
                  STREAM_OVERHEAD_BITS * tile_count(encoder);
    return status;
}
