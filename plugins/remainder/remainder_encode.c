/* SPDX-License-Identifier: Apache-2.0
 *
 * One pass counts all differences in the finest contexts; coarser shapes are sums of these counts, so the shape that makes
 * table and data shortest is found without a second pass. The distribution of a difference follows from where in its
 * quantisation cell the source lies: it is nearly flat, its width that of the cell in units of the prediction's last bit. */
#include "remainder.h"

#include <string.h>

#define PROBABILITY_BITS 14
#define READ_WEIGHTS (UINT64_C(1) << 16)
#define EXPONENTS 256
#define FINE (1u << REMAINDER_MANTISSA_MAX)

/* ---- counting ---- */

/* counts[exponent][top mantissa bits][difference + window / 2]; 0 counts what does not fit. */
struct census {
    uint32_t *differences;
    uint32_t fine_first, fine_end; /* of exponent and mantissa bits that occur */
    uint32_t zeros[REMAINDER_ZERO_ALPHABET];
    uint64_t zero_count, difference_count;
};

static uint32_t predicted_word(const struct remainder *self, const uint8_t *prediction, uint64_t i) {
    return prediction ? remainder_word(prediction + i * self->form.bytes, self->form.bytes) : 0;
}

/* The value that is coded: 0 where the word must be escaped, whatever low_bits will be. */
static uint32_t value_of(uint32_t source, uint32_t predicted) {
    int32_t value = remainder_rank(source) - remainder_rank(predicted) + REMAINDER_WINDOW / 2;
    return value >= 1 << REMAINDER_LOW_MAX && value < REMAINDER_WINDOW ? (uint32_t)value : 0;
}

static void count_run(const struct remainder *self, const uint8_t *source, const uint8_t *prediction, uint64_t count,
                      struct census *census) {
    const uint32_t mantissa_bits = self->form.mantissa_bits;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t word = remainder_word(source + i * self->form.bytes, self->form.bytes);
        uint32_t predicted = predicted_word(self, prediction, i);
        if (remainder_is_zero(predicted)) {
            census->zeros[word >> REMAINDER_ZERO_LOW_BITS & (REMAINDER_ZERO_ALPHABET - 1)]++;
            census->zero_count++;
        } else {
            uint32_t fine = (predicted & 0x7FFF) >> (mantissa_bits - REMAINDER_MANTISSA_MAX);
            if (fine < census->fine_first) census->fine_first = fine;
            if (fine >= census->fine_end) census->fine_end = fine + 1;
            census->differences[(uint64_t)fine * REMAINDER_WINDOW + value_of(word, predicted)]++;
            census->difference_count++;
        }
    }
}

static tsr_status count_all(const struct remainder *self, const tsr_row_source *source,
                            const tsr_row_source *prediction, struct census *census, tsr_error *err) {
    const tsr_tensor *tensor = self->tensor;
    uint64_t columns = tensor->columns < READ_WEIGHTS ? tensor->columns : READ_WEIGHTS;
    uint64_t rows = READ_WEIGHTS / columns, bytes = rows * columns * self->form.bytes;
    uint8_t *both = self->host->alloc(self->host, 2 * bytes);
    tsr_status st = both ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "remainder: out of memory");
    for (uint64_t r = 0; r < tensor->rows && st == TSR_OK; r += rows) {
        uint64_t height = tensor->rows - r < rows ? tensor->rows - r : rows;
        for (uint64_t c = 0; c < tensor->columns && st == TSR_OK; c += columns) {
            uint64_t width = tensor->columns - c < columns ? tensor->columns - c : columns;
            st = source->read(source->ctx, r, height, c, width, both, err);
            if (st == TSR_OK && prediction) {
                st = prediction->read(prediction->ctx, r, height, c, width, both + bytes, err);
            }
            if (st == TSR_OK) count_run(self, both, prediction ? both + bytes : NULL, height * width, census);
        }
    }
    self->host->free(self->host, both);
    return st;
}

/* ---- choosing ---- */

/* counts[contexts->count][window >> low_bits] from the census. */
static void gather(const struct remainder *self, const struct census *census, const struct remainder_contexts *contexts,
                   uint32_t *counts) {
    const uint32_t shift = self->form.mantissa_bits - REMAINDER_MANTISSA_MAX, low = contexts->low_bits;
    const uint32_t alphabet = REMAINDER_WINDOW >> low;
    memset(counts, 0, (uint64_t)contexts->count * alphabet * sizeof *counts);
    for (uint32_t fine = census->fine_first; fine < census->fine_end; fine++) {
        uint32_t context = remainder_context(contexts, self->form.mantissa_bits, fine << shift & 0x7FFF);
        const uint32_t *from = census->differences + (uint64_t)fine * REMAINDER_WINDOW;
        for (uint32_t v = 0; v < REMAINDER_WINDOW; v++) counts[(uint64_t)context * alphabet + (v >> low)] += from[v];
    }
}

/* Bits of table and data in this shape; the model is made anew if it wins. */
static tsr_status price(const struct remainder *self, const uint32_t *counts, const struct remainder_contexts *contexts,
                        uint8_t *scratch, uint64_t scratch_bytes, double *bits, tsr_error *err) {
    const tsr_entropy_shape shape = {sizeof shape, REMAINDER_WINDOW >> contexts->low_bits, contexts->count,
                                     PROBABILITY_BITS, 0};
    tsr_entropy_model *model = NULL;
    uint64_t written = 0;
    tsr_status st = self->entropy->model_create_contexts(self->host, counts, &shape, &model, err);
    if (st == TSR_OK) st = self->entropy->model_write(model, scratch, scratch_bytes, &written, err);
    if (st == TSR_OK) *bits = 8.0 * (double)written + self->entropy->model_cost(model, counts);
    if (model) self->entropy->model_destroy(self->host, model);
    return st;
}

static struct remainder_contexts shape_of(const struct census *census, uint32_t low_bits, uint32_t mantissa_bits) {
    uint32_t first = census->fine_first / FINE, last = (census->fine_end - 1) / FINE;
    uint32_t most = REMAINDER_CONTEXTS_MAX >> mantissa_bits;
    if (last - first + 1 > most) first = last + 1 - most;
    return (struct remainder_contexts){low_bits, mantissa_bits, first, (last - first + 1) << mantissa_bits};
}

static tsr_status choose(struct remainder *self, const struct census *census, uint32_t *counts, uint8_t *scratch,
                         uint64_t scratch_bytes, tsr_error *err) {
    double best = 0;
    tsr_status st = TSR_OK;
    for (uint32_t low = 0; low <= REMAINDER_LOW_MAX; low++) {
        for (uint32_t mantissa = 0; mantissa <= REMAINDER_MANTISSA_MAX && st == TSR_OK; mantissa++) {
            struct remainder_contexts shape = shape_of(census, low, mantissa);
            double bits = 0;
            gather(self, census, &shape, counts);
            st = price(self, counts, &shape, scratch, scratch_bytes, &bits, err);
            bits += (double)(low * census->difference_count);
            if (st != TSR_OK || (best > 0 && bits >= best)) continue;
            best = bits;
            self->contexts = shape;
        }
    }
    if (st == TSR_OK) gather(self, census, &self->contexts, counts);
    return st;
}

/* ---- the header ---- */

static void put_number(uint8_t *to, uint64_t value) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (8 * i));
}

static tsr_status make_models(struct remainder *self, const struct census *census, const uint32_t *counts,
                              tsr_error *err) {
    const tsr_entropy_shape shape = {sizeof shape, REMAINDER_WINDOW >> self->contexts.low_bits, self->contexts.count,
                                     PROBABILITY_BITS, 0};
    tsr_status st = TSR_OK;
    if (census->zero_count) {
        st = self->entropy->model_create(self->host, census->zeros, REMAINDER_ZERO_ALPHABET, PROBABILITY_BITS,
                                         &self->zeros, err);
    }
    if (st != TSR_OK || !census->difference_count) return st;
    return self->entropy->model_create_contexts(self->host, counts, &shape, &self->differences, err);
}

static tsr_status write_header(const struct remainder *self, const tsr_writer *header, uint8_t *scratch,
                               uint64_t scratch_bytes, tsr_error *err) {
    const struct remainder_contexts *contexts = &self->contexts;
    uint8_t head[REMAINDER_HEADER_BYTES] = {(uint8_t)contexts->low_bits, (uint8_t)contexts->mantissa_bits,
                                            (uint8_t)contexts->exponent_first, (uint8_t)contexts->count};
    uint64_t zeros = 0, differences = 0;
    tsr_status st = TSR_OK;
    if (self->zeros) st = self->entropy->model_write(self->zeros, scratch, scratch_bytes, &zeros, err);
    if (st == TSR_OK && self->differences) {
        st = self->entropy->model_write(self->differences, scratch + zeros, scratch_bytes - zeros, &differences, err);
    }
    put_number(head + 4, zeros);
    if (st == TSR_OK) st = header->write(header->ctx, head, sizeof head, err);
    return st == TSR_OK ? header->write(header->ctx, scratch, zeros + differences, err) : st;
}

tsr_status remainder_prepare(struct remainder *self, const tsr_row_source *source, const tsr_row_source *prediction,
                             const tsr_writer *header, tsr_error *err) {
    const tsr_host *host = self->host;
    uint64_t bound = self->entropy->model_bound(REMAINDER_WINDOW) * (REMAINDER_CONTEXTS_MAX + 1);
    uint64_t fine_bytes = (uint64_t)EXPONENTS * FINE * REMAINDER_WINDOW * sizeof(uint32_t);
    struct census *census = host->alloc(host, sizeof *census);
    uint32_t *fine = host->alloc(host, fine_bytes);
    uint32_t *counts = host->alloc(host, (uint64_t)REMAINDER_CONTEXTS_MAX * REMAINDER_WINDOW * sizeof *counts);
    uint8_t *scratch = host->alloc(host, bound);
    tsr_status st = census && fine && counts && scratch ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "remainder: out of memory");
    if (st == TSR_OK) {
        memset(census, 0, sizeof *census);
        memset(fine, 0, fine_bytes);
        census->differences = fine;
        census->fine_first = EXPONENTS * FINE;
        st = count_all(self, source, prediction, census, err);
    }
    if (st == TSR_OK && census->difference_count) st = choose(self, census, counts, scratch, bound, err);
    if (st == TSR_OK) st = make_models(self, census, counts, err);
    if (st == TSR_OK) st = write_header(self, header, scratch, bound, err);
    host->free(host, scratch);
    host->free(host, counts);
    host->free(host, fine);
    host->free(host, census);
    return st;
}

/* ---- a tile ---- */

/* A tile's elements sorted by kind. */
struct sorted {
    uint16_t *zeros, *differences, *symbols, *escapes;
    uint8_t *contexts;
    uint64_t zero_count, difference_count, escape_count;
    bool lows;
};

uint64_t remainder_encode_bound(const struct remainder *self, uint64_t count) {
    /* Each element is in one stream; a stream of n values takes less than 4 n bytes and the coder's own slack. */
    return REMAINDER_TILE_BYTES + 2 * self->entropy->encode_bound(count) + 2 * (2 * count + 8) + 4 * count;
}

static void sort(const struct remainder *self, const uint8_t *source, const uint8_t *prediction, uint64_t count,
                 struct sorted *sorted) {
    const uint32_t bytes = self->form.bytes;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t word = remainder_word(source + i * bytes, bytes), predicted = predicted_word(self, prediction, i);
        sorted->lows = sorted->lows || (bytes == 4 && (source[i * 4] || source[i * 4 + 1]));
        if (remainder_is_zero(predicted)) {
            sorted->zeros[sorted->zero_count++] = (uint16_t)word;
            continue;
        }
        uint32_t value = value_of(word, predicted);
        if (value == 0) sorted->escapes[sorted->escape_count++] = (uint16_t)word;
        sorted->contexts[sorted->difference_count] =
            (uint8_t)remainder_context(&self->contexts, self->form.mantissa_bits, predicted);
        sorted->symbols[sorted->difference_count] = (uint16_t)(value >> self->contexts.low_bits);
        sorted->differences[sorted->difference_count++] = (uint16_t)value;
    }
}

/* Where the tile is written to. */
struct output {
    uint8_t *bytes;
    uint64_t capacity, at;
};

static tsr_status put_words(struct output *output, const uint16_t *words, uint64_t count, tsr_error *err) {
    if (2 * count > output->capacity - output->at) {
        return tsr_fail(err, TSR_E_SPACE, "remainder: a tile needs more than %llu bytes",
                        (unsigned long long)output->capacity);
    }
    for (uint64_t i = 0; i < count; i++) {
        output->bytes[output->at++] = (uint8_t)words[i];
        output->bytes[output->at++] = (uint8_t)(words[i] >> 8);
    }
    return TSR_OK;
}

static tsr_status put_lows(struct output *output, const uint8_t *source, uint64_t count, tsr_error *err) {
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        const uint16_t low = (uint16_t)(source[4 * i] | source[4 * i + 1] << 8);
        st = put_words(output, &low, 1, err);
    }
    return st;
}

static tsr_status put_rest(const struct remainder *self, const struct sorted *sorted, struct output *output,
                           tsr_error *err) {
    uint64_t bytes = (sorted->difference_count * self->contexts.low_bits + 7) / 8;
    if (bytes > output->capacity - output->at) return tsr_fail(err, TSR_E_SPACE, "remainder: no room for a tile");
    if (bytes) {
        self->entropy->bits_pack(sorted->differences, sorted->difference_count, self->contexts.low_bits,
                                 output->bytes + output->at);
    }
    output->at += bytes;
    return TSR_OK;
}

static tsr_status put_stream(const struct remainder *self, const tsr_entropy_split *split, const uint16_t *values,
                             uint64_t count, struct output *output, uint8_t *length, tsr_error *err) {
    uint64_t written = 0;
    tsr_status st = TSR_OK;
    if (count) {
        st = self->entropy->split_encode(split, values, count, output->bytes + output->at,
                                         output->capacity - output->at, &written, err);
    }
    if (st == TSR_OK) put_number(length, written);
    output->at += written;
    return st;
}

static tsr_status encode_sorted(const struct remainder *self, const struct sorted *sorted, const uint8_t *source,
                                uint64_t count, struct output *output, tsr_error *err) {
    const tsr_entropy_split zeros = {sizeof zeros, self->zeros, NULL, REMAINDER_ZERO_LOW_BITS, REMAINDER_ZERO_BITS};
    const tsr_entropy_split differences = {sizeof differences, self->differences, sorted->contexts, 0, 16};
    uint8_t *head = output->bytes;
    if (output->capacity < REMAINDER_TILE_BYTES) return tsr_fail(err, TSR_E_SPACE, "remainder: no room for a tile");
    output->at = REMAINDER_TILE_BYTES;
    head[8] = sorted->lows;
    tsr_status st = put_stream(self, &zeros, sorted->zeros, sorted->zero_count, output, head, err);
    if (st == TSR_OK) {
        st = put_stream(self, &differences, sorted->symbols, sorted->difference_count, output, head + 4, err);
    }
    if (st == TSR_OK) st = put_rest(self, sorted, output, err);
    if (st == TSR_OK) st = put_words(output, sorted->escapes, sorted->escape_count, err);
    return st == TSR_OK && sorted->lows ? put_lows(output, source, count, err) : st;
}

tsr_status remainder_encode(const struct remainder *self, const tsr_tile *tile, const void *src, const void *prediction,
                            void *dst, uint64_t capacity, uint64_t *written, tsr_error *err) {
    uint64_t count = tile->rows * tile->columns;
    struct output output = {dst, capacity, 0};
    struct sorted sorted = {0};
    uint8_t *memory = self->host->alloc(self->host, 9 * count);
    if (!memory) return tsr_fail(err, TSR_E_NOMEM, "remainder: out of memory");
    sorted.zeros = (uint16_t *)(void *)memory;
    sorted.differences = sorted.zeros + count;
    sorted.symbols = sorted.differences + count;
    sorted.escapes = sorted.symbols + count;
    sorted.contexts = memory + 8 * count;
    sort(self, src, prediction, count, &sorted);
    tsr_status st = encode_sorted(self, &sorted, src, count, &output, err);
    *written = output.at;
    self->host->free(self->host, memory);
    return st;
}
