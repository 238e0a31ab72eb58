/* SPDX-License-Identifier: Apache-2.0
 *
 * rANS kernels for AVX2: four vectors of 8 lanes. Equal to the scalar loops bit for bit. Written once with constant
 * switches, so that the compiler makes a version for each use. */
#include "entropy_rans.h"

typedef int entropy_avx2_not_empty;

#if defined(__AVX2__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* For each mask of 8 lanes and each lane, how many lanes of the mask lie below it: where its word is. */
#define BELOW(mask, lane) (uint8_t)__builtin_popcount((mask) & ((1 << (lane)) - 1))
#define ROW(m) {BELOW(m, 0), BELOW(m, 1), BELOW(m, 2), BELOW(m, 3), BELOW(m, 4), BELOW(m, 5), BELOW(m, 6), BELOW(m, 7)}
#define ROWS_4(m) ROW(m), ROW((m) + 1), ROW((m) + 2), ROW((m) + 3)
#define ROWS_16(m) ROWS_4(m), ROWS_4((m) + 4), ROWS_4((m) + 8), ROWS_4((m) + 12)
#define ROWS_64(m) ROWS_16(m), ROWS_16((m) + 16), ROWS_16((m) + 32), ROWS_16((m) + 48)
static const uint8_t WORD_OF_LANE[256][8] = {ROWS_64(0), ROWS_64(64), ROWS_64(128), ROWS_64(192)};

/* The constants of one decoding run. */
struct decode_constants {
    const int *slots, *symbols;
    __m256i slot_mask, word;
    __m128i bits, stride;
    __m256i raw_bytes, raw_shifts, raw_mask, raw_low; /* see raw_join */
    __m128i low_bits, above;
    uint32_t width;
};

/* 8 lanes by one symbol; *at moves past the words that were read. */
INLINE __m256i decode_step(const struct decode_constants *k, __m256i *state, const uint8_t *contexts,
                           const uint8_t **at) {
    __m256i slot = _mm256_and_si256(*state, k->slot_mask), where = slot, context = slot;
    if (contexts) {
        context = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)contexts));
        where = _mm256_add_epi32(where, _mm256_sll_epi32(context, k->bits));
    }
    __m256i symbol = _mm256_and_si256(_mm256_i32gather_epi32(k->slots, where, 2), k->word);
    where = contexts ? _mm256_add_epi32(symbol, _mm256_sll_epi32(context, k->stride)) : symbol;
    __m256i entry = _mm256_i32gather_epi32(k->symbols, where, 8); /* freq | start << 16 */
    __m256i rest = _mm256_sub_epi32(slot, _mm256_srli_epi32(entry, 16));
    __m256i x = _mm256_mullo_epi32(_mm256_and_si256(entry, k->word), _mm256_srl_epi32(*state, k->bits));
    x = _mm256_add_epi32(x, rest);
    __m256i small = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
    unsigned mask = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(small));
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)*at));
    __m256i order = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)WORD_OF_LANE[mask]));
    words = _mm256_or_si256(_mm256_slli_epi32(x, 16), _mm256_permutevar8x32_epi32(words, order));
    *state = _mm256_blendv_epi8(x, words, small);
    *at += 2 * (uint32_t)__builtin_popcount(mask);
    return symbol;
}

/* 8 values from their symbols and `width` raw bits each at `raw`: four values go into each 128-bit lane, their three
 * bytes into one element, and are shifted down. Reads up to 24 bytes. */
INLINE __m256i raw_join(const struct decode_constants *k, const uint8_t *raw, __m256i symbol) {
    __m256i bytes = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)raw));
    bytes = _mm256_inserti128_si256(bytes, _mm_loadu_si128((const __m128i *)(const void *)(raw + k->width / 2)), 1);
    __m256i bits = _mm256_srlv_epi32(_mm256_shuffle_epi8(bytes, k->raw_bytes), k->raw_shifts);
    bits = _mm256_and_si256(bits, k->raw_mask);
    __m256i low = _mm256_and_si256(bits, k->raw_low);
    __m256i high = _mm256_sll_epi32(_mm256_srl_epi32(bits, k->low_bits), k->above);
    return _mm256_or_si256(_mm256_or_si256(low, high), _mm256_sll_epi32(symbol, k->low_bits));
}

static struct decode_constants decode_constants_of(const struct rans_decoder *d) {
    uint8_t bytes[32];
    uint32_t shifts[8], width = 16 - d->symbol_bits;
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t bit = i / 4 * 4 * width % 8 + i % 4 * width; /* in the 128-bit lane */
        for (uint32_t b = 0; b < 4; b++) bytes[4 * i + b] = (uint8_t)(b < 3 ? bit / 8 + b : 0x80);
        shifts[i] = bit % 8;
    }
    return (struct decode_constants){
        .slots = (const int *)(const void *)d->model->slot_symbol,
        .symbols = (const int *)(const void *)&d->model->symbols->freq,
        .slot_mask = _mm256_set1_epi32((int)((1u << d->model->bits) - 1)),
        .word = _mm256_set1_epi32(0xffff),
        .bits = _mm_cvtsi32_si128((int)d->model->bits),
        .stride = _mm_cvtsi32_si128((int)d->model->stride_bits),
        .raw_bytes = _mm256_loadu_si256((const __m256i *)(const void *)bytes),
        .raw_shifts = _mm256_loadu_si256((const __m256i *)(const void *)shifts),
        .raw_mask = _mm256_set1_epi32((1 << width) - 1),
        .raw_low = _mm256_set1_epi32((1 << d->low_bits) - 1),
        .low_bits = _mm_cvtsi32_si128((int)d->low_bits),
        .above = _mm_cvtsi32_si128((int)(d->low_bits + d->symbol_bits)),
        .width = width,
    };
}

INLINE void store_16(uint16_t *values, __m256i first, __m256i second) {
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(first, second), 0xd8);
    _mm256_storeu_si256((__m256i *)(void *)values, packed);
}

INLINE uint64_t decode_loop(struct rans_decoder *d, uint16_t *values, uint64_t group, uint64_t last, bool contexts,
                            bool raw) {
    const struct decode_constants k = decode_constants_of(d);
    const uint8_t *at = d->at;
    __m256i state[4], value[4];
    for (int v = 0; v < 4; v++) state[v] = _mm256_loadu_si256((const __m256i *)(const void *)(d->states + 8 * v));
    for (; group < last && d->end - at >= 2 * RANS_SLACK; group++) {
        uint64_t i = group * RANS_LANES;
        const uint8_t *bits = d->raw + group * (RANS_LANES / 8) * k.width;
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            value[v] = decode_step(&k, &state[v], contexts ? d->contexts + i + 8 * (unsigned)v : NULL, &at);
            if (raw) value[v] = raw_join(&k, bits + (unsigned)v * k.width, value[v]);
        }
        store_16(values + i, value[0], value[1]);
        store_16(values + i + 16, value[2], value[3]);
    }
    for (int v = 0; v < 4; v++) _mm256_storeu_si256((__m256i *)(void *)(d->states + 8 * v), state[v]);
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

struct rans_kernels rans_kernels_avx2(void) {
    return (struct rans_kernels){decode_groups, NULL};
}
#endif
