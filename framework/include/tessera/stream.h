/* SPDX-License-Identifier: Apache-2.0
 *
 * The two streams that cross the ABI: a sink of bytes whose length is not known before, and a source of
 * rows of the tensor that is being encoded. Both belong to the host and are valid for the call only. */
#ifndef TESSERA_STREAM_H
#define TESSERA_STREAM_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tsr_writer {
    uint64_t struct_size;
    void *ctx;
    /* Appends `size` bytes. On failure nothing more may be written. [instance] */
    tsr_status (*write)(void *ctx, const void *bytes, uint64_t size, tsr_error *err);
} tsr_writer;

/* Reads a block of the matrix view in the codec's input form (tsr_codec.input): F32 values, or source bytes.
 * `dst` holds rows * columns elements. Same block, same bytes, any number of times. Reading may decode on this worker, so
 * it ends what the worker had from host->scratch. [any] */
typedef struct tsr_row_source {
    uint64_t struct_size;
    void *ctx;
    tsr_status (*read)(void *ctx, uint64_t first_row, uint64_t rows, uint64_t first_column, uint64_t columns,
                       void *dst, tsr_error *err);
} tsr_row_source;

#ifdef __cplusplus
}
#endif
#endif
