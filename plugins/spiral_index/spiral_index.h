/* SPDX-License-Identifier: Apache-2.0
 *
 * The signature mode of spiral: some columns of each row, and the length of what they leave out. What its files share. */
#ifndef SPIRAL_INDEX_H
#define SPIRAL_INDEX_H

#include "spiral_index_bitstream.h"

#include <tessera/codec.h>
#include <tessera/ext/products.h>
#include <tessera/ext/signature.h>

extern const tsr_codec spiral_index_codec;

/* Where the samples are: one for all rows of a tensor. */
struct spiral_address {
    uint32_t start, stride, length;
};

static inline uint64_t spiral_index_samples(uint64_t anchors, uint64_t columns) {
    return SPIRAL_INDEX_OCTAVE * anchors < columns ? SPIRAL_INDEX_OCTAVE * anchors : columns;
}

static inline uint64_t spiral_index_entry_bytes(uint64_t samples) {
    return 2 * (samples + 1);
}

/* The role's stride where it visits every octave, else 1. */
struct spiral_address spiral_index_address(uint64_t stride, uint64_t anchors, uint64_t columns);

/* The walk: where[samples], each column once. */
void spiral_index_walk(const struct spiral_address *address, uint64_t columns, uint32_t *where);

/* TSR_E_CORRUPT names what is wrong. */
tsr_status spiral_index_read_header(const uint8_t *bytes, uint64_t size, uint64_t columns,
                                    struct spiral_address *address, tsr_error *err);

/* header[SPIRAL_INDEX_HEADER_BYTES]. `role` may be NULL. */
void spiral_index_write_header(const struct spiral_address *address, uint64_t columns, const char *role, double rms,
                               uint8_t *header);

/* What searches and decode share. */
struct spiral_index_decoder {
    const tsr_host *host;
    const tsr_products *products;
    uint64_t rows, columns, samples;
    uint8_t *sampled;                         /* [columns] 1 where the walk goes */
    uint32_t where[SPIRAL_INDEX_SAMPLES_MAX]; /* [samples] */
};

tsr_status spiral_index_check_tile(const struct spiral_index_decoder *decoder, const tsr_tile *tile, uint64_t size,
                                   tsr_error *err);
/* An entry as stored: half[samples + 1]. TSR_E_CORRUPT for numbers that no encoder writes. */
tsr_status spiral_index_read_entry(const struct spiral_index_decoder *decoder, const uint8_t *entry, uint16_t *half,
                                   tsr_error *err);

tsr_status spiral_index_search_open(const struct spiral_index_decoder *decoder, const tsr_signature_source *source,
                                    void **search, tsr_error *err);
void spiral_index_search_close(const struct spiral_index_decoder *decoder, void *search);
tsr_status spiral_index_search(const struct spiral_index_decoder *decoder, void *search,
                               const tsr_search_request *request, uint64_t *rows, double *score, uint64_t *found,
                               tsr_search_stats *stats, tsr_error *err);

#endif
