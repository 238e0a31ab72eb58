/* SPDX-License-Identifier: Apache-2.0
 *
 * Models of the entropy coder: counts become probabilities that are multiples of 2^-bits, and these become the tables
 * of coder and decoder. Integer arithmetic only, so that the same counts give the same model on every machine. */
#include "entropy_rans.h"

#include <math.h>
#include <string.h>

#define SCALE_BITS 46 /* fixed point of the factor from counts to frequencies */
#define LOG_BITS 16   /* fixed point of logarithms */

static uint32_t bits_for(uint32_t values) {
    uint32_t bits = 0;
    while ((UINT32_C(1) << bits) < values) bits++;
    return bits;
}

static tsr_status shape_check(const tsr_entropy_shape *shape, tsr_error *err) {
    if (shape->alphabet < 1 || shape->alphabet > TSR_ENTROPY_ALPHABET_MAX || shape->contexts < 1 ||
        shape->contexts > TSR_ENTROPY_CONTEXTS_MAX || shape->probability_bits < 8 || shape->probability_bits > 14) {
        return tsr_fail(err, TSR_E_ARGUMENT,
                        "entropy model: %u symbols, %u contexts, %u bits, expected 1..%d, 1..%d, 8..14",
                        (unsigned)shape->alphabet, (unsigned)shape->contexts, (unsigned)shape->probability_bits,
                        TSR_ENTROPY_ALPHABET_MAX, TSR_ENTROPY_CONTEXTS_MAX);
    }
    return TSR_OK;
}

tsr_status entropy_model_alloc(const tsr_host *host, const tsr_entropy_shape *shape, tsr_entropy_model **model,
                               tsr_error *err) {
    *model = NULL;
    tsr_status status = shape_check(shape, err);
    if (status != TSR_OK) return status;
    uint32_t stride_bits = bits_for(shape->alphabet);
    uint64_t symbol_bytes = ((uint64_t)shape->contexts << stride_bits) * sizeof(struct rans_symbol);
    uint64_t slot_bytes = (((uint64_t)shape->contexts << shape->probability_bits) + 1) * sizeof(uint16_t);
    uint8_t *memory = host->alloc(host, 64 + symbol_bytes + slot_bytes);
    if (!memory) return tsr_fail(err, TSR_E_NOMEM, "entropy model: no memory for %u symbols", (unsigned)shape->alphabet);
    memset(memory, 0, (size_t)(64 + symbol_bytes + slot_bytes));
    *model = (tsr_entropy_model *)(void *)memory;
    **model = (struct tsr_entropy_model){.alphabet = shape->alphabet,
                                         .contexts = shape->contexts,
                                         .bits = shape->probability_bits,
                                         .stride_bits = stride_bits,
                                         .symbols = (struct rans_symbol *)(void *)(memory + 64),
                                         .slot_symbol = (uint16_t *)(void *)(memory + 64 + symbol_bytes)};
    return TSR_OK;
}

_Static_assert(sizeof(struct tsr_entropy_model) <= 64, "the tables of a model begin 64 bytes behind it");

bool entropy_model_finish(tsr_entropy_model *model) {
    for (uint32_t c = 0; c < model->contexts; c++) {
        struct rans_symbol *symbols = model->symbols + ((uint64_t)c << model->stride_bits);
        uint16_t *slots = model->slot_symbol + ((uint64_t)c << model->bits);
        uint32_t start = 0;
        for (uint32_t s = 0; s < model->alphabet; s++) {
            uint32_t freq = symbols[s].freq;
            if (freq == 0) continue;
            if (freq > (UINT32_C(1) << model->bits) - start) return false;
            symbols[s].start = (uint16_t)start;
            symbols[s].reciprocal = UINT32_MAX / freq;
            for (uint32_t i = 0; i < freq; i++) slots[start + i] = (uint16_t)s;
            start += freq;
        }
        if (start != 0 && start != UINT32_C(1) << model->bits) return false;
    }
    return true;
}

/* Frequencies for one factor: every used symbol gets at least 1. Returns their sum. */
static uint64_t frequencies_at(const uint32_t *counts, uint32_t alphabet, unsigned shift, uint64_t factor,
                               struct rans_symbol *symbols) {
    uint64_t sum = 0;
    for (uint32_t s = 0; s < alphabet; s++) {
        if (counts[s] == 0) continue;
        uint64_t freq = (((uint64_t)counts[s] >> shift) * factor + (UINT64_C(1) << (SCALE_BITS - 1))) >> SCALE_BITS;
        if (freq == 0) freq = 1;
        if (symbols) symbols[s].freq = (uint16_t)freq;
        sum += freq;
    }
    return sum;
}

/* The used symbol that gains most by one slot more: largest count / (freq + 1/2), the slope of count * log(freq). */
static uint32_t most_starved(const uint32_t *counts, uint32_t alphabet, const struct rans_symbol *symbols) {
    uint32_t best = alphabet;
    for (uint32_t s = 0; s < alphabet; s++) {
        if (counts[s] == 0) continue;
        if (best == alphabet || (uint64_t)counts[s] * (2u * symbols[best].freq + 1) >
                                    (uint64_t)counts[best] * (2u * symbols[s].freq + 1)) best = s;
    }
    return best;
}

/* counts[] of one context to frequencies with sum 2^bits: the largest factor whose rounded frequencies do not exceed
 * the sum, then single slots to where they gain most. */
static void normalise(const uint32_t *counts, uint32_t alphabet, uint32_t bits, struct rans_symbol *symbols) {
    uint64_t total = 0, sum;
    unsigned shift = 0;
    for (uint32_t s = 0; s < alphabet; s++) total += counts[s];
    if (total == 0) return;
    while ((total >> shift) > UINT32_MAX) shift++;
    uint64_t low = 0, high = (UINT64_C(2) << (SCALE_BITS + bits)) / (total >> shift);
    /* 2^-24 is finer than any frequency of 14 bits can tell. */
    while (high - low > 1 + (high >> 24)) {
        uint64_t middle = low + (high - low) / 2;
        if (frequencies_at(counts, alphabet, shift, middle, NULL) <= UINT64_C(1) << bits) low = middle;
        else high = middle;
    }
    sum = frequencies_at(counts, alphabet, shift, low, symbols);
    for (; sum < UINT64_C(1) << bits; sum++) symbols[most_starved(counts, alphabet, symbols)].freq++;
}

tsr_status entropy_model_create(const tsr_host *host, const uint32_t *counts, const tsr_entropy_shape *shape,
                                tsr_entropy_model **model, tsr_error *err) {
    tsr_status status = entropy_model_alloc(host, shape, model, err);
    if (status != TSR_OK) return status;
    for (uint32_t c = 0; c < shape->contexts; c++) {
        const uint32_t *own = counts + (uint64_t)c * shape->alphabet;
        uint32_t used = 0;
        for (uint32_t s = 0; s < shape->alphabet; s++) used += own[s] != 0;
        if (used > UINT32_C(1) << shape->probability_bits) {
            entropy_model_destroy(host, *model);
            *model = NULL;
            return tsr_fail(err, TSR_E_ARGUMENT, "entropy model: %u symbols in use, %u bits hold at most %u",
                            (unsigned)used, (unsigned)shape->probability_bits, 1u << shape->probability_bits);
        }
        normalise(own, shape->alphabet, shape->probability_bits,
                  (*model)->symbols + ((uint64_t)c << (*model)->stride_bits));
    }
    (void)entropy_model_finish(*model);
    return TSR_OK;
}

void entropy_model_destroy(const tsr_host *host, tsr_entropy_model *model) {
    host->free(host, model);
}

/* log2(value) for value >= 1 in fixed point, truncated: the integer part is the highest bit, each squaring of the
 * mantissa yields one more bit (Knuth, The Art of Computer Programming 1.2.2, exercise 25). */
static uint32_t log2_fixed(uint32_t value) {
    uint32_t whole = 31 - (uint32_t)__builtin_clz(value);
    uint64_t mantissa = (uint64_t)value << (31 - whole); /* 1.31 */
    uint32_t result = whole;
    for (int i = 0; i < LOG_BITS; i++) {
        mantissa = (mantissa * mantissa) >> 31;
        uint32_t bit = (uint32_t)(mantissa >> 32);
        mantissa >>= bit;
        result = result * 2 + bit;
    }
    return result;
}

double entropy_model_cost(const tsr_entropy_model *model, const uint32_t *counts) {
    double cost = 0; /* sums of multiples of 2^-16 below 2^53: exact */
    for (uint32_t c = 0; c < model->contexts; c++) {
        for (uint32_t s = 0; s < model->alphabet; s++) {
            uint32_t count = counts[(uint64_t)c * model->alphabet + s];
            uint32_t freq = model->symbols[((uint64_t)c << model->stride_bits) + s].freq;
            if (count == 0) continue;
            if (freq == 0) return HUGE_VAL;
            cost += (double)count * (double)((model->bits << LOG_BITS) - log2_fixed(freq));
        }
    }
    return cost / (1 << LOG_BITS);
}
