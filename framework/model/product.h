/* SPDX-License-Identifier: Apache-2.0
 *
 * A compressed matrix that is multiplied with one token straight from its payload, where the codec can (ext/matvec.h).
 * Tiles are packed once; those that the codec cannot pack are kept decoded. */
#ifndef MODEL_PRODUCT_H
#define MODEL_PRODUCT_H

#include <reading/tensor_cache.h>

struct product;

/* Where the packed tiles of a model stand: slabs of large pages, which are read a fifth faster. Zero-initialise. */
struct slab;
struct product_memory {
    struct slab *slabs;
};
void product_memory_clear(struct product_memory *memory); /* after its products are gone */

/* The matrix of a linear operator over tensor `index`. */
struct product_shape {
    uint64_t index;
    uint64_t rows, columns;
    bool transposed; /* the source is stored [columns][rows] */
};

/* *product stays NULL where there is no product: raw checkpoint, codec without one, a stack of codecs, only a part of the
 * tensor, rows cut into pieces, or more than `limit` bytes. Tiles stand in `memory`. Not from inside a pool task. */
tsr_status product_create(struct tensor_cache *cache, const struct product_shape *shape, uint64_t limit,
                          struct product_memory *memory, const struct env *env, struct product **product, tsr_error *err);
void product_destroy(struct product *product);
/* Memory of the packed tiles. */
uint64_t product_bytes(const struct product *product);

/* A product in pieces, for several at once: begin makes what x asks for, then each piece is a task. x and y must stay until
 * the last piece is done. */
tsr_status product_begin(struct product *product, const float *x, float *y, tsr_error *err);
uint64_t product_pieces(const struct product *product);
tsr_status product_piece(struct product *product, uint64_t index, uint64_t worker, tsr_error *err);

/* y [rows] = W x, the same bits for any number of workers. Not from inside a pool task. [instance] */
tsr_status product_apply(struct product *product, const float *x, float *y, tsr_error *err);

#endif
