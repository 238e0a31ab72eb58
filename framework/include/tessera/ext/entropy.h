/* SPDX-License-Identifier: Apache-2.0
 *
 * Host extension "tessera.host.entropy/0": the entropy coder lent to codecs. Interleaved range asymmetric
 * numeral systems (rANS: Duda 2013, arXiv:1311.2540; interleaving: Giesen 2014, arXiv:1402.3392) with static
 * models, alphabets up to 4096 symbols, and a side channel of raw bits. The vector decoders are bit-identical
 * to the scalar one. Every decode function ends in TSR_E_CORRUPT on damaged input and never reads or writes
 * outside the buffers it was given. All functions are [any]; a model is read-only once made. */
#ifndef TESSERA_EXT_ENTROPY_H
#define TESSERA_EXT_ENTROPY_H

#include "../host.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_ENTROPY_ID "tessera.host.entropy/0"
#define TSR_ENTROPY_ALPHABET_MAX 4096

/* A static distribution over 0..alphabet-1. Belongs to whoever made it, memory is the host's. */
typedef struct tsr_entropy_model tsr_entropy_model;

typedef struct tsr_entropy {
    uint64_t struct_size;
    /* Model from counts[alphabet] (1..4096 symbols). Symbols with count 0 cannot be coded. The probabilities
     * are multiples of 2^-probability_bits, 8..14, at least log2 of the number of used symbols. */
    tsr_status (*model_create)(const tsr_host *host, const uint32_t *counts, uint32_t alphabet,
                               uint32_t probability_bits, tsr_entropy_model **model, tsr_error *err);
    void (*model_destroy)(const tsr_host *host, tsr_entropy_model *model);
    /* Serialised form: at most model_bound(alphabet) bytes. */
    uint64_t (*model_bound)(uint32_t alphabet);
    tsr_status (*model_write)(const tsr_entropy_model *model, void *dst, uint64_t capacity, uint64_t *written,
                              tsr_error *err);
    /* Reads one model from the front of src; *consumed bytes belong to it. */
    tsr_status (*model_read)(const tsr_host *host, const void *src, uint64_t size, uint64_t *consumed,
                             tsr_entropy_model **model, tsr_error *err);
    /* Bits that coding these counts[alphabet] would take with this model; infinite if a symbol cannot be coded. */
    double (*model_cost)(const tsr_entropy_model *model, const uint32_t *counts);
    /* Codes symbols[count]; dst needs encode_bound(count). A symbol the model cannot code is TSR_E_ARGUMENT. */
    uint64_t (*encode_bound)(uint64_t count);
    tsr_status (*encode)(const tsr_entropy_model *model, const uint16_t *symbols, uint64_t count, void *dst,
                         uint64_t capacity, uint64_t *written, tsr_error *err);
    /* Inverse; src must be exactly what encode wrote. */
    tsr_status (*decode)(const tsr_entropy_model *model, const void *src, uint64_t size, uint16_t *symbols,
                         uint64_t count, tsr_error *err);
    /* Raw bits: values[count] of `width` bits (0..16) packed without gaps, (count*width+7)/8 bytes. */
    void (*bits_pack)(const uint16_t *values, uint64_t count, uint32_t width, void *dst);
    void (*bits_unpack)(const void *src, uint64_t count, uint32_t width, uint16_t *values);
} tsr_entropy;

#ifdef __cplusplus
}
#endif
#endif
