/* SPDX-License-Identifier: Apache-2.0
 *
 * rANS kernels for AVX-512 (F, BW, VL, DQ): two vectors of 16 lanes. Equal to the scalar loops bit for bit. Each
 * kernel is written once with constant switches, so that the compiler makes a version for each use. */
#include "entropy_rans.h"

typedef int entropy_avx512_not_empty;

#if defined(__AVX512F__) && defined(__AVX512BW__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* The constants of one decoding run. */
struct decode_constants {
    const void *slots, *symbols;
    __m512i slot_mask, word, low;
    __m128i bits, stride;
    __m512i raw_bytes, raw_shifts, raw_mask, raw_low; /* see raw_join */
    __m128i low_bits, above;
    uint32_t width;
};

/* 16 lanes by one symbol; *at moves past the words that were read. */
INLINE __m512i decode_step(const struct decode_constants *k, __m512i *state, __m512i context, bool contexts,
                           const uint8_t **at) {
    __m512i slot = _mm512_and_si512(*state, k->slot_mask), where = slot;
    if (contexts) where = _mm512_add_epi32(where, _mm512_sll_epi32(context, k->bits));
    __m512i symbol = _mm512_and_si512(_mm512_i32gather_epi32(where, k->slots, 2), k->word);
    where = contexts ? _mm512_add_epi32(symbol, _mm512_sll_epi32(context, k->stride)) : symbol;
    __m512i entry = _mm512_i32gather_epi32(where, k->symbols, 8); /* freq | start << 16 */
    __m512i rest = _mm512_sub_epi32(slot, _mm512_srli_epi32(entry, 16));
    __m512i x = _mm512_mullo_epi32(_mm512_and_si512(entry, k->word), _mm512_srl_epi32(*state, k->bits));
    x = _mm512_add_epi32(x, rest);
    __mmask16 small = _mm512_cmplt_epu32_mask(x, k->low);
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)*at));
    words = _mm512_maskz_expand_epi32(small, words);
    *state = _mm512_mask_or_epi32(x, small, _mm512_slli_epi32(x, 16), words);
    *at += 2 * (uint32_t)__builtin_popcount(small);
    return symbol;
}

/* 16 values from their symbols and `width` raw bits each at `raw`: every four values are moved into one 128-bit lane,
 * their three bytes into one element, and shifted down. Reads up to 40 bytes. */
INLINE __m512i raw_join(const struct decode_constants *k, const uint8_t *raw, __m512i symbol) {
    uint32_t w = k->width;
    __m512i bytes = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)raw));
    bytes = _mm512_inserti32x4(bytes, _mm_loadu_si128((const __m128i *)(const void *)(raw + w / 2)), 1);
    bytes = _mm512_inserti32x4(bytes, _mm_loadu_si128((const __m128i *)(const void *)(raw + w)), 2);
    bytes = _mm512_inserti32x4(bytes, _mm_loadu_si128((const __m128i *)(const void *)(raw + w * 3 / 2)), 3);
    __m512i bits = _mm512_srlv_epi32(_mm512_shuffle_epi8(bytes, k->raw_bytes), k->raw_shifts);
    bits = _mm512_and_si512(bits, k->raw_mask);
    __m512i low = _mm512_and_si512(bits, k->raw_low);
    __m512i high = _mm512_sll_epi32(_mm512_srl_epi32(bits, k->low_bits), k->above);
    return _mm512_or_si512(_mm512_or_si512(low, high), _mm512_sll_epi32(symbol, k->low_bits));
}

static struct decode_constants decode_constants_of(const struct rans_decoder *d) {
    uint8_t bytes[64];
    uint32_t shifts[16], width = 16 - d->symbol_bits;
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t bit = i / 4 * 4 * width % 8 + i % 4 * width; /* in the 128-bit lane */
        for (uint32_t b = 0; b < 4; b++) bytes[4 * i + b] = (uint8_t)(b < 3 ? bit / 8 + b : 0x80);
        shifts[i] = bit % 8;
    }
    return (struct decode_constants){
        .slots = d->model->slot_symbol,
        .symbols = &d->model->symbols->freq,
        .slot_mask = _mm512_set1_epi32((int)((1u << d->model->bits) - 1)),
        .word = _mm512_set1_epi32(0xffff),
        .low = _mm512_set1_epi32(RANS_LOW),
        .bits = _mm_cvtsi32_si128((int)d->model->bits),
        .stride = _mm_cvtsi32_si128((int)d->model->stride_bits),
        .raw_bytes = _mm512_loadu_si512(bytes),
        .raw_shifts = _mm512_loadu_si512(shifts),
        .raw_mask = _mm512_set1_epi32((1 << width) - 1),
        .raw_low = _mm512_set1_epi32((1 << d->low_bits) - 1),
        .low_bits = _mm_cvtsi32_si128((int)d->low_bits),
        .above = _mm_cvtsi32_si128((int)(d->low_bits + d->symbol_bits)),
        .width = width,
    };
}

INLINE uint64_t decode_loop(struct rans_decoder *d, uint16_t *values, uint64_t group, uint64_t last, bool contexts,
                            bool raw) {
    const struct decode_constants k = decode_constants_of(d);
    const uint8_t *at = d->at;
    __m512i a = _mm512_loadu_si512(d->states), b = _mm512_loadu_si512(d->states + 16);
    for (; group < last && d->end - at >= 2 * RANS_SLACK; group++) {
        uint64_t i = group * RANS_LANES;
        __m512i context_a = _mm512_setzero_si512(), context_b = context_a;
        if (contexts) {
            context_a = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(d->contexts + i)));
            context_b = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(d->contexts + i + 16)));
        }
        __m512i value_a = decode_step(&k, &a, context_a, contexts, &at);
        __m512i value_b = decode_step(&k, &b, context_b, contexts, &at);
        if (raw) {
            const uint8_t *bits = d->raw + group * (RANS_LANES / 8) * k.width;
            value_a = raw_join(&k, bits, value_a);
            value_b = raw_join(&k, bits + 2 * k.width, value_b);
        }
        _mm256_storeu_si256((__m256i *)(void *)(values + i), _mm512_cvtepi32_epi16(value_a));
        _mm256_storeu_si256((__m256i *)(void *)(values + i + 16), _mm512_cvtepi32_epi16(value_b));
    }
    _mm512_storeu_si512(d->states, a);
    _mm512_storeu_si512(d->states + 16, b);
    d->at = at;
    return group;
}

static uint64_t decode_groups(struct rans_decoder *d, uint16_t *values, uint64_t first, uint64_t last) {
    bool raw = d->symbol_bits < 16;
    if (d->contexts) {
        return raw ? decode_loop(d, values, first, last, true, true) : decode_loop(d, values, first, last, true, false);
    }
    return raw ? decode_loop(d, values, first, last, false, true) : decode_loop(d, values, first, last, false, false);
}

struct encode_constants {
    const void *reciprocals, *frequencies;
    __m512i alphabet, last_symbol, symbol_mask, word, slots, iota;
    __m128i low_bits, bits, top, stride;
};

/* 16 lanes by one value each; words are written downwards from *at. Returns lanes whose symbol cannot be coded. */
INLINE __mmask16 encode_step(const struct encode_constants *k, __m512i *state, const uint16_t *values,
                             const uint8_t *contexts, uint8_t **at) {
    __m512i symbol = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)values));
    symbol = _mm512_and_si512(_mm512_srl_epi32(symbol, k->low_bits), k->symbol_mask);
    __mmask16 wrong = _mm512_cmpge_epu32_mask(symbol, k->alphabet);
    symbol = _mm512_min_epu32(symbol, k->last_symbol);
    if (contexts) {
        __m512i context = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)contexts));
        symbol = _mm512_add_epi32(symbol, _mm512_sll_epi32(context, k->stride));
    }
    __m512i reciprocal = _mm512_i32gather_epi32(symbol, k->reciprocals, 8);
    __m512i entry = _mm512_i32gather_epi32(symbol, k->frequencies, 8);
    __m512i freq = _mm512_and_si512(entry, k->word), start = _mm512_srli_epi32(entry, 16);
    wrong |= _mm512_testn_epi32_mask(freq, freq);

    __m512i x = *state;
    __mmask16 large = _mm512_cmpge_epu32_mask(_mm512_srl_epi32(x, k->top), freq);
    int count = __builtin_popcount(large);
    /* The words of the large lanes, in lane order, at the top end of a vector. */
    __m512i words = _mm512_maskz_compress_epi32(large, x);
    words = _mm512_permutexvar_epi32(_mm512_add_epi32(k->iota, _mm512_set1_epi32(count)), words);
    _mm256_storeu_si256((__m256i *)(void *)(*at - 32), _mm512_cvtepi32_epi16(words));
    *at -= 2 * count;
    x = _mm512_mask_srli_epi32(x, large, x, 16);

    __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(x, reciprocal), 32);
    __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(reciprocal, 32));
    __m512i quotient = _mm512_mask_blend_epi32(0xaaaa, even, odd);
    __m512i rest = _mm512_sub_epi32(x, _mm512_mullo_epi32(quotient, freq));
    __mmask16 short_by_one = _mm512_cmpge_epu32_mask(rest, freq);
    x = _mm512_add_epi32(_mm512_add_epi32(_mm512_sll_epi32(quotient, k->bits), rest), start);
    *state = _mm512_mask_add_epi32(x, short_by_one, x, _mm512_sub_epi32(k->slots, freq));
    return wrong;
}

static void encode_groups(struct rans_encoder *e, const uint16_t *values, uint64_t last) {
    const struct tsr_entropy_model *model = e->model;
    const struct encode_constants k = {
        .reciprocals = &model->symbols->reciprocal,
        .frequencies = &model->symbols->freq,
        .alphabet = _mm512_set1_epi32((int)model->alphabet),
        .last_symbol = _mm512_set1_epi32((int)model->alphabet - 1),
        .symbol_mask = _mm512_set1_epi32((int)e->symbol_mask),
        .word = _mm512_set1_epi32(0xffff),
        .slots = _mm512_set1_epi32(1 << model->bits),
        .iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        .low_bits = _mm_cvtsi32_si128((int)e->low_bits),
        .bits = _mm_cvtsi32_si128((int)model->bits),
        .top = _mm_cvtsi32_si128((int)(32 - model->bits)),
        .stride = _mm_cvtsi32_si128((int)model->stride_bits),
    };
    __m512i a = _mm512_loadu_si512(e->states), b = _mm512_loadu_si512(e->states + 16);
    uint8_t *at = e->at;
    __mmask16 wrong = 0;
    for (uint64_t i = last * RANS_LANES; i > 0; i -= RANS_LANES) {
        wrong |= encode_step(&k, &b, values + i - 16, e->contexts ? e->contexts + i - 16 : NULL, &at);
        wrong |= encode_step(&k, &a, values + i - 32, e->contexts ? e->contexts + i - 32 : NULL, &at);
    }
    _mm512_storeu_si512(e->states, a);
    _mm512_storeu_si512(e->states + 16, b);
    e->at = at;
    e->uncodable |= wrong != 0;
}

struct rans_kernels rans_kernels_avx512(void) {
    return (struct rans_kernels){decode_groups, encode_groups};
}
#endif
