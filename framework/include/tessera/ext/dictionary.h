/* SPDX-License-Identifier: Apache-2.0
 *
 * Codec extension "tessera.codec.dictionary/0": state trained over a group of tensors (a codebook, a basis, a tree),
 * stored once, counted, and handed back to every create as setup->dictionary. The host decides what a group is, samples
 * nothing, and knows nothing of the bytes; it stores them with their digest, and a payload names the digest, so a
 * missing or foreign dictionary is an error before the codec is asked. A codec that has this extension must also work
 * without (setup->dictionary NULL): it trains in prepare and stores the state in its own header, a group of one. */
#ifndef TESSERA_EXT_DICTIONARY_H
#define TESSERA_EXT_DICTIONARY_H

#include "../codec.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_DICTIONARY_ID "tessera.codec.dictionary/0"

/* The most that train may write. */
#define TSR_DICTIONARY_MAX (UINT64_C(1) << 26)

/* One tensor of the group, in the order of the checkpoint. What `rows` reads is what prepare would: the codec's input
 * form, NaN and Inf as 0. */
typedef struct tsr_dictionary_member {
    uint64_t struct_size;
    const tsr_codec_setup *setup; /* as create of the encoder will get it, without dictionary */
    const tsr_row_source *rows;
} tsr_dictionary_member;

typedef struct tsr_dictionary {
    uint64_t struct_size;
    /* Plan-time check, no data is read: TSR_OK, or TSR_E_UNSUPPORTED and the reason with its numbers (too few training
     * vectors, dictionary too large for what it serves): the host then encodes every member without a dictionary, or
     * refuses, and says why. *bytes is the size that train will write. member->rows is NULL here. [any] */
    tsr_status (*can_train)(const tsr_dictionary_member *members, uint64_t count, uint64_t *bytes, tsr_error *err);
    /* Trains on a deterministic sample of all members and writes at most TSR_DICTIONARY_MAX bytes: the same for any
     * number of workers. Everything that decoders need is in these bytes and the parameters. [any] */
    tsr_status (*train)(const tsr_dictionary_member *members, uint64_t count, const tsr_writer *dictionary,
                        tsr_error *err);
} tsr_dictionary;

#ifdef __cplusplus
}
#endif
#endif
