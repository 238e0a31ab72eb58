/* SPDX-License-Identifier: Apache-2.0
 *
 * Level max: contexts from the scales of rows and columns. The weights of a matrix are roughly a product of a row
 * scale, a column scale and noise, so the sum of both on a log axis tells which distribution a weight's head comes
 * from. A head symbol is itself a log scale (exponent and leading mantissa bits), hence the log scale of a row is the
 * mean symbol of the row, and everything stays in integers: the same bytes on every machine. */
#include "passthrough_encoder.h"

#include <string.h>

#define UNIT_BITS 4        /* means are kept in 1/16 symbols */
#define CLASS_SYMBOL_BITS 2 /* a class is a quarter of an octave: 2 mantissa bits */
#define FLOOR_OCTAVES 12   /* weights smaller than this below the largest ones count as if they were not */
#define CLASS_SHIFT_NONE INT32_MIN
#define WEIGHTS_MIN (UINT64_C(1) << 14)

struct scaling {
    struct passthrough_encoder *encoder;
    struct passthrough_field *field;
    struct passthrough_scales scales;
    int32_t shift;       /* log2 of symbols a class, at least -CLASS_SYMBOL_BITS */
    uint32_t floor, top; /* symbols are clipped to these for the means */
    int32_t *row_means;
    int64_t *column_sums; /* of the rows' deviations from their means */
    uint32_t *counts;     /* [SUMS][alphabet] */
    uint16_t *values;
};

static uint32_t symbol_of(const struct passthrough_field *field, uint16_t value) {
    return (uint32_t)value >> field->low_bits & ((UINT32_C(1) << field->symbol_bits) - 1);
}

static uint32_t clip(const struct scaling *scaling, uint32_t symbol) {
    if (symbol > scaling->top) return scaling->top;
    return symbol < scaling->floor ? scaling->floor : symbol;
}

/* The range of symbols that means are taken over: up to the one that 99.9 % do not exceed. */
static void choose_range(struct scaling *scaling, const uint32_t *counts) {
    uint32_t alphabet = passthrough_alphabet(scaling->field), top = alphabet;
    uint64_t total = 0, above = 0;
    for (uint32_t s = 0; s < alphabet; s++) total += counts[s];
    while (top > 1 && (above + counts[top - 1]) * 1000 <= total) above += counts[--top];
    uint32_t range = FLOOR_OCTAVES << (CLASS_SYMBOL_BITS + scaling->shift);
    scaling->top = top - 1;
    scaling->floor = scaling->top > range ? scaling->top - range : 0;
}

static tsr_status add_means(void *ctx, const struct passthrough_block *block, tsr_error *err) {
    (void)err;
    struct scaling *scaling = ctx;
    const uint16_t *values = passthrough_extract(scaling->encoder->layout.element_bytes, scaling->field, block->bytes,
                                                 block->count, scaling->values);
    for (uint64_t r = 0; r < block->rows; r++, values += block->columns) {
        uint64_t sum = 0;
        for (uint64_t c = 0; c < block->columns; c++) sum += clip(scaling, symbol_of(scaling->field, values[c]));
        int32_t mean = (int32_t)((sum << UNIT_BITS) / block->columns);
        scaling->row_means[block->first_row + r] = mean;
        for (uint64_t c = 0; c < block->columns; c++) {
            int32_t symbol = (int32_t)(clip(scaling, symbol_of(scaling->field, values[c])) << UNIT_BITS);
            scaling->column_sums[c] += symbol - mean;
        }
    }
    return TSR_OK;
}

/* Class of a mean that is at most `top`, which gets the largest class in use or CLASSES - 1. */
static uint8_t class_below(const struct scaling *scaling, int64_t mean, int64_t top) {
    int64_t below = (top - mean) >> (UNIT_BITS + scaling->shift);
    return (uint8_t)(below < CLASSES - 1 ? CLASSES - 1 - below : 0);
}

static void slide_to_zero(uint8_t *classes, uint64_t count) {
    uint8_t lowest = CLASSES - 1;
    for (uint64_t i = 0; i < count; i++) lowest = classes[i] < lowest ? classes[i] : lowest;
    for (uint64_t i = 0; i < count; i++) classes[i] = (uint8_t)(classes[i] - lowest);
}

static void choose_classes(struct scaling *scaling) {
    const tsr_tensor *tensor = scaling->encoder->tensor;
    int64_t top = INT64_MIN;
    for (uint64_t r = 0; r < tensor->rows; r++) top = scaling->row_means[r] > top ? scaling->row_means[r] : top;
    for (uint64_t r = 0; r < tensor->rows; r++) {
        scaling->scales.rows[r] = class_below(scaling, scaling->row_means[r], top);
    }
    top = INT64_MIN;
    for (uint64_t c = 0; c < tensor->columns; c++) {
        scaling->column_sums[c] /= (int64_t)tensor->rows;
        top = scaling->column_sums[c] > top ? scaling->column_sums[c] : top;
    }
    for (uint64_t c = 0; c < tensor->columns; c++) {
        scaling->scales.columns[c] = class_below(scaling, scaling->column_sums[c], top);
    }
    slide_to_zero(scaling->scales.rows, tensor->rows);
    slide_to_zero(scaling->scales.columns, tensor->columns);
}

static tsr_status count_sums(void *ctx, const struct passthrough_block *block, tsr_error *err) {
    (void)err;
    struct scaling *scaling = ctx;
    uint32_t bits = scaling->field->symbol_bits;
    const uint16_t *values = passthrough_extract(scaling->encoder->layout.element_bytes, scaling->field, block->bytes,
                                                 block->count, scaling->values);
    for (uint64_t r = 0; r < block->rows; r++, values += block->columns) {
        uint32_t *counts = scaling->counts + ((uint64_t)scaling->scales.rows[block->first_row + r] << bits);
        for (uint64_t c = 0; c < block->columns; c++) {
            counts[((uint32_t)scaling->scales.columns[c] << bits) + symbol_of(scaling->field, values[c])]++;
        }
    }
    return TSR_OK;
}

/* Cuts the sums into `wanted` contexts of about equal weight and adds up their counts; fewer where a sum alone is
 * heavy. */
static void group_sums(struct scaling *scaling, uint32_t wanted, uint32_t *grouped) {
    uint32_t alphabet = passthrough_alphabet(scaling->field), context = 0;
    uint64_t total = scaling->encoder->tensor->rows * scaling->encoder->tensor->columns, seen = 0;
    memset(grouped, 0, (size_t)wanted * alphabet * sizeof *grouped);
    for (uint32_t sum = 0; sum < SUMS; sum++) {
        const uint32_t *counts = scaling->counts + (uint64_t)sum * alphabet;
        uint64_t own = 0;
        for (uint32_t s = 0; s < alphabet; s++) own += counts[s];
        /* A new context begins where the middle of this sum lies beyond the share of the ones before. */
        if (seen > 0 && (seen + own / 2) * wanted >= total * (context + 1) && context + 1 < wanted) context++;
        for (uint32_t s = 0; s < alphabet; s++) grouped[(uint64_t)context * alphabet + s] += counts[s];
        scaling->scales.context_of[sum] = (uint8_t)context;
        seen += own;
    }
    scaling->scales.contexts = context + 1;
}

static uint64_t class_bits(const uint8_t *classes, uint64_t count) {
    uint64_t width = 0;
    for (uint64_t i = 0; i < count; i++) {
        while (classes[i] >> width) width++;
    }
    return 8 + count * width;
}

/* Tries 2, 4, ... contexts while it gains, and gives the field the best model found. */
static tsr_status choose_contexts(struct scaling *scaling, double plain_cost, tsr_error *err) {
    struct passthrough_encoder *encoder = scaling->encoder;
    const tsr_host *host = encoder->host;
    const tsr_tensor *tensor = encoder->tensor;
    uint32_t alphabet = passthrough_alphabet(scaling->field);
    uint32_t *grouped = host->alloc(host, (uint64_t)TSR_ENTROPY_CONTEXTS_MAX * alphabet * sizeof *grouped);
    if (!grouped) return tsr_fail(err, TSR_E_NOMEM, "passthrough: no memory for contexts");
    double side = 8.0 * SUMS + (double)class_bits(scaling->scales.rows, tensor->rows) +
                  (double)class_bits(scaling->scales.columns, tensor->columns);
    double best = plain_cost;
    tsr_status status = TSR_OK;
    for (uint32_t wanted = 2; wanted <= TSR_ENTROPY_CONTEXTS_MAX; wanted += wanted < 4 ? 2 : wanted / 2) {
        tsr_entropy_model *model = NULL;
        group_sums(scaling, wanted, grouped);
        tsr_entropy_shape shape = {sizeof shape, alphabet, scaling->scales.contexts, 14, 0};
        status = encoder->entropy->model_create_contexts(host, grouped, &shape, &model, err);
        if (status != TSR_OK) break;
        double cost = passthrough_total_cost(encoder, model, grouped) + side;
        bool better = cost < best, late = !better && wanted >= 8;
        if (better) {
            encoder->entropy->model_destroy(host, scaling->field->model);
            scaling->field->model = model;
            scaling->field->kind = FIELD_SCALED;
            encoder->layout.scales.contexts = scaling->scales.contexts;
            memcpy(encoder->layout.scales.context_of, scaling->scales.context_of, SUMS);
            best = cost;
        } else {
            encoder->entropy->model_destroy(host, model);
        }
        if (late) break;
    }
    host->free(host, grouped);
    return status;
}

/* log2 of the symbols a class: mantissa bits in the symbol without those of a class; CLASS_SHIFT_NONE for dtypes whose
 * head is no log scale of whole weights. */
static int32_t class_shift(const struct passthrough_encoder *encoder, const struct passthrough_field *field) {
    switch (encoder->tensor->dtype) {
    case TSR_DTYPE_BF16: /* the head has 7 mantissa bits */
    case TSR_DTYPE_F32:
        return 7 - CLASS_SYMBOL_BITS - field->low_bits;
    case TSR_DTYPE_F16: /* 10 */
        return 10 - CLASS_SYMBOL_BITS - field->low_bits;
    default:
        return CLASS_SHIFT_NONE;
    }
}

static bool fits(const struct passthrough_encoder *encoder, const struct passthrough_field *field) {
    const tsr_tensor *tensor = encoder->tensor;
    uint64_t weights = tensor->bytes / encoder->layout.element_bytes;
    return class_shift(encoder, field) >= -CLASS_SYMBOL_BITS && tensor->rows > 1 && tensor->columns >= 16 &&
           tensor->columns < UINT64_C(1) << 18 && weights >= WEIGHTS_MIN && weights < UINT64_C(1) << 31;
}

static tsr_status find_scales(struct scaling *scaling, const tsr_row_source *source, double plain_cost,
                              tsr_error *err) {
    const tsr_host *host = scaling->encoder->host;
    const tsr_tensor *tensor = scaling->encoder->tensor;
    uint64_t count_bytes = ((uint64_t)SUMS << scaling->field->symbol_bits) * sizeof *scaling->counts;
    struct passthrough_reader means = {source, 1, add_means, scaling}, sums = {source, 1, count_sums, scaling};
    scaling->row_means = host->alloc(host, tensor->rows * sizeof *scaling->row_means);
    scaling->column_sums = host->alloc(host, tensor->columns * sizeof *scaling->column_sums);
    scaling->counts = host->alloc(host, count_bytes);
    scaling->values = host->alloc(host, (UINT64_C(1) << 18) * sizeof *scaling->values);
    scaling->scales.rows = host->alloc(host, tensor->rows);
    scaling->scales.columns = host->alloc(host, tensor->columns);
    if (!scaling->row_means || !scaling->column_sums || !scaling->counts || !scaling->values ||
        !scaling->scales.rows || !scaling->scales.columns) {
        return tsr_fail(err, TSR_E_NOMEM, "passthrough: no memory for scales");
    }
    memset(scaling->column_sums, 0, tensor->columns * sizeof *scaling->column_sums);
    memset(scaling->counts, 0, count_bytes);
    tsr_status status = passthrough_read_blocks(scaling->encoder, &means, err);
    if (status != TSR_OK) return status;
    choose_classes(scaling);
    status = passthrough_read_blocks(scaling->encoder, &sums, err);
    return status == TSR_OK ? choose_contexts(scaling, plain_cost, err) : status;
}

tsr_status passthrough_choose_scales(struct passthrough_encoder *encoder, const tsr_row_source *source,
                                     uint32_t field, const uint32_t *counts, tsr_error *err) {
    const tsr_host *host = encoder->host;
    struct scaling scaling = {.encoder = encoder, .field = &encoder->layout.fields[field]};
    if (!fits(encoder, scaling.field)) return TSR_OK;
    scaling.shift = class_shift(encoder, scaling.field);
    choose_range(&scaling, counts);
    double plain_cost = passthrough_total_cost(encoder, scaling.field->model, counts);
    tsr_status status = find_scales(&scaling, source, plain_cost, err);
    if (scaling.field->kind == FIELD_SCALED) {
        encoder->layout.scales.rows = scaling.scales.rows;
        encoder->layout.scales.columns = scaling.scales.columns;
    } else {
        host->free(host, scaling.scales.rows);
        host->free(host, scaling.scales.columns);
    }
    host->free(host, scaling.row_means);
    host->free(host, scaling.column_sums);
    host->free(host, scaling.counts);
    host->free(host, scaling.values);
    return status;
}
