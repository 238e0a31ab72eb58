/* SPDX-License-Identifier: Apache-2.0
 *
 * The row mode of hclam: a tree of balls over whole rows, for searches. What its files share. */
#ifndef HCLAM_INDEX_H
#define HCLAM_INDEX_H

#include "hclam_index_bitstream.h"

#include <tessera/codec.h>
#include <tessera/ext/kmeans.h>
#include <tessera/ext/products.h>
#include <tessera/ext/signature.h>

extern const tsr_codec hclam_index_codec;

/* A header in memory. Codes point into its bytes, the rest is one block of the host's memory. Zero-initialise. */
struct hclam_tree {
    void *memory;
    const int8_t *codes;    /* [nodes + leaves][columns] */
    double *norm;           /* [nodes + leaves] length of the centre, not below */
    float *scale, *radius;  /* [nodes + leaves] */
    uint64_t columns;
    uint32_t nodes, leaves;
    uint32_t first[HCLAM_INDEX_FAN_MAX + 1]; /* leaf of each node */
};

/* Reads and checks; `bytes` must live as long as the tree. TSR_E_CORRUPT names what is wrong. */
tsr_status hclam_tree_read(const tsr_host *host, const uint8_t *bytes, uint64_t size, uint64_t columns,
                           struct hclam_tree *tree, tsr_error *err);
void hclam_tree_clear(const tsr_host *host, struct hclam_tree *tree);

struct hclam_index_settings {
    uint32_t k1, k2, iterations; /* k1, k2: 0 for chosen by the number of rows */
};

/* Nodes and leaves for so many rows. TSR_E_UNSUPPORTED when no tree of such rows fits a header. */
tsr_status hclam_index_plan(const struct hclam_index_settings *settings, uint64_t rows, uint64_t columns,
                            uint64_t *nodes, uint64_t *leaves, tsr_error *err);

struct hclam_index_training {
    const tsr_host *host;
    const tsr_products *products;
    const tsr_kmeans *kmeans;
    struct hclam_index_settings settings;
    const tsr_row_source *source;
    uint64_t rows, columns;
};

/* Trains, then looks at every row once: the header with its radii, and the address of each row, [rows]. Both are the
 * host's memory, for the caller to free. */
tsr_status hclam_index_train(const struct hclam_index_training *training, uint8_t **header, uint64_t *size,
                             uint16_t **addresses, tsr_error *err);

/* What searches and decode share. */
struct hclam_index_decoder {
    const tsr_host *host;
    const tsr_products *products;
    struct hclam_tree tree;
    uint64_t rows;
};

/* The leaf of an entry, or TSR_E_CORRUPT. */
tsr_status hclam_index_leaf(const struct hclam_tree *tree, const uint8_t *entry, uint32_t *leaf, tsr_error *err);
tsr_status hclam_index_check_tile(const struct hclam_tree *tree, const tsr_tile *tile, uint64_t size, tsr_error *err);

tsr_status hclam_index_search_open(const struct hclam_index_decoder *decoder, const tsr_signature_source *source,
                                   void **search, tsr_error *err);
void hclam_index_search_close(const struct hclam_index_decoder *decoder, void *search);
tsr_status hclam_index_search(const struct hclam_index_decoder *decoder, void *search, const tsr_search_request *request,
                              uint64_t *rows, double *score, uint64_t *found, tsr_search_stats *stats, tsr_error *err);

#endif
