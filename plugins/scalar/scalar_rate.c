/* SPDX-License-Identifier: Apache-2.0
 *
 * The arithmetic of rates. All decisions here end in stored bytes, so they use no libm. */
#include "scalar_rate.h"

/* Most of the rate that fixed costs may take from the weights. */
#define FIXED_SHARE 0.1
/* Relative saving that finer probabilities must bring. */
#define FINE_GAIN 0.0003

enum {
    CLASS_WEIGHTS_LEAST = 1 << 12,  /* a smaller class costs more in tables than it saves */
    STREAM_OVERHEAD_BITS = 8 * 102, /* states of the coder, less what they carry, and the fixed part of a tile */
    HEADER_BITS = 8 * 12,
    SYMBOL_TABLE_BITS = 5, /* about what the model stores for each symbol */
    SCALAR_MIDDLE = SCALAR_LIMIT_MAX
};

/* Bits of `count` events among `total` at their own frequency. */
static double entropy_bits(uint64_t count, uint64_t total) {
    return count == 0 ? 0 : (double)count * (exact_log2((double)total) - exact_log2((double)count));
}

static uint64_t tile_count(const struct scalar_encoder *encoder) {
    return encoder->tensor->rows * encoder->tensor->columns / SCALAR_MEASURE_BLOCK + 1;
}

double scalar_bits_rate(const struct scalar_encoder *encoder, const struct scalar_bits *bits, double weights) {
    double most = encoder->settings.bits * FIXED_SHARE;
    if (weights == 0) return encoder->settings.bits;
    return bits->weights / weights + (bits->fixed / weights < most ? bits->fixed / weights : most);
}

double scalar_rate_estimate(const struct scalar_encoder *encoder, const struct scalar_counts *counts) {
    double all = (double)encoder->tensor->rows * (double)encoder->tensor->columns;
    double part = all > 0 ? (double)counts->sums.weights / all : 1;
    struct scalar_bits bits = {0, (double)(counts->sums.side_bits + counts->sums.raw_bits)};
    bits.fixed += (HEADER_BITS + (double)STREAM_OVERHEAD_BITS * (double)tile_count(encoder)) * part;
    for (uint32_t b = 0; b < counts->buckets; b++) {
        uint64_t total = counts->sums.bucket_weights[b];
        for (uint32_t s = 0; total > 0 && s < SCALAR_SYMBOLS_MAX; s++) {
            uint64_t count = counts->symbols[b][s];
            bits.weights += entropy_bits(count, total);
            if (count > 1) bits.fixed += SYMBOL_TABLE_BITS * part;
            if (s == SCALAR_SYMBOLS_MAX - 1) bits.weights += 24 * (double)count;
        }
    }
    return scalar_bits_rate(encoder, &bits, (double)counts->sums.weights);
}

void scalar_rate_points(const struct scalar_counts *counts, struct scalar_points *points) {
    memcpy(points->overshoot, counts->sums.overshoot, sizeof points->overshoot);
    for (uint32_t b = 0; b < counts->buckets; b++) {
        for (uint32_t m = 1; m <= SCALAR_OFFSETS_MAX; m++) {
            points->counts[b][m - 1] = counts->symbols[b][SCALAR_MIDDLE + m] + counts->symbols[b][SCALAR_MIDDLE - m];
        }
    }
}

/* Neighbouring buckets share a class until it is large enough; what is left over joins the last one. */
static void assign_classes(struct scalar_encoder *encoder, const struct scalar_counts *counts) {
    uint64_t weights = 0, left = 0;
    uint32_t class = 0;
    for (uint32_t b = 0; b < SCALAR_CLASSES_MAX; b++) left += counts->sums.bucket_weights[b];
    for (uint32_t b = 0; b < SCALAR_CLASSES_MAX; b++) {
        encoder->bucket_class[b] = (uint8_t) class;
        weights += counts->sums.bucket_weights[b];
        if (weights < CLASS_WEIGHTS_LEAST || left - weights < CLASS_WEIGHTS_LEAST) continue;
        left -= weights;
        weights = 0;
        class ++;
    }
    encoder->class_count = class + 1;
}

/* Moves counts of buckets to the place of their class; a class never has a larger number than its buckets. */
static void fold(const struct scalar_encoder *encoder, struct scalar_counts *counts) {
    for (uint32_t b = 0; b < counts->buckets; b++) {
        uint32_t class = encoder->bucket_class[b];
        bool first = b == 0 || encoder->bucket_class[b - 1] != class;
        if (class == b) continue;
        if (first) {
            memset(counts->symbols[class], 0, sizeof counts->symbols[class]);
            counts->sums.bucket_weights[class] = 0;
        }
        counts->sums.bucket_weights[class] += counts->sums.bucket_weights[b];
        for (uint32_t s = 0; s < SCALAR_SYMBOLS_MAX; s++) counts->symbols[class][s] += counts->symbols[b][s];
    }
}

/* Where the tail begins to be cheaper as escapes, and the bits that all symbols cost then. A symbol rarer than one slot
 * of the coder's 2^probability_bits takes the slot from the others all the same. */
static uint32_t choose_limit(const uint64_t *symbols, uint64_t total, uint32_t probability_bits, double *best) {
    const double slot = (double)total / (double)(1u << probability_bits);
    double kept = 0;
    uint64_t inside = symbols[SCALAR_MIDDLE], one_byte = 0; /* escapes that take one byte, of all */
    uint32_t limit = 0;
    for (uint32_t m = 1; m < 64; m++) one_byte += symbols[SCALAR_MIDDLE + m] + symbols[SCALAR_MIDDLE - m];
    for (uint32_t m = 0; m < SCALAR_LIMIT_MAX; m++) {
        uint64_t pair[2] = {symbols[SCALAR_MIDDLE + m], m ? symbols[SCALAR_MIDDLE - m] : 0};
        if (m) inside += pair[0] + pair[1];
        if (m && m < 64) one_byte -= pair[0] + pair[1];
        for (int i = 0; i < (m ? 2 : 1); i++) {
            kept += entropy_bits(pair[i], total) + SYMBOL_TABLE_BITS;
            if ((double)pair[i] < slot) kept += (slot - (double)pair[i]) * 1.4426950408889634;
        }
        uint64_t outside = total - inside;
        double cost = kept + entropy_bits(outside, total) + 16 * (double)outside - 8 * (double)one_byte;
        if (m == 0 || cost < *best) {
            *best = cost;
            limit = m;
        }
        if (outside == 0) break;
    }
    return limit;
}

/* Limits of all classes for one precision of the coder, and the bits of all symbols. */
static double choose_limits(const struct scalar_encoder *encoder, const struct scalar_counts *counts,
                            uint32_t probability_bits, uint32_t *limits) {
    double sum = 0;
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        double bits = 0;
        limits[c] = choose_limit(counts->symbols[c], counts->sums.bucket_weights[c], probability_bits, &bits);
        sum += bits;
    }
    return sum;
}

/* 12-bit probabilities, or 14 bits where these save FINE_GAIN: their tables are four times as large. */
static uint32_t choose_probability_bits(struct scalar_encoder *encoder, const struct scalar_counts *counts) {
    uint32_t limits[2][SCALAR_CLASSES_MAX];
    double coarse = choose_limits(encoder, counts, 12, limits[0]), fine = choose_limits(encoder, counts, 14, limits[1]);
    int chosen = fine < (1 - FINE_GAIN) * coarse;
    encoder->middle = 0;
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        uint32_t limit = limits[chosen][c];
        encoder->classes[c].limit = limit;
        if (limit > encoder->middle) encoder->middle = limit;
    }
    return chosen ? 14 : 12;
}

static void set_offsets(struct scalar_encoder *encoder, const struct scalar_points *points) {
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        struct scalar_class *class = &encoder->classes[c];
        class->offset_count = 0;
        for (uint32_t m = 0; encoder->settings.centroids && m < SCALAR_OFFSETS_MAX && m < class->limit; m++) {
            double sum = 0, count = 0;
            for (uint32_t b = 0; b < SCALAR_CLASSES_MAX; b++) {
                if (encoder->bucket_class[b] != c) continue;
                sum += points->overshoot[b][m];
                count += (double)points->counts[b][m];
            }
            double offset = count > 0 ? sum / count * 256 : 0;
            offset = offset < -127 ? -127 : offset > 127 ? 127 : offset;
            class->offsets[m] = (int8_t)(offset < 0 ? offset - 0.5 : offset + 0.5);
            if (class->offsets[m] != 0) class->offset_count = m + 1;
        }
    }
}

/* Counts of the model, [class][2M+2]. Every symbol up to the class's limit can be coded, and the escape: what encode
 * meets may differ slightly from what was counted. Returns the bits that escapes take outside the model. */
static double model_counts(const struct scalar_encoder *encoder, const struct scalar_counts *counts, unsigned shift,
                           uint32_t *model) {
    const uint32_t alphabet = 2 * encoder->middle + 2;
    double outside_bits = 0;
    memset(model, 0, (size_t)encoder->class_count * alphabet * sizeof *model);
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        uint32_t *own = model + (size_t)c * alphabet;
        uint64_t escapes = counts->symbols[c][SCALAR_SYMBOLS_MAX - 1];
        outside_bits += (double)escapes * 24;
        for (uint32_t s = 0; s < SCALAR_SYMBOLS_MAX - 1; s++) {
            uint32_t magnitude = s < SCALAR_MIDDLE ? SCALAR_MIDDLE - s : s - SCALAR_MIDDLE;
            uint64_t count = counts->symbols[c][s];
            if (magnitude > encoder->classes[c].limit) {
                escapes += count;
                outside_bits += (double)count * (magnitude < 64 ? 8 : 16);
                continue;
            }
            own[encoder->middle + s - SCALAR_MIDDLE] = (uint32_t)(count >> shift) + (count >> shift == 0);
        }
        own[alphabet - 1] = (uint32_t)(escapes >> shift) + (escapes >> shift == 0);
    }
    return outside_bits;
}

tsr_status scalar_rate_build(struct scalar_encoder *encoder, struct scalar_counts *counts,
                             const struct scalar_points *points, struct scalar_bits *bits, tsr_error *err) {
    unsigned shift = 0;
    while (counts->sums.weights >> shift > UINT32_MAX / 2) shift++;
    assign_classes(encoder, counts);
    fold(encoder, counts);
    uint32_t probability_bits = choose_probability_bits(encoder, counts);
    set_offsets(encoder, points);
    const tsr_entropy_shape shape = {sizeof shape, 2 * encoder->middle + 2, encoder->class_count, probability_bits, 0};
    uint64_t entries = (uint64_t)encoder->class_count * shape.alphabet;
    uint32_t *model = encoder->host->alloc(encoder->host, entries * sizeof *model);
    if (!model) return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for %llu counts", (unsigned long long)entries);
    double outside = model_counts(encoder, counts, shift, model);
    encoder->entropy->model_destroy(encoder->host, encoder->model);
    encoder->model = NULL;
    tsr_status status = encoder->entropy->model_create_contexts(encoder->host, model, &shape, &encoder->model, err);
    double coded = status == TSR_OK ? encoder->entropy->model_cost(encoder->model, model) : 0;
    encoder->host->free(encoder->host, model);
    bits->weights = coded * (double)(UINT64_C(1) << shift) + outside;
    bits->fixed = (double)(counts->sums.side_bits + counts->sums.raw_bits) +
                  (double)STREAM_OVERHEAD_BITS * (double)tile_count(encoder);
    return status;
}
