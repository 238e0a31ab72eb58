/* SPDX-License-Identifier: Apache-2.0
 *
 * The arithmetic of rates. All decisions here end in stored bytes, so they use no libm. */
#include "spiral_rate.h"

/* Most of the rate that fixed costs may take from the weights. */
#define FIXED_SHARE 0.1
/* Relative saving that finer probabilities must bring. */
#define FINE_GAIN 0.0003
/* Squared error of a pair within a cell of area pi, in steps: what one offset is measured against. */
#define CELL_ERROR 0.5

enum {
    CLASS_TICKETS_LEAST = 1 << 11,  /* a smaller class costs more in tables than it saves */
    STREAM_OVERHEAD_BITS = 8 * 102, /* states of the coder, less what they carry, and the fixed part of a tile */
    HEADER_BITS = 8 * 24,
    SYMBOL_TABLE_BITS = 5, /* about what the model stores for each symbol */
    ESCAPE_BITS = 16,      /* two varints of one byte, */
    FAR_ESCAPE_BITS = 8,   /* more when one of them is longer: that is so */
    FAR_TICKETS = 12600,   /* from here on: 63.5 times sqrt(pi) */
    OFFSET_BITS = 16
};

static uint64_t tile_count(const struct spiral_encoder *encoder) {
    return encoder->tensor->rows * encoder->tensor->columns / (UINT64_C(1) << 18) + 1;
}

double spiral_bits_rate(const struct spiral_encoder *encoder, const struct spiral_bits *bits, double weights) {
    double most = encoder->settings.bits * FIXED_SHARE;
    if (weights == 0) return encoder->settings.bits;
    return bits->weights / weights + (bits->fixed / weights < most ? bits->fixed / weights : most);
}

/* Symbols that can stand for tickets at a number of raw bits: all that 16 bits, the model and the searched part of the
 * curve have. The outermost points have no neighbours outside, so what is nearest to them need not be near. */
static uint32_t symbols_most(const struct spiral_encoder *encoder, uint32_t low_bits) {
    uint32_t count = encoder->rings.count, margin = 0;
    while (margin * margin < count) margin++;
    uint32_t most = (count > 8 * margin ? count - 8 * margin : 1) >> low_bits;
    return most < 1 ? 1 : most > SPIRAL_SYMBOLS_MAX - 1 ? SPIRAL_SYMBOLS_MAX - 1 : most;
}

static uint64_t far_tickets(const struct spiral_counts *counts, uint32_t class) {
    uint64_t far = 0;
    for (uint32_t n = FAR_TICKETS; n < counts->tickets; n++) far += spiral_counts_of(counts, class)[n];
    return far;
}

/* How tickets become symbols, for each number of raw bits: bits of the tickets, of the tables, and the symbols of each
 * class, those left out being escapes. */
struct cutting {
    double tickets[SPIRAL_LOW_BITS_MAX + 1], tables[SPIRAL_LOW_BITS_MAX + 1];
    uint32_t symbols[SPIRAL_LOW_BITS_MAX + 1][SPIRAL_CLASSES_MAX];
};

/* One class: its tickets, in groups of 2^(raw bits), and how many are far out. */
struct class_counts {
    uint32_t index;
    uint64_t total, far;
    const uint64_t *counts;
};

/* A symbol rarer than one slot of the coder's 2^probability_bits takes the slot from the others all the same. */
static void cut_class(const struct spiral_encoder *encoder, const struct class_counts *class, uint32_t low_bits,
                      uint32_t probability_bits, double table_bits, struct cutting *cutting) {
    const uint64_t total = class->total, far = class->far;
    const double slot = (double)total / (double)(1u << probability_bits);
    const uint32_t most = symbols_most(encoder, low_bits);
    double kept = 0, best = 0, best_tickets = 0;
    uint64_t inside = 0;
    uint32_t chosen = 1;
    for (uint32_t m = 1; m <= most && total > 0; m++) {
        uint64_t count = class->counts[m - 1];
        inside += count;
        kept += exact_entropy_bits((double)count, (double)total);
        if ((double)count < slot) kept += (slot - (double)count) * 1.4426950408889634;
        uint64_t outside = total - inside;
        double tickets = kept + exact_entropy_bits((double)outside, (double)total) + ESCAPE_BITS * (double)outside +
                         FAR_ESCAPE_BITS * (double)(outside < far ? outside : far);
        if (m == 1 || tickets + m * table_bits < best) {
            best = tickets + m * table_bits;
            best_tickets = tickets;
            chosen = m;
        }
        if (outside == 0) break;
    }
    cutting->tickets[low_bits] += best_tickets + (double)total * low_bits;
    cutting->tables[low_bits] += chosen * table_bits;
    cutting->symbols[low_bits][class->index] = chosen;
}

/* Returns the cheapest number of raw bits. */
static uint32_t cut(const struct spiral_encoder *encoder, const struct spiral_counts *counts, uint32_t classes,
                    uint32_t probability_bits, double table_bits, struct cutting *cutting) {
    uint64_t *own = counts->scratch;
    uint32_t best = 0;
    memset(cutting, 0, sizeof *cutting);
    for (uint32_t c = 0; c < classes; c++) {
        const struct class_counts class = {c, counts->sums.bucket_tickets[c], far_tickets(counts, c), own};
        uint32_t count = counts->tickets;
        memcpy(own, spiral_counts_of(counts, c), count * sizeof *own);
        for (uint32_t b = 0; b <= SPIRAL_LOW_BITS_MAX; b++) {
            cut_class(encoder, &class, b, probability_bits, table_bits, cutting);
            for (uint32_t s = 0; 2 * s < count; s++) own[s] = own[2 * s] + (2 * s + 1 < count ? own[2 * s + 1] : 0);
            count = (count + 1) / 2;
        }
    }
    for (uint32_t b = 1; b <= SPIRAL_LOW_BITS_MAX; b++) {
        if (cutting->tickets[b] + cutting->tables[b] < cutting->tickets[best] + cutting->tables[best]) best = b;
    }
    return best;
}

double spiral_rate_estimate(const struct spiral_encoder *encoder, const struct spiral_counts *counts) {
    double all = (double)encoder->tensor->rows * (double)encoder->tensor->columns;
    double part = all > 0 ? (double)counts->sums.weights / all : 1;
    struct cutting cutting;
    uint32_t low_bits = cut(encoder, counts, counts->buckets, 12, SYMBOL_TABLE_BITS * part, &cutting);
    struct spiral_bits bits = {cutting.tickets[low_bits], (double)(counts->sums.side_bits + counts->sums.raw_bits)};
    bits.fixed += (HEADER_BITS + (double)STREAM_OVERHEAD_BITS * (double)tile_count(encoder)) * part;
    bits.fixed += cutting.tables[low_bits];
    return spiral_bits_rate(encoder, &bits, (double)counts->sums.weights);
}

/* Adjacent buckets share a class until it is worth a table of its own. */
static void assign_classes(struct spiral_encoder *encoder, const struct spiral_counts *counts) {
    uint64_t tickets = 0, left = 0;
    uint32_t class = 0;
    for (uint32_t b = 0; b < SPIRAL_CLASSES_MAX; b++) left += counts->sums.bucket_tickets[b];
    for (uint32_t b = 0; b < SPIRAL_CLASSES_MAX; b++) {
        encoder->bucket_class[b] = (uint8_t) class;
        tickets += counts->sums.bucket_tickets[b];
        left -= counts->sums.bucket_tickets[b];
        if (tickets < CLASS_TICKETS_LEAST || left < CLASS_TICKETS_LEAST) continue;
        tickets = 0;
        class ++;
    }
    encoder->class_count = class + 1;
}

static void add_moments(struct spiral_moments *to, const struct spiral_moments *from) {
    for (uint32_t n = 0; n < SPIRAL_OFFSETS_MAX; n++) {
        to->counts[n] += from->counts[n];
        to->sums[2 * n] += from->sums[2 * n];
        to->sums[2 * n + 1] += from->sums[2 * n + 1];
    }
    to->along += from->along;
    to->square += from->square;
}

/* Moves counts of buckets to the place of their class; a class never has a larger number than its buckets. */
static void fold(const struct spiral_encoder *encoder, struct spiral_counts *counts) {
    struct spiral_sums *sums = &counts->sums;
    for (uint32_t b = 0; b < counts->buckets; b++) {
        uint32_t class = encoder->bucket_class[b];
        if (class == b) continue;
        if (b == 0 || encoder->bucket_class[b - 1] != class) {
            memset(spiral_counts_of(counts, class), 0, counts->tickets * sizeof *counts->counts);
            memset(&sums->moments[class], 0, sizeof sums->moments[class]);
            sums->bucket_tickets[class] = 0;
        }
        sums->bucket_tickets[class] += sums->bucket_tickets[b];
        add_moments(&sums->moments[class], &sums->moments[b]);
        uint64_t *to = spiral_counts_of(counts, class);
        for (uint32_t n = 0; n < counts->tickets; n++) to[n] += spiral_counts_of(counts, b)[n];
    }
}

/* 12-bit probabilities, or 14 bits where these save FINE_GAIN: their tables are four times as large. */
static uint32_t choose_alphabet(struct spiral_encoder *encoder, const struct spiral_counts *counts) {
    struct cutting coarse, fine;
    encoder->alphabet = encoder->settings.points;
    encoder->low_bits = 0;
    if (encoder->settings.points) return encoder->settings.points > 256 ? 14 : 12;
    uint32_t low[2] = {cut(encoder, counts, encoder->class_count, 12, SYMBOL_TABLE_BITS, &coarse),
                       cut(encoder, counts, encoder->class_count, 14, SYMBOL_TABLE_BITS, &fine)};
    double bits = coarse.tickets[low[0]] + coarse.tables[low[0]];
    int chosen = fine.tickets[low[1]] + fine.tables[low[1]] < (1 - FINE_GAIN) * bits;
    encoder->low_bits = low[chosen];
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        uint32_t symbols = (chosen ? &fine : &coarse)->symbols[encoder->low_bits][c];
        encoder->classes[c].symbols = symbols;
        if (symbols >= encoder->alphabet) encoder->alphabet = symbols + 1;
    }
    return chosen ? 14 : 12;
}

static int8_t rounded(double value) {
    value = value < -127 ? -127 : value > 127 ? 127 : value;
    return (int8_t)(value < 0 ? value - 0.5 : value + 0.5);
}

/* Points move to the mean of what was nearest to them: all by one factor, the first ones each by itself, as far as
 * that is worth its bits. */
static void set_centroids(const struct spiral_encoder *encoder, struct spiral_class *class,
                          const struct spiral_moments *moments) {
    double along = moments->along, square = moments->square;
    for (uint32_t n = 0; n < SPIRAL_OFFSETS_MAX && n < encoder->rings.count; n++) {
        double px = (double)encoder->rings.x[n], py = (double)encoder->rings.y[n], count = (double)moments->counts[n];
        along += count * (px * px + py * py) + moments->sums[2 * n] * px + moments->sums[2 * n + 1] * py;
        square += count * (px * px + py * py);
    }
    double shrink = square > 0 ? (1 - along / square) * 512 + 0.5 : 0;
    class->shrink = (uint8_t)(shrink < 0 ? 0 : shrink > 255 ? 255 : shrink);
    class->offset_count = 0;
    double saved = 0, best = 0;
    for (uint32_t n = 0; n < SPIRAL_OFFSETS_MAX && n < encoder->rings.count; n++) {
        double count = (double)moments->counts[n], factor = class->shrink / 512.0;
        double dx = count > 0 ? moments->sums[2 * n] / count : 0, dy = count > 0 ? moments->sums[2 * n + 1] / count : 0;
        double ox = dx + factor * (double)encoder->rings.x[n], oy = dy + factor * (double)encoder->rings.y[n];
        class->offsets[2 * n] = rounded(dx * 64);
        class->offsets[2 * n + 1] = rounded(dy * 64);
        saved += count * (ox * ox + oy * oy) / CELL_ERROR * 1.4426950408889634 - OFFSET_BITS;
        if (saved <= best) continue;
        best = saved;
        class->offset_count = n + 1;
    }
}

/* Counts of the model, [class][alphabet], none below `least` for symbols of a class and the escape. Returns the bits
 * that are not the model's: raw bits and escapes. */
static double model_counts(const struct spiral_encoder *encoder, const struct spiral_counts *counts, unsigned shift,
                           uint32_t least, uint32_t *model) {
    const uint32_t alphabet = encoder->alphabet, low_bits = encoder->low_bits;
    double outside_bits = 0;
    memset(model, 0, (size_t)encoder->class_count * alphabet * sizeof *model);
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        uint32_t *own = model + (size_t)c * alphabet;
        const uint32_t kept = encoder->settings.points ? alphabet : encoder->classes[c].symbols;
        const uint64_t *tickets = spiral_counts_of(counts, c);
        uint64_t escapes = 0, far = far_tickets(counts, c);
        for (uint32_t s = 0; s < kept; s++) {
            uint64_t count = 0;
            for (uint32_t n = s << low_bits; n < (s + 1) << low_bits; n++) count += tickets[n];
            own[s] = (uint32_t)(count >> shift) > least ? (uint32_t)(count >> shift) : least;
        }
        for (uint32_t n = kept << low_bits; n < counts->tickets; n++) escapes += tickets[n];
        outside_bits += (double)counts->sums.bucket_tickets[c] * low_bits + ESCAPE_BITS * (double)escapes;
        outside_bits += FAR_ESCAPE_BITS * (double)(escapes < far ? escapes : far);
        escapes >>= shift;
        if (kept < alphabet) own[alphabet - 1] = (uint32_t)escapes > least ? (uint32_t)escapes : least;
    }
    return outside_bits;
}

/* With a fixed number of points, packed tickets may be no larger than coded ones with their table. */
static tsr_status drop_model(struct spiral_encoder *encoder, const struct spiral_counts *counts, double *weights,
                             tsr_error *err) {
    const double tensor = (double)encoder->tensor->rows * (double)encoder->tensor->columns;
    const double part = counts->sums.weights ? tensor / (double)counts->sums.weights : 1;
    const double packed = (double)counts->sums.bucket_tickets[0] * spiral_ticket_bits(encoder->alphabet);
    uint64_t table = 0, bound = encoder->entropy->model_bound(encoder->alphabet);
    uint8_t *bytes = encoder->host->alloc(encoder->host, bound);
    if (!bytes) return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory for a model");
    tsr_status status = encoder->entropy->model_write(encoder->model, bytes, bound, &table, err);
    encoder->host->free(encoder->host, bytes);
    if (status != TSR_OK) return status;
    double overhead = 8 * (double)table + STREAM_OVERHEAD_BITS * (double)tile_count(encoder);
    if (packed * part > *weights * part + overhead) return TSR_OK;
    encoder->entropy->model_destroy(encoder->host, encoder->model);
    encoder->model = NULL;
    *weights = packed;
    return TSR_OK;
}

tsr_status spiral_rate_build(struct spiral_encoder *encoder, struct spiral_counts *counts, struct spiral_bits *bits,
                             tsr_error *err) {
    unsigned shift = 0;
    while (counts->sums.weights >> shift > UINT32_MAX / 2) shift++;
    assign_classes(encoder, counts);
    fold(encoder, counts);
    uint32_t probability_bits = choose_alphabet(encoder, counts);
    for (uint32_t c = 0; c < encoder->class_count && !encoder->settings.points; c++) {
        set_centroids(encoder, &encoder->classes[c], &counts->sums.moments[c]);
    }
    const tsr_entropy_shape shape = {sizeof shape, encoder->alphabet, encoder->class_count, probability_bits, 0};
    uint64_t entries = (uint64_t)encoder->class_count * shape.alphabet;
    uint32_t *model = encoder->host->alloc(encoder->host, entries * sizeof *model);
    if (!model) return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory for %llu counts", (unsigned long long)entries);
    /* Every symbol can be coded: what encode meets may differ slightly from what was counted. */
    double outside = model_counts(encoder, counts, shift, 1, model);
    encoder->entropy->model_destroy(encoder->host, encoder->model);
    encoder->model = NULL;
    tsr_status status = encoder->entropy->model_create_contexts(encoder->host, model, &shape, &encoder->model, err);
    (void)model_counts(encoder, counts, shift, 0, model);
    double coded = status == TSR_OK ? encoder->entropy->model_cost(encoder->model, model) : 0;
    encoder->host->free(encoder->host, model);
    bits->weights = coded * (double)(UINT64_C(1) << shift) + outside;
    bits->fixed = (double)(counts->sums.side_bits + counts->sums.raw_bits) +
                  (double)STREAM_OVERHEAD_BITS * (double)tile_count(encoder);
    if (status == TSR_OK && encoder->settings.points) status = drop_model(encoder, counts, &bits->weights, err);
    return status;
}
