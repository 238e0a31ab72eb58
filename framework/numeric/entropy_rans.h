/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of the entropy coder share: the tables of a model and the loop kernels.
 *
 * Stream of `count` symbols: lanes = min(count, 32) states of 32 bits, then 16-bit words, all little-endian. Symbol i
 * belongs to lane i % 32. With M = 2^bits, symbol s owning the slots start..start+freq-1 of M, decoding one symbol is
 *     slot = x % M;  s = slot_symbol[slot];  x = freq * (x / M) + slot - start;  if (x < 2^16) x = x * 2^16 + next word
 * Encoding runs backwards from states 2^16, so a sound stream ends with every state at 2^16 and no word left. One word
 * at most is read for each symbol because M <= 2^16. */
#ifndef NUMERIC_ENTROPY_RANS_H
#define NUMERIC_ENTROPY_RANS_H

#include <stdbool.h>
#include <tessera/ext/entropy.h>

#define RANS_LANES 32
#define RANS_LOW UINT32_C(0x10000) /* lowest state between symbols */
#define RANS_SLACK 64              /* bytes a kernel may read or write beyond what it uses, within the buffer */

struct rans_symbol {
    uint32_t reciprocal; /* floor((2^32 - 1) / freq), 0 when freq is 0 */
    uint16_t freq;
    uint16_t start;
};

struct tsr_entropy_model {
    uint32_t alphabet;
    uint32_t contexts;
    uint32_t bits;
    uint32_t stride_bits;        /* log2 of the symbols kept for each context, 2^stride_bits >= alphabet */
    struct rans_symbol *symbols; /* [contexts << stride_bits] */
    uint16_t *slot_symbol;       /* [contexts << bits], and one more for 32-bit gathers */
};

/* Position in a stream that is being decoded, and where values go. */
struct rans_decoder {
    const struct tsr_entropy_model *model;
    uint32_t states[RANS_LANES];
    const uint8_t *at, *end; /* words not yet read */
    const uint8_t *raw;      /* raw bits of the whole stream, raw_bytes of them */
    uint64_t raw_bytes;
    const uint8_t *contexts; /* or NULL */
    uint32_t low_bits, symbol_bits;
};

/* The same for encoding, which runs from the last symbol to the first and writes words downwards. */
struct rans_encoder {
    const struct tsr_entropy_model *model;
    uint32_t states[RANS_LANES];
    uint8_t *begin, *at; /* free space is begin..at */
    const uint8_t *contexts;
    uint32_t low_bits, symbol_mask;
    bool uncodable; /* a symbol had no probability */
};

/* Decodes values[first * 32 ..] for groups of 32 from `first` on, at most up to group `last`; stops early where
 * less than the slack is left to read. Returns the first group not decoded. NULL when the machine has no such unit. */
typedef uint64_t (*rans_decode_groups)(struct rans_decoder *decoder, uint16_t *values, uint64_t first, uint64_t last);
/* Encodes groups last-1, last-2, ... 0. */
typedef void (*rans_encode_groups)(struct rans_encoder *encoder, const uint16_t *values, uint64_t last);

struct rans_kernels {
    rans_decode_groups decode; /* NULL: the scalar loop does it all */
    rans_encode_groups encode;
};

/* Kernels of one vector unit; the caller has made sure that the machine has it. */
#if defined(__x86_64__)
struct rans_kernels rans_kernels_avx2(void);
struct rans_kernels rans_kernels_avx512(void);
#endif

enum rans_level { RANS_SCALAR, RANS_AVX2, RANS_AVX512, RANS_LEVELS };

/* Kernels of a level, clamped to what this machine has. [any] */
struct rans_kernels rans_kernels_of(enum rans_level level);
enum rans_level rans_level_best(void);

/* split_encode and split_decode with the kernels of one level. */
tsr_status rans_encode(const tsr_entropy_split *split, enum rans_level level, const uint16_t *values, uint64_t count,
                       void *dst, uint64_t capacity, uint64_t *written, tsr_error *err);
tsr_status rans_decode(const tsr_entropy_split *split, enum rans_level level, const void *src, uint64_t size,
                       uint16_t *values, uint64_t count, tsr_error *err);
uint64_t rans_bound(uint64_t count);

/* The services of a stream in pieces (tessera/ext/entropy.h); stream_decode with the kernels of one level. */
tsr_status rans_stream_begin(tsr_entropy_stream *stream, const tsr_entropy_model *model, const void *src, uint64_t size,
                             uint64_t count, tsr_error *err);
tsr_status rans_stream_decode(tsr_entropy_stream *stream, enum rans_level level, const uint8_t *contexts,
                              uint16_t *symbols, uint64_t count, tsr_error *err);
tsr_status rans_stream_end(const tsr_entropy_stream *stream, tsr_error *err);

/* entropy_model.c */
tsr_status entropy_model_create(const tsr_host *host, const uint32_t *counts, const tsr_entropy_shape *shape,
                                tsr_entropy_model **model, tsr_error *err);
void entropy_model_destroy(const tsr_host *host, tsr_entropy_model *model);
double entropy_model_cost(const tsr_entropy_model *model, const uint32_t *counts);
/* Room for a model of this shape, with freq all 0. */
tsr_status entropy_model_alloc(const tsr_host *host, const tsr_entropy_shape *shape, tsr_entropy_model **model,
                               tsr_error *err);
/* Completes start, reciprocal and slots from freq; false when a context sums neither to 2^bits nor to 0. */
bool entropy_model_finish(tsr_entropy_model *model);

/* entropy_model_io.c */
uint64_t entropy_model_bound(uint32_t alphabet);
tsr_status entropy_model_write(const tsr_entropy_model *model, void *dst, uint64_t capacity, uint64_t *written,
                               tsr_error *err);
tsr_status entropy_model_read(const tsr_host *host, const void *src, uint64_t size, uint64_t *consumed,
                              tsr_entropy_model **model, tsr_error *err);

/* entropy_bits.c */
void entropy_bits_pack(const uint16_t *values, uint64_t count, uint32_t width, void *dst);
void entropy_bits_unpack(const void *src, uint64_t count, uint32_t width, uint16_t *values);
uint64_t entropy_bits_bytes(uint64_t count, uint32_t width);
void entropy_split_pack(const tsr_entropy_split *split, const uint16_t *values, uint64_t count, uint8_t *dst);
/* Adds the raw bits of values[first..first+count) to values whose symbols are in place. first is a multiple of 8. */
void entropy_split_join(const struct rans_decoder *decoder, uint16_t *values, uint64_t first, uint64_t count);
void entropy_split_count(const tsr_entropy_split *split, const uint16_t *values, uint64_t count, uint32_t *counts);

#endif
