/* SPDX-License-Identifier: Apache-2.0
 *
 * The palette of hhtld_bitstream.h in memory: what training makes, what encoder, decoder and search read. */
#ifndef HHTLD_PALETTE_H
#define HHTLD_PALETTE_H

#include "hhtld_bitstream.h"

#include <tessera/codec.h>

/* Cosines between leaves (or families) by Fisher's z in eight bits. */
struct hhtld_table {
    const int8_t *codes; /* [size][size]; NULL without a table */
    uint32_t size, clamped;
    float z_min, z_range;
};

/* Codes point into the bytes that were read; the rest is one block of the host's memory. Zero-initialise. */
struct hhtld_palette {
    void *memory;
    const int8_t *codes;      /* [leaf_count][columns] */
    const int8_t *lane_codes; /* [lane_count][columns] */
    float *centre;            /* [columns] */
    float *scale, *gain;      /* [leaf_count] */
    float *lane_scale, *lane_step, *lane_slack; /* [lane_count] */
    double *leaf_norm;        /* [leaf_count] |u|, not below */
    uint8_t *family;          /* [leaf_count] */
    double centre_norm;       /* not below */
    uint64_t columns;
    uint32_t flags, families, leaf_count, lane_count;
    uint32_t first[HHTLD_FAMILIES_MAX + 1]; /* leaf of each family */
    struct hhtld_table table;
};

/* Shape of a palette: all that its size depends on. */
struct hhtld_shape {
    uint64_t columns;
    uint32_t flags, families, leaf_count, lane_count;
};
uint64_t hhtld_palette_bytes(const struct hhtld_shape *shape);

/* Reads and checks; `bytes` must live as long as the palette. TSR_E_CORRUPT names what is wrong. */
tsr_status hhtld_palette_read(const tsr_host *host, const uint8_t *bytes, uint64_t size, uint64_t columns,
                              struct hhtld_palette *palette, tsr_error *err);
void hhtld_palette_clear(const tsr_host *host, struct hhtld_palette *palette);

/* The leaf that an address means, or leaf_count when there is none. */
static inline uint32_t hhtld_leaf_of(const struct hhtld_palette *palette, uint32_t hip, uint32_t twig) {
    if (hip >= palette->families) return palette->leaf_count;
    uint32_t first = palette->first[hip], end = palette->first[hip + 1];
    uint32_t leaf = palette->flags & HHTLD_FLAG_FLAT ? twig : first + twig;
    return leaf >= first && leaf < end ? leaf : palette->leaf_count;
}

#endif
