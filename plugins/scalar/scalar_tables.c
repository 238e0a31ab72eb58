/* SPDX-License-Identifier: Apache-2.0
 *
 * See scalar_tables.h. All decisions here end in stored bytes, so they use no libm. */
#include "scalar_tables.h"

#include "escape.h"

enum { SYMBOL_BITS = 5 /* about what the model stores for each symbol */, MIDDLE = SHAPE_LIMIT_MAX };

/* tail[m]: how many have a magnitude of m or more; those beyond all symbols are the last entry. */
static void sum_tail(const uint32_t *symbols, double *tail) {
    tail[SHAPE_LIMIT_MAX + 1] = symbols[SCALAR_SYMBOLS_MAX - 1];
    for (uint32_t m = SHAPE_LIMIT_MAX; m > 0; m--)
        tail[m] = tail[m + 1] + (double)symbols[MIDDLE + m] + (double)symbols[MIDDLE - m];
    tail[0] = tail[1] + (double)symbols[MIDDLE];
}

/* Bits of one symbol's table entry and codes. A symbol rarer than one slot of the coder's 2^probability_bits takes the slot
 * from the others all the same. */
static double symbol_bits(double count, double total, double slot) {
    const double taken = count < slot ? (slot - count) * 1.4426950408889634 : 0;
    return exact_entropy_bits(count, total) + SYMBOL_BITS + taken;
}

/* Where the tail begins to be cheaper as escapes, and the bits that all symbols cost then. */
static uint32_t choose_limit(const uint32_t *symbols, uint32_t probability_bits, double *best) {
    double tail[SHAPE_LIMIT_MAX + 2], kept = 0;
    uint32_t limit = 0;
    sum_tail(symbols, tail);
    const double total = tail[0], slot = total / (double)(1u << probability_bits);
    for (uint32_t m = 0; m < SHAPE_LIMIT_MAX; m++) {
        kept += symbol_bits(symbols[MIDDLE + m], total, slot);
        if (m > 0) kept += symbol_bits(symbols[MIDDLE - m], total, slot);
        const uint32_t far = m + 65 <= SHAPE_LIMIT_MAX ? m + 65 : SHAPE_LIMIT_MAX + 1;
        const double cost = kept + exact_entropy_bits(tail[m + 1], total) + ESCAPE_BITS * tail[m + 1] + (ESCAPE_FAR_BITS - ESCAPE_BITS) * tail[far];
        if (m == 0 || cost < *best) {
            *best = cost;
            limit = m;
        }
        if (tail[m + 1] == 0) break;
    }
    return limit;
}

struct scalar_tables scalar_tables_plan(const struct scalar_tallies *tallies, uint32_t probability_bits) {
    struct scalar_tables tables = {.probability_bits = probability_bits};
    for (uint32_t s = 0; s < tallies->scales; s++) {
        double bits = 0;
        tables.limits[s] = choose_limit(tallies->symbols[s], probability_bits, &bits);
        tables.bits += bits + (tables.limits[s] < 128 ? 8 : 16);
    }
    return tables;
}

/* Counts of the model, [scale][2M+2]. Every symbol up to the scale's limit can be coded, and the escape: what encode
 * meets may differ slightly from what was counted. Returns the bits that escapes take outside the model. */
static double model_counts(const struct shape_model *model, const struct scalar_tallies *tallies, uint32_t *counts) {
    const uint32_t alphabet = 2 * model->middle + 2;
    double outside_bits = 0;
    memset(counts, 0, (size_t)tallies->scales * alphabet * sizeof *counts);
    for (uint32_t c = 0; c < tallies->scales; c++, counts += alphabet) {
        const uint32_t *symbols = tallies->symbols[c], limit = model->limits[c];
        uint32_t escapes = symbols[SCALAR_SYMBOLS_MAX - 1];
        outside_bits += ESCAPE_FAR_BITS * (double)escapes;
        for (uint32_t s = 0; s < SCALAR_SYMBOLS_MAX - 1; s++) {
            const uint32_t magnitude = s < MIDDLE ? MIDDLE - s : s - MIDDLE;
            if (magnitude > limit) {
                escapes += symbols[s];
                outside_bits += (double)symbols[s] * escape_bits(magnitude - limit);
                continue;
            }
            counts[model->middle + s - MIDDLE] = symbols[s] ? symbols[s] : 1;
        }
        counts[alphabet - 1] = escapes ? escapes : 1;
    }
    return outside_bits;
}

tsr_status scalar_tables_create(struct scalar_encoder *encoder, const struct scalar_tallies *tallies,
                                const struct scalar_tables *tables, double *bits, tsr_error *err) {
    struct shape_model *model = &encoder->model;
    model->middle = 0;
    memcpy(model->limits, tables->limits, sizeof tables->limits);
    for (uint32_t s = 0; s < tallies->scales; s++) {
        if (tables->limits[s] > model->middle) model->middle = tables->limits[s];
    }
    const tsr_entropy_shape form = {sizeof form, 2 * model->middle + 2, tallies->scales, tables->probability_bits, 0};
    const uint64_t entries = (uint64_t)form.contexts * form.alphabet;
    uint32_t *counts = encoder->host->alloc(encoder->host, entries * sizeof *counts);
    if (!counts) return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for %llu counts", (unsigned long long)entries);
    const double outside = model_counts(model, tallies, counts);
    encoder->entropy->model_destroy(encoder->host, model->entropy);
    model->entropy = NULL;
    tsr_status status = encoder->entropy->model_create_contexts(encoder->host, counts, &form, &model->entropy, err);
    const double coded = status == TSR_OK ? encoder->entropy->model_cost(model->entropy, counts) : 0;
    encoder->host->free(encoder->host, counts);
    *bits = (coded + outside) * (double)(UINT64_C(1) << tallies->shift);
    return status;
}
