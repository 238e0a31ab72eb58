/* SPDX-License-Identifier: Apache-2.0
 *
 * The two sides of slotl, between which slotl.c chooses, and the basis training that encoding and dictionaries share. */
#ifndef SLOTL_H
#define SLOTL_H

#include "slotl_bitstream.h"

#include <tessera/ext/entropy.h>
#include <tessera/ext/kmeans.h>

struct slotl {
    const tsr_host *host;
    const tsr_entropy *entropy;
    const tsr_tensor *tensor;
    struct slotl_shape shape;
    tsr_entropy_model *model; /* of the 8-bit band, or NULL */
    float *scaled;            /* decoder: scale[k] * B[k][c], [rank][columns] */
    float *palette;           /* decoder: [palette][columns] */
    /* Encoder only. */
    const float *column_weight; /* hints, or NULL */
    const uint16_t *lent_basis; /* of the dictionary, [lent_rank][columns], or NULL */
    uint32_t lent_rank;
    int32_t *coefficients; /* [rows][rank] */
    uint8_t *twigs;        /* [rows], with a palette */
};

/* ---- basis ---- */

/* Rows of one or several matrices of equal width; row numbers run on. */
struct slotl_rows {
    void *ctx;
    uint64_t count, columns;
    tsr_status (*read)(void *ctx, uint64_t first, uint64_t rows, float *dst, tsr_error *err);
};

/* The `rank` right singular vectors of largest singular value of rows * diag(weight), each divided by weight again, by
 * subspace iteration with oversampling (Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithm 4.4). basis gets
 * [rank][columns] in BF16; components that the rows do not have are 0. `scale` is multiplied to all rows before. The same
 * for any number of workers. weight may be NULL. */
tsr_status slotl_train_basis(const tsr_host *host, const struct slotl_rows *rows, const double *weight, double scale,
                             uint32_t rank, uint64_t seed, uint16_t *basis, tsr_error *err);

/* ---- encoder ---- */

/* Looks at the whole tensor: palette, basis, coefficients; writes the header. */
tsr_status slotl_prepare(struct slotl *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err);
uint64_t slotl_encode_bound(const struct slotl *self, uint64_t rows);
tsr_status slotl_encode(const struct slotl *self, const tsr_tile *tile, void *dst, uint64_t capacity, uint64_t *written,
                        tsr_error *err);

/* ---- decoder ---- */

tsr_status slotl_read_header(struct slotl *self, const void *header, uint64_t size, tsr_error *err);
/* TSR_E_CORRUPT when these are no dictionary for `columns`; basis is borrowed, misaligned for nobody: [rank][columns]. */
tsr_status slotl_read_dictionary(const void *bytes, uint64_t size, uint64_t columns, const uint8_t **basis,
                                 uint32_t *rank, tsr_error *err);
/* Rows [first_row, first_row + rows) of the tile. */
tsr_status slotl_decode(const struct slotl *self, const tsr_tile *tile, const void *src, uint64_t size,
                        uint64_t first_row, uint64_t rows, float *dst, tsr_error *err);

#endif
