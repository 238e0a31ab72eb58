/* SPDX-License-Identifier: Apache-2.0
 *
 * hhtld-block: the address of hhtld applied to runs of 17 weights instead of rows, with a gain for Slot V: a gain-shape
 * vector quantiser (Buzo, Gray, Gray, Markel 1980) of 32 bits for 17 weights. What its files share. */
#ifndef HHTLD_BLOCK_H
#define HHTLD_BLOCK_H

#include "hhtld_block_bitstream.h"

#include <tessera/codec.h>
#include <tessera/ext/kmeans.h>
#include <tessera/ext/products.h>

extern const tsr_codec hhtld_block_codec;

/* A header in memory; codes point into its bytes. */
struct hhtld_block_tree {
    const int8_t *codes; /* [leaves][HHTLD_OCTAVE] */
    uint32_t nodes, leaves;
    uint32_t first[HHTLD_BLOCK_NODES_MAX + 1];
};
tsr_status hhtld_block_tree_read(const uint8_t *bytes, uint64_t size, struct hhtld_block_tree *tree, tsr_error *err);

struct hhtld_block_training {
    const tsr_host *host;
    const tsr_products *products;
    const tsr_kmeans *kmeans;
    const tsr_row_source *source;
    uint64_t rows, columns, bytes; /* bytes: of the tensor, for what the header may cost */
    uint32_t nodes, leaves, iterations; /* nodes, leaves below each: at most */
};

/* The header in the host's memory, and the directions of its nodes in directions[nodes][HHTLD_OCTAVE]. */
tsr_status hhtld_block_train(const struct hhtld_block_training *training, uint8_t **header, uint64_t *size,
                             float directions[HHTLD_BLOCK_NODES_MAX][HHTLD_OCTAVE], tsr_error *err);

#endif
