/* SPDX-License-Identifier: Apache-2.0
 *
 * The two sides of remainder, between which remainder.c chooses. `prediction` may be NULL everywhere: zeros. */
#ifndef REMAINDER_H
#define REMAINDER_H

#include "remainder_bitstream.h"

#include <tessera/ext/entropy.h>

struct remainder {
    const tsr_host *host;
    const tsr_entropy *entropy;
    const tsr_tensor *tensor;
    struct remainder_form form;
    struct remainder_contexts contexts;
    tsr_entropy_model *zeros, *differences; /* NULL: the tensor has none of that kind */
};

/* Looks at the whole tensor, chooses contexts and models, writes the header. */
tsr_status remainder_prepare(struct remainder *self, const tsr_row_source *source, const tsr_row_source *prediction,
                             const tsr_writer *header, tsr_error *err);
uint64_t remainder_encode_bound(const struct remainder *self, uint64_t count);
tsr_status remainder_encode(const struct remainder *self, const tsr_tile *tile, const void *src, const void *prediction,
                            void *dst, uint64_t capacity, uint64_t *written, tsr_error *err);

/* Reads the header into contexts and models. */
tsr_status remainder_read_header(struct remainder *self, const void *header, uint64_t size, tsr_error *err);
tsr_status remainder_decode(const struct remainder *self, const tsr_tile *tile, const void *src, uint64_t size,
                            const void *prediction, void *dst, tsr_error *err);

#endif
