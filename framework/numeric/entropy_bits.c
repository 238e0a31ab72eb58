/* SPDX-License-Identifier: Apache-2.0
 *
 * The raw-bit side channel of the entropy coder: packing, splitting values into symbol and raw bits, joining them
 * again, and counting symbols. Bits are packed least significant first without gaps; eight values of w bits fill w
 * bytes, so every multiple of eight values begins on a byte. */
#include "entropy_rans.h"

#include <base/bytes.h>
#include <string.h>

#define LANES_OF(x) ((uint64_t)(x) * UINT64_C(0x0001000100010001))
#define EVEN_LANES UINT64_C(0x0000ffff0000ffff)

uint64_t entropy_bits_bytes(uint64_t count, uint32_t width) {
    return count / 8 * width + (count % 8 * width + 7) / 8;
}

/* Where the raw bits of a 16-bit value are, for four values in one 64-bit word. */
struct cut {
    uint64_t low;  /* mask of the bits below the symbol */
    uint64_t high; /* mask of the bits above it */
    uint32_t low_bits, symbol_bits, width;
};

static struct cut cut_of(uint32_t low_bits, uint32_t symbol_bits) {
    uint32_t low = (UINT32_C(1) << low_bits) - 1, below = (UINT32_C(1) << (low_bits + symbol_bits)) - 1;
    return (struct cut){LANES_OF(low), LANES_OF(0xffff & ~below), low_bits, symbol_bits, 16 - symbol_bits};
}

/* Compilers make one move of these only where the order of bytes is the machine's own. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static inline uint64_t load_eight(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline void store_eight(uint8_t *bytes, uint64_t value) {
    memcpy(bytes, &value, sizeof value);
}

static inline uint64_t load_four(const uint16_t *values) {
    uint64_t four;
    memcpy(&four, values, sizeof four);
    return four;
}

static inline void store_four(uint16_t *values, uint64_t four) {
    memcpy(values, &four, sizeof four);
}
#else
static inline uint64_t load_eight(const uint8_t *bytes) {
    return load_le(bytes, 8);
}

static inline void store_eight(uint8_t *bytes, uint64_t value) {
    store_le(bytes, value, 8);
}

static inline uint64_t load_four(const uint16_t *v) {
    return (uint64_t)v[0] | (uint64_t)v[1] << 16 | (uint64_t)v[2] << 32 | (uint64_t)v[3] << 48;
}

static inline void store_four(uint16_t *values, uint64_t four) {
    for (int i = 0; i < 4; i++) values[i] = (uint16_t)(four >> 16 * i);
}
#endif

/* Raw bits of four values, closed up to 4 * width bits. */
static inline uint64_t gather_four(const struct cut *cut, uint64_t four) {
    uint64_t raw = (four & cut->low) | (four & cut->high) >> cut->symbol_bits;
    raw = (raw & EVEN_LANES) | (raw & ~EVEN_LANES) >> (16 - cut->width);
    return (raw & UINT32_MAX) | raw >> 32 << (2 * cut->width);
}

/* Inverse; the bits of the symbols are 0. */
static inline uint64_t scatter_four(const struct cut *cut, uint64_t packed) {
    uint64_t pair = (UINT64_C(1) << (2 * cut->width)) - 1, one = (pair >> cut->width) * UINT64_C(0x100000001);
    uint64_t raw = (packed & pair) | (packed >> (2 * cut->width) & pair) << 32;
    raw = (raw & one) | (raw >> cut->width & one) << 16;
    return (raw & cut->low) | (raw & ~cut->low) << cut->symbol_bits;
}

static void pack_cut(const struct cut *cut, const uint16_t *values, uint64_t count, uint8_t *out) {
    uint32_t w = cut->width;
    uint64_t bytes = entropy_bits_bytes(count, w), i = 0;
    if (w == 0) return;
    for (const uint8_t *end = out + bytes; i + 8 <= count && end - out >= 16; i += 8, out += w) {
        uint64_t first = gather_four(cut, load_four(values + i)), second = gather_four(cut, load_four(values + i + 4));
        store_eight(out, w < 16 ? first | second << 4 * w : first);
        store_eight(out + 8, second >> (64 - 4 * w));
    }
    uint64_t pending = 0;
    for (uint32_t held = 0; i < count; i++) {
        pending |= gather_four(cut, values[i]) << held;
        for (held += w; held >= 8 || (held > 0 && i + 1 == count); held -= held < 8 ? held : 8, pending >>= 8) {
            *out++ = (uint8_t)pending;
        }
    }
}

/* Writes (`join` false) or adds to the symbols in place (true). */
static void unpack_cut(const struct cut *cut, const uint8_t *in, uint64_t count, bool join, uint16_t *values) {
    uint32_t w = cut->width;
    uint64_t bytes = entropy_bits_bytes(count, w), i = 0, pending = 0;
    for (const uint8_t *end = in + bytes; i + 8 <= count && end - in >= 16; i += 8, in += w) {
        uint64_t first = load_eight(in), second = load_eight(in + w / 2) >> (w % 2 * 4);
        uint64_t a = join ? load_four(values + i) << cut->low_bits : 0;
        uint64_t b = join ? load_four(values + i + 4) << cut->low_bits : 0;
        store_four(values + i, a | scatter_four(cut, first));
        store_four(values + i + 4, b | scatter_four(cut, second));
    }
    for (uint32_t held = 0; i < count; i++) {
        for (; held < w; held += 8) pending |= (uint64_t)*in++ << held;
        uint32_t symbol = join ? (uint32_t)values[i] << cut->low_bits : 0;
        values[i] = (uint16_t)(symbol | scatter_four(cut, pending & ((UINT32_C(1) << w) - 1)));
        pending >>= w;
        held -= w;
    }
}

void entropy_bits_pack(const uint16_t *values, uint64_t count, uint32_t width, void *dst) {
    struct cut cut = cut_of(width, 16 - width);
    pack_cut(&cut, values, count, dst);
}

void entropy_bits_unpack(const void *src, uint64_t count, uint32_t width, uint16_t *values) {
    struct cut cut = cut_of(width, 16 - width);
    unpack_cut(&cut, src, count, false, values);
}

void entropy_split_pack(const tsr_entropy_split *split, const uint16_t *values, uint64_t count, uint8_t *dst) {
    struct cut cut = cut_of(split->low_bits, split->symbol_bits);
    pack_cut(&cut, values, count, dst);
}

void entropy_split_join(const struct rans_decoder *decoder, uint16_t *values, uint64_t first, uint64_t count) {
    struct cut cut = cut_of(decoder->low_bits, decoder->symbol_bits);
    if (cut.width > 0) unpack_cut(&cut, decoder->raw + first / 8 * cut.width, count, true, values + first);
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
