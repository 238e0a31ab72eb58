/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk through a row, and the header that says which. An octave is 17 columns; the golden step 11, the whole number
 * nearest to 17 / phi, orders the columns of an octave. */
#include "spiral_index.h"

#include <math.h>

enum { GOLDEN_STEP = 11, BUCKET_ZERO = 401 };

#define HALF_OCTAVE 0.70710678118654752

static uint64_t octaves_of(uint64_t columns) {
    return (columns + SPIRAL_INDEX_OCTAVE - 1) / SPIRAL_INDEX_OCTAVE;
}

static int coprime(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a == 1;
}

struct spiral_address spiral_index_address(uint64_t stride, uint64_t anchors, uint64_t columns) {
    return (struct spiral_address){
        .start = 0,
        .stride = stride <= UINT16_MAX && coprime(stride, octaves_of(columns)) ? (uint32_t)stride : 1,
        .length = (uint32_t)anchors};
}

/* Dimension i of anchor s is in octave o = start + i + s * stride, wrapped, at place 11 (i + o) mod 17. Octave and place
 * give i, then s: in as many anchors as there are octaves, each column comes up once. Places behind the end of the row
 * are passed over. */
void spiral_index_walk(const struct spiral_address *address, uint64_t columns, uint32_t *where) {
    const uint64_t octaves = octaves_of(columns), samples = spiral_index_samples(address->length, columns);
    uint64_t count = 0;
    for (uint64_t s = 0; s < octaves; s++) {
        for (uint64_t i = 0; i < SPIRAL_INDEX_OCTAVE && count < samples; i++) {
            uint64_t octave = (address->start + i + s * address->stride) % octaves;
            uint64_t column = SPIRAL_INDEX_OCTAVE * octave + GOLDEN_STEP * (i + octave) % SPIRAL_INDEX_OCTAVE;
            if (column < columns) where[count++] = (uint32_t)column;
        }
    }
}

static tsr_status corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "spiral-index: header: %s", what);
}

tsr_status spiral_index_read_header(const uint8_t *bytes, uint64_t size, uint64_t columns,
                                    struct spiral_address *address, tsr_error *err) {
    if (size != SPIRAL_INDEX_HEADER_BYTES) {
        return tsr_fail(err, TSR_E_CORRUPT, "spiral-index: header has %llu bytes, expected %d", (unsigned long long)size,
                        SPIRAL_INDEX_HEADER_BYTES);
    }
    uint64_t stored = spiral_index_get16(bytes + 8) | (uint64_t)spiral_index_get16(bytes + 10) << 16;
    if (stored != columns || columns > SPIRAL_INDEX_COLUMNS_MAX) {
        return tsr_fail(err, TSR_E_CORRUPT, "spiral-index: header: rows of %llu columns, expected %llu",
                        (unsigned long long)stored, (unsigned long long)columns);
    }
    *address = (struct spiral_address){spiral_index_get16(bytes), spiral_index_get16(bytes + 2),
                                       spiral_index_get16(bytes + 4)};
    if (address->length < SPIRAL_INDEX_ANCHORS_MIN || address->length > SPIRAL_INDEX_ANCHORS_MAX) {
        return corrupt(err, "anchors out of range");
    }
    if (address->start >= octaves_of(columns) || !coprime(address->stride, octaves_of(columns))) {
        return corrupt(err, "a walk that is no bijection");
    }
    return spiral_index_get16(bytes + 6) ? corrupt(err, "numbers out of range") : TSR_OK;
}

/* Half an octave each: 2^((b - 403) / 2) <= rms < 2^((b - 402) / 2). */
static uint32_t bucket_of(double rms) {
    int exponent = 0;
    if (!(rms > 0)) return 0;
    double mantissa = frexp(rms, &exponent);
    return (uint32_t)(BUCKET_ZERO + 2 * exponent + (mantissa >= HALF_OCTAVE));
}

void spiral_index_write_header(const struct spiral_address *address, uint64_t columns, const char *role, double rms,
                               uint8_t *header) {
    static const char *const SLOTS[SPIRAL_INDEX_SLOTS] = {"attn_q",   "attn_k", "attn_v",
                                                          "mlp_gate", "mlp_up", "mlp_down"};
    memset(header, 0, SPIRAL_INDEX_HEADER_BYTES);
    spiral_index_put16(header, address->start);
    spiral_index_put16(header + 2, address->stride);
    spiral_index_put16(header + 4, address->length);
    spiral_index_put16(header + 8, (uint32_t)columns);
    spiral_index_put16(header + 10, (uint32_t)(columns >> 16));
    for (int i = 0; role && i < SPIRAL_INDEX_SLOTS; i++) {
        uint8_t *slot = header + SPIRAL_INDEX_PRINT + 6 * i;
        if (strcmp(role, SLOTS[i]) != 0) continue;
        spiral_index_put16(slot, address->start);
        spiral_index_put16(slot + 2, address->stride);
        spiral_index_put16(slot + 4, bucket_of(rms));
    }
}

tsr_status spiral_index_check_tile(const struct spiral_index_decoder *decoder, const tsr_tile *tile, uint64_t size,
                                   tsr_error *err) {
    const uint64_t entry = spiral_index_entry_bytes(decoder->samples);
    if (tile->columns == decoder->columns && size % entry == 0 && size / entry == tile->rows) return TSR_OK;
    return tsr_fail(err, TSR_E_CORRUPT,
                    "spiral-index: a tile of %llu x %llu has %llu bytes, expected rows of %llu, %llu bytes each",
                    (unsigned long long)tile->rows, (unsigned long long)tile->columns, (unsigned long long)size,
                    (unsigned long long)decoder->columns, (unsigned long long)entry);
}

tsr_status spiral_index_read_entry(const struct spiral_index_decoder *decoder, const uint8_t *entry, uint16_t *half,
                                   tsr_error *err) {
    const uint64_t samples = decoder->samples;
    for (uint64_t i = 0; i <= samples; i++) half[i] = (uint16_t)spiral_index_get16(entry + 2 * i);
    for (uint64_t i = 0; i < samples; i++) {
        if ((half[i] & 0x7FFF) >= 0x7F80) return tsr_fail(err, TSR_E_CORRUPT, "spiral-index: entry: a sample is not finite");
    }
    if (half[samples] <= 0x7F80) return TSR_OK;
    return tsr_fail(err, TSR_E_CORRUPT, "spiral-index: entry: the length of the rest out of range");
}
