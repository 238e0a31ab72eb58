/* SPDX-License-Identifier: Apache-2.0
 *
 * remainder: what is missing from a lossy reconstruction to the source, exactly; conditional entropy coding of the source
 * given the prediction. Bitstream version 1, shared by encoder and decoder; README.md explains it.
 *
 * Words. The word of an element is its 16 most significant bits, those below it (F32 only) are its low half. A word's rank
 * r(w) orders words like the numbers they stand for: w for positive numbers, -1 - (w & 0x7FFF) for negative ones.
 *
 * Two kinds of elements, told apart by the prediction alone: where the predicted number is 0, the source's word itself is
 * coded (the zeros); elsewhere the difference of ranks d = r(source) - r(prediction) (the differences).
 *
 *   header  u8 low_bits          0..REMAINDER_LOW_MAX: bits of a difference that are stored raw
 *           u8 mantissa_bits     0..REMAINDER_MANTISSA_MAX: of the prediction, in the context of a difference
 *           u8 exponent_first    exponent field of the prediction's word that has context 0 (lower ones have it too)
 *           u8 context_count     1..64
 *           u32 Z                bytes of the zeros' model, 0: the tensor has no zeros
 *           model of the zeros   (docs/format.md 8.1), alphabet REMAINDER_ZERO_ALPHABET, one context
 *           model of differences alphabet REMAINDER_WINDOW >> low_bits, context_count contexts; empty: there are none
 *
 *   tile    u32 A                bytes of the zeros' stream
 *           u32 B                bytes of the differences' stream
 *           u8 lows              0: all low halves are 0; 1: they stand at the end (F32 only)
 *           zeros                split stream (docs/format.md 8.3) of the words, REMAINDER_ZERO_LOW_BITS low bits
 *           differences          stream (docs/format.md 8.2) of the symbols v >> low_bits, with contexts, of the values
 *                                v = d + REMAINDER_WINDOW / 2; symbol 0 says that the word is escaped
 *           rest                 the low_bits lowest bits of each v, least significant first, without gaps, zeros to the end
 *                                of the last byte
 *           escapes              u16 each: words, in order
 *           lows                 u16 each, in order
 *
 * Context of a difference: with e and m the prediction's exponent field and the mantissa_bits top bits of its mantissa,
 * min(max((e - exponent_first) * 2^mantissa_bits + m, 0), context_count - 1). */
#ifndef REMAINDER_BITSTREAM_H
#define REMAINDER_BITSTREAM_H

#include <stdbool.h>
#include <tessera/codec.h>

#define REMAINDER_VERSION 1
#define REMAINDER_HEADER_BYTES 8
#define REMAINDER_TILE_BYTES 9
#define REMAINDER_LOW_MAX 4
#define REMAINDER_MANTISSA_MAX 2
#define REMAINDER_CONTEXTS_MAX 64
#define REMAINDER_WINDOW 4096
#define REMAINDER_ZERO_ALPHABET 1024
#define REMAINDER_ZERO_BITS 10
#define REMAINDER_ZERO_LOW_BITS 5

/* How the words of a dtype are built. */
struct remainder_form {
    uint32_t bytes;         /* an element */
    uint32_t mantissa_bits; /* of a word */
};

static inline struct remainder_form remainder_form_of(int32_t dtype) {
    return (struct remainder_form){dtype == TSR_DTYPE_F32 ? 4 : 2, dtype == TSR_DTYPE_F16 ? 10 : 7};
}

static inline uint32_t remainder_word(const uint8_t *element, uint32_t bytes) {
    const uint8_t *high = element + bytes - 2;
    return (uint32_t)high[0] | (uint32_t)high[1] << 8;
}

static inline int32_t remainder_rank(uint32_t word) {
    return word & 0x8000 ? -1 - (int32_t)(word & 0x7FFF) : (int32_t)word;
}

static inline uint32_t remainder_unrank(int32_t rank) {
    return rank < 0 ? 0x8000 | (uint32_t)(-1 - rank) : (uint32_t)rank;
}

static inline bool remainder_is_zero(uint32_t word) {
    return (word & 0x7FFF) == 0;
}

/* Shape of the differences' contexts. */
struct remainder_contexts {
    uint32_t low_bits, mantissa_bits, exponent_first, count;
};

static inline uint32_t remainder_context(const struct remainder_contexts *contexts, uint32_t form_mantissa_bits,
                                         uint32_t word) {
    int32_t exponent = (int32_t)((word & 0x7FFF) >> form_mantissa_bits);
    uint32_t mantissa = word >> (form_mantissa_bits - contexts->mantissa_bits);
    mantissa &= (1u << contexts->mantissa_bits) - 1;
    int32_t context = (exponent - (int32_t)contexts->exponent_first) * (1 << contexts->mantissa_bits) + (int32_t)mantissa;
    if (context < 0) return 0;
    return (uint32_t)context < contexts->count ? (uint32_t)context : contexts->count - 1;
}

#endif
