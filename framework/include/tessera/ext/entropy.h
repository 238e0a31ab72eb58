/* SPDX-License-Identifier: Apache-2.0
 *
 * Host extension "tessera.host.entropy/0": the entropy coder lent to codecs. Interleaved range asymmetric
 * numeral systems (rANS: Duda 2013, arXiv:1311.2540; interleaving: Giesen 2014, arXiv:1402.3392) with static
 * models, alphabets up to 4096 symbols, up to 64 contexts, and a side channel of raw bits. The vector coders
 * are bit-identical to the scalar one. Every decode function ends in TSR_E_CORRUPT on damaged input and never
 * reads or writes outside the buffers it was given. All functions are [any]; a model is read-only once made. */
#ifndef TESSERA_EXT_ENTROPY_H
#define TESSERA_EXT_ENTROPY_H

#include "../host.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_ENTROPY_ID "tessera.host.entropy/0"
#define TSR_ENTROPY_ALPHABET_MAX 4096
#define TSR_ENTROPY_CONTEXTS_MAX 64

/* One static distribution over 0..alphabet-1, or several, one for each context. Belongs to whoever made it;
 * its memory is the host's. */
typedef struct tsr_entropy_model tsr_entropy_model;

typedef struct tsr_entropy_shape {
    uint64_t struct_size;
    uint32_t alphabet;
    uint32_t contexts;
    uint32_t probability_bits;
    uint32_t reserved;
} tsr_entropy_shape;

/* How 16-bit values are cut in two: symbol = (value >> low_bits) & (2^symbol_bits - 1) goes through the model;
 * the other 16 - symbol_bits bits are stored raw, those above the symbol on top of those below it. */
typedef struct tsr_entropy_split {
    uint64_t struct_size;
    const tsr_entropy_model *model;
    const uint8_t *contexts; /* [count], each below the model's number of contexts; NULL: all 0 */
    uint32_t low_bits;
    uint32_t symbol_bits; /* low_bits + symbol_bits <= 16 */
} tsr_entropy_split;

/* A stream that is decoded in pieces, since contexts depend on symbols before. Belongs to the caller, who changes nothing
 * in it. */
typedef struct tsr_entropy_stream {
    uint64_t struct_size;
    const tsr_entropy_model *model;
    const uint8_t *at, *end;
    uint64_t position, count; /* symbols */
    uint32_t states[32];
} tsr_entropy_stream;

typedef struct tsr_entropy {
    uint64_t struct_size;
    /* Model of one context from counts[alphabet] (1..4096 symbols). Symbols with count 0 cannot be coded. The
     * probabilities are multiples of 2^-probability_bits, 8..14, at least log2 of the number of used symbols. */
    tsr_status (*model_create)(const tsr_host *host, const uint32_t *counts, uint32_t alphabet,
                               uint32_t probability_bits, tsr_entropy_model **model, tsr_error *err);
    void (*model_destroy)(const tsr_host *host, tsr_entropy_model *model);
    /* Serialised form: at most contexts * model_bound(alphabet) bytes. */
    uint64_t (*model_bound)(uint32_t alphabet);
    tsr_status (*model_write)(const tsr_entropy_model *model, void *dst, uint64_t capacity, uint64_t *written,
                              tsr_error *err);
    /* Reads one model from the front of src; *consumed bytes belong to it. Check its shape before use. */
    tsr_status (*model_read)(const tsr_host *host, const void *src, uint64_t size, uint64_t *consumed,
                             tsr_entropy_model **model, tsr_error *err);
    /* Bits that coding these counts[contexts][alphabet] would take with this model; infinite if a symbol cannot
     * be coded. The same on every machine (no libm), so it may decide what is written. */
    double (*model_cost)(const tsr_entropy_model *model, const uint32_t *counts);
    /* Codes symbols[count]; dst needs encode_bound(count). A symbol the model cannot code is TSR_E_ARGUMENT. */
    uint64_t (*encode_bound)(uint64_t count);
    tsr_status (*encode)(const tsr_entropy_model *model, const uint16_t *symbols, uint64_t count, void *dst,
                         uint64_t capacity, uint64_t *written, tsr_error *err);
    /* Inverse; src must be exactly what encode wrote. Symbols are below the model's alphabet. */
    tsr_status (*decode)(const tsr_entropy_model *model, const void *src, uint64_t size, uint16_t *symbols,
                         uint64_t count, tsr_error *err);
    /* Raw bits: values[count] of `width` bits (0..16), least significant bit first, packed without gaps,
     * (count*width+7)/8 bytes. Bits of a value above `width` are ignored. */
    void (*bits_pack)(const uint16_t *values, uint64_t count, uint32_t width, void *dst);
    void (*bits_unpack)(const void *src, uint64_t count, uint32_t width, uint16_t *values);

    /* Model of several contexts from counts[contexts][alphabet]; a context without counts codes nothing. */
    tsr_status (*model_create_contexts)(const tsr_host *host, const uint32_t *counts,
                                        const tsr_entropy_shape *shape, tsr_entropy_model **model,
                                        tsr_error *err);
    void (*model_shape)(const tsr_entropy_model *model, tsr_entropy_shape *shape);
    /* Codes values cut by `split`: raw bits as bits_pack of 16 - symbol_bits bits writes them, then the symbols as
     * encode writes them. dst needs split_bound(split, count). With symbol_bits 16 and contexts, this is encode
     * with contexts. */
    uint64_t (*split_bound)(const tsr_entropy_split *split, uint64_t count);
    tsr_status (*split_encode)(const tsr_entropy_split *split, const uint16_t *values, uint64_t count, void *dst,
                               uint64_t capacity, uint64_t *written, tsr_error *err);
    tsr_status (*split_decode)(const tsr_entropy_split *split, const void *src, uint64_t size, uint16_t *values,
                               uint64_t count, tsr_error *err);
    /* Adds the symbols of values[count] to counts[2^symbol_bits]; split->model and contexts are not used. */
    void (*split_count)(const tsr_entropy_split *split, const uint16_t *values, uint64_t count, uint32_t *counts);

    /* What split_encode wrote with symbol_bits 16 and contexts, decoded in pieces: begin with the number of
     * symbols that were coded, then pieces in order, contexts[count] each below the model's number of contexts, then
     * end, which finds damage that the pieces did not. Fast for pieces of multiples of 32 symbols. */
    tsr_status (*stream_begin)(tsr_entropy_stream *stream, const tsr_entropy_model *model, const void *src,
                               uint64_t size, uint64_t count, tsr_error *err);
    tsr_status (*stream_decode)(tsr_entropy_stream *stream, const uint8_t *contexts, uint16_t *symbols, uint64_t count,
                                tsr_error *err);
    tsr_status (*stream_end)(const tsr_entropy_stream *stream, tsr_error *err);
} tsr_entropy;

#ifdef __cplusplus
}
#endif
#endif
