/* SPDX-License-Identifier: Apache-2.0
 *
 * The raw-bit side channel of the entropy coder: packing, splitting values into symbol and raw bits, joining them
 * again, and counting symbols. Bits are packed least significant first without gaps; eight values of w bits fill w
 * bytes, so every multiple of eight values begins on a byte. */
#include "entropy_rans.h"

#include <string.h>

uint64_t entropy_bits_bytes(uint64_t count, uint32_t width) {
    return count / 8 * width + (count % 8 * width + 7) / 8;
}

void entropy_bits_pack(const uint16_t *values, uint64_t count, uint32_t width, void *dst) {
    uint8_t *out = dst;
    uint64_t pending = 0;
    uint32_t held = 0, mask = (UINT32_C(1) << width) - 1;
    for (uint64_t i = 0; i < count; i++) {
        pending |= (uint64_t)(values[i] & mask) << held;
        for (held += width; held >= 8; held -= 8, pending >>= 8) *out++ = (uint8_t)pending;
    }
    if (held > 0) *out = (uint8_t)pending;
}

void entropy_bits_unpack(const void *src, uint64_t count, uint32_t width, uint16_t *values) {
    const uint8_t *in = src;
    uint64_t pending = 0;
    uint32_t held = 0, mask = (UINT32_C(1) << width) - 1;
    for (uint64_t i = 0; i < count; i++) {
        for (; held < width; held += 8) pending |= (uint64_t)*in++ << held;
        values[i] = (uint16_t)(pending & mask);
        pending >>= width;
        held -= width;
    }
}

/* The bits of a value around its symbol, closed up. */
static uint16_t raw_of(uint32_t value, uint32_t low_bits, uint32_t symbol_bits) {
    uint32_t low = value & ((UINT32_C(1) << low_bits) - 1);
    return (uint16_t)(low | value >> (low_bits + symbol_bits) << low_bits);
}

void entropy_split_pack(const tsr_entropy_split *split, const uint16_t *values, uint64_t count, uint8_t *dst) {
    uint32_t low_bits = split->low_bits, symbol_bits = split->symbol_bits, width = 16 - symbol_bits;
    uint16_t raw[256];
    for (uint64_t at = 0; at < count && width > 0; at += 256) {
        uint64_t n = count - at < 256 ? count - at : 256;
        for (uint64_t i = 0; i < n; i++) raw[i] = raw_of(values[at + i], low_bits, symbol_bits);
        entropy_bits_pack(raw, n, width, dst + at / 8 * width);
    }
}

void entropy_split_join(const struct rans_decoder *decoder, uint16_t *values, uint64_t first, uint64_t count) {
    uint32_t low_bits = decoder->low_bits, symbol_bits = decoder->symbol_bits, width = 16 - symbol_bits;
    uint16_t raw[256];
    for (uint64_t at = 0; at < count && width > 0; at += 256) {
        uint64_t n = count - at < 256 ? count - at : 256;
        entropy_bits_unpack(decoder->raw + (first + at) / 8 * width, n, width, raw);
        for (uint64_t i = 0; i < n; i++) {
            uint32_t low = raw[i] & ((UINT32_C(1) << low_bits) - 1);
            uint32_t high = (uint32_t)raw[i] >> low_bits << (low_bits + symbol_bits);
            values[first + at + i] = (uint16_t)(high | (uint32_t)values[first + at + i] << low_bits | low);
        }
    }
}

/* Four tables in turn, so that runs of one symbol do not wait for their own last store. */
void entropy_split_count(const tsr_entropy_split *split, const uint16_t *values, uint64_t count, uint32_t *counts) {
    uint32_t symbols = UINT32_C(1) << split->symbol_bits, mask = symbols - 1, low = split->low_bits;
    uint64_t i = 0;
    if (symbols <= 1024 && count >= 4096) {
        uint32_t tables[4][1024];
        memset(tables, 0, sizeof tables);
        for (; i + 4 <= count; i += 4) {
            uint64_t four;
            memcpy(&four, values + i, sizeof four);
            tables[0][four >> low & mask]++;
            tables[1][four >> (16 + low) & mask]++;
            tables[2][four >> (32 + low) & mask]++;
            tables[3][four >> (48 + low) & mask]++;
        }
        for (uint32_t s = 0; s < symbols; s++) counts[s] += tables[0][s] + tables[1][s] + tables[2][s] + tables[3][s];
    }
    for (; i < count; i++) counts[(uint32_t)values[i] >> low & mask]++;
}
