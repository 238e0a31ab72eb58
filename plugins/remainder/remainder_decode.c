/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads header and tiles in the order of remainder_bitstream.h. Every length is checked before it is used. */
#include "remainder.h"

#include <string.h>

static tsr_status corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "remainder: %s", what);
}

static uint32_t number(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint16_t word(const uint8_t *bytes) {
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

/* ---- header ---- */

/* One model that fills `size` bytes and has this shape. */
static tsr_status read_model(const struct remainder *self, const uint8_t *bytes, uint64_t size, uint32_t alphabet,
                             uint32_t contexts, tsr_entropy_model **model, tsr_error *err) {
    tsr_entropy_shape shape = {.struct_size = sizeof shape};
    uint64_t consumed = 0;
    tsr_status st = self->entropy->model_read(self->host, bytes, size, &consumed, model, err);
    if (st != TSR_OK) return st;
    self->entropy->model_shape(*model, &shape);
    bool fits = consumed == size && shape.alphabet == alphabet && shape.contexts == contexts;
    return fits ? TSR_OK : corrupt(err, "header: model of another shape");
}

tsr_status remainder_read_header(struct remainder *self, const void *header, uint64_t size, tsr_error *err) {
    const uint8_t *bytes = header;
    if (size < REMAINDER_HEADER_BYTES) return corrupt(err, "header: cut short");
    self->contexts = (struct remainder_contexts){bytes[0], bytes[1], bytes[2], bytes[3]};
    uint64_t zeros = number(bytes + 4), rest = size - REMAINDER_HEADER_BYTES;
    bytes += REMAINDER_HEADER_BYTES;
    if (self->contexts.low_bits > REMAINDER_LOW_MAX || self->contexts.mantissa_bits > REMAINDER_MANTISSA_MAX ||
        self->contexts.count < 1 || self->contexts.count > REMAINDER_CONTEXTS_MAX || zeros > rest) {
        return corrupt(err, "header: numbers out of range");
    }
    tsr_status st = zeros ? read_model(self, bytes, zeros, REMAINDER_ZERO_ALPHABET, 1, &self->zeros, err) : TSR_OK;
    if (st != TSR_OK || rest == zeros) return st;
    return read_model(self, bytes + zeros, rest - zeros, REMAINDER_WINDOW >> self->contexts.low_bits,
                      self->contexts.count, &self->differences, err);
}

/* ---- a tile ---- */

/* A tile being decoded: the elements sorted by kind. */
struct sorted {
    uint16_t *zeros, *differences, *scratch;
    uint8_t *contexts;
    uint64_t zero_count, difference_count;
};

static uint32_t predicted_word(const struct remainder *self, const uint8_t *prediction, uint64_t i) {
    return prediction ? remainder_word(prediction + i * self->form.bytes, self->form.bytes) : 0;
}

static void sort(const struct remainder *self, const uint8_t *prediction, uint64_t count, struct sorted *sorted) {
    for (uint64_t i = 0; i < count; i++) {
        uint32_t predicted = predicted_word(self, prediction, i);
        if (remainder_is_zero(predicted)) {
            sorted->zero_count++;
        } else {
            sorted->contexts[sorted->difference_count++] =
                (uint8_t)remainder_context(&self->contexts, self->form.mantissa_bits, predicted);
        }
    }
}

static tsr_status read_zeros(const struct remainder *self, const uint8_t *src, uint64_t size,
                             const struct sorted *sorted, tsr_error *err) {
    if (sorted->zero_count == 0) return size ? corrupt(err, "zeros where there are none") : TSR_OK;
    if (!self->zeros) return corrupt(err, "zeros without a model");
    tsr_entropy_split split = {sizeof split, self->zeros, NULL, REMAINDER_ZERO_LOW_BITS, REMAINDER_ZERO_BITS};
    return self->entropy->split_decode(&split, src, size, sorted->zeros, sorted->zero_count, err);
}

static tsr_status read_differences(const struct remainder *self, const uint8_t *src, uint64_t size,
                                   const struct sorted *sorted, tsr_error *err) {
    if (sorted->difference_count == 0) return size ? corrupt(err, "differences where there are none") : TSR_OK;
    if (!self->differences) return corrupt(err, "differences without a model");
    tsr_entropy_split split = {sizeof split, self->differences, sorted->contexts, 0, 16};
    return self->entropy->split_decode(&split, src, size, sorted->differences, sorted->difference_count, err);
}

/* What stands behind the two streams. */
struct tail {
    const uint8_t *at;
    uint64_t left;
};

static bool take_word(struct tail *tail, uint32_t *taken) {
    if (tail->left < 2) return false;
    *taken = word(tail->at);
    tail->at += 2;
    tail->left -= 2;
    return true;
}

/* Symbols become values: their lowest bits stand behind the streams. */
static bool take_rest(const struct remainder *self, const struct sorted *sorted, uint16_t *scratch,
                      struct tail *tail) {
    uint32_t low = self->contexts.low_bits;
    uint64_t count = sorted->difference_count, bytes = (count * low + 7) / 8;
    if (low == 0 || count == 0) return true;
    if (tail->left < bytes) return false;
    self->entropy->bits_unpack(tail->at, count, low, scratch);
    for (uint64_t i = 0; i < count; i++) {
        sorted->differences[i] = (uint16_t)(sorted->differences[i] << low | scratch[i]);
    }
    tail->at += bytes;
    tail->left -= bytes;
    return true;
}

static void put_word(uint8_t *element, uint32_t bytes, uint32_t value) {
    memset(element, 0, bytes);
    element[bytes - 2] = (uint8_t)value;
    element[bytes - 1] = (uint8_t)(value >> 8);
}

/* The word of a difference, or false when it does not exist. */
static bool restore(const struct remainder *self, uint32_t predicted, uint16_t value, struct tail *tail,
                    uint32_t *found) {
    if (value < 1u << self->contexts.low_bits) return take_word(tail, found);
    int32_t rank = remainder_rank(predicted) + (int32_t)value - REMAINDER_WINDOW / 2;
    if (rank < -0x8000 || rank > 0x7FFF) return false;
    *found = remainder_unrank(rank);
    return true;
}

static tsr_status merge(const struct remainder *self, const uint8_t *prediction, uint64_t count,
                        const struct sorted *sorted, struct tail *tail, uint8_t *dst, tsr_error *err) {
    const uint16_t *zero = sorted->zeros, *difference = sorted->differences;
    uint32_t bytes = self->form.bytes;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t predicted = predicted_word(self, prediction, i), found;
        if (remainder_is_zero(predicted)) {
            found = *zero++;
        } else if (!restore(self, predicted, *difference++, tail, &found)) {
            return corrupt(err, "a difference leads nowhere");
        }
        put_word(dst + i * bytes, bytes, found);
    }
    return TSR_OK;
}

static tsr_status read_lows(const struct remainder *self, uint64_t count, uint32_t lows, struct tail *tail,
                            uint8_t *dst, tsr_error *err) {
    uint64_t expected = lows ? 2 * count : 0;
    if (lows > 1 || (lows && self->form.bytes != 4)) return corrupt(err, "low halves where there are none");
    if (tail->left != expected) return corrupt(err, "bytes are missing or left over behind its streams");
    for (uint64_t i = 0; lows && i < count; i++) memcpy(dst + i * 4, tail->at + 2 * i, 2);
    return TSR_OK;
}

static tsr_status decode_sorted(const struct remainder *self, const uint8_t *src, uint64_t size, uint64_t count,
                                const uint8_t *prediction, struct sorted *sorted, uint8_t *dst, tsr_error *err) {
    if (size < REMAINDER_TILE_BYTES) return corrupt(err, "tile: cut short");
    uint64_t zeros = number(src), differences = number(src + 4), room = size - REMAINDER_TILE_BYTES;
    uint32_t lows = src[8];
    if (zeros > room || differences > room - zeros) return corrupt(err, "tile: its streams do not fit");
    sort(self, prediction, count, sorted);
    src += REMAINDER_TILE_BYTES;
    tsr_status st = read_zeros(self, src, zeros, sorted, err);
    if (st == TSR_OK) st = read_differences(self, src + zeros, differences, sorted, err);
    if (st != TSR_OK) return st;
    struct tail tail = {src + zeros + differences, room - zeros - differences};
    if (!take_rest(self, sorted, sorted->scratch, &tail)) return corrupt(err, "tile: bits of differences are missing");
    st = merge(self, prediction, count, sorted, &tail, dst, err);
    return st == TSR_OK ? read_lows(self, count, lows, &tail, dst, err) : st;
}

tsr_status remainder_decode(const struct remainder *self, const tsr_tile *tile, const void *src, uint64_t size,
                            const void *prediction, void *dst, tsr_error *err) {
    uint64_t count = tile->rows * tile->columns;
    struct sorted sorted = {0};
    uint8_t *memory = self->host->alloc(self->host, 7 * count);
    if (!memory) return tsr_fail(err, TSR_E_NOMEM, "remainder: out of memory");
    sorted.zeros = (uint16_t *)(void *)memory;
    sorted.differences = sorted.zeros + count;
    sorted.scratch = sorted.differences + count;
    sorted.contexts = memory + 6 * count;
    tsr_status st = decode_sorted(self, src, size, count, prediction, &sorted, dst, err);
    self->host->free(self->host, memory);
    return st;
}
