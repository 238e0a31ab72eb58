/* SPDX-License-Identifier: Apache-2.0
 *
 * A checkpoint, raw or compressed, as tensors in source order: what `diff` compares and programs read. */
#ifndef READING_READER_H
#define READING_READER_H

#include "decoder.h"
#include "stored.h"

/* Zero-initialise; close in any case. */
struct reader {
    struct checkpoint raw; /* used when it is not compressed */
    struct stored stored;
    bool compressed;
    const struct registry *registry;
    const struct env *env;
};

struct reader_tensor {
    const char *name;
    const char *dtype_name;
    const uint64_t *shape;
    uint64_t rank, bytes;
};

tsr_status reader_open(const char *path, const struct registry *registry, const struct env *env, struct reader *reader,
                       tsr_error *err);
void reader_close(struct reader *reader);
uint64_t reader_count(const struct reader *reader);
struct reader_tensor reader_tensor(const struct reader *reader, uint64_t index);
/* Opens a decoder on tensor `index` of a compressed checkpoint. Zero-initialise; decoder_close in any case. [any] */
tsr_status reader_decoder(const struct reader *reader, uint64_t index, struct decoder *decoder, tsr_error *err);

/* One tensor read from front to back. Zero-initialise; end in any case. */
struct reader_stream {
    const struct reader *reader;
    uint64_t index, at;
    struct decoder decoder;
    uint8_t *buffer; /* decoded tile, or a strip of the tensor when it is stored transposed */
    uint64_t buffer_bytes, buffer_at, next_tile;
    uint64_t strip_bytes; /* room for a strip; each takes a decoding of the whole tensor. 0: tiles come in order */
    uint64_t strip_at;    /* where in the tensor it begins */
};
tsr_status reader_begin(const struct reader *reader, uint64_t index, struct reader_stream *stream, tsr_error *err);
/* The next `size` bytes. */
tsr_status reader_read(struct reader_stream *stream, uint64_t worker, void *dst, uint64_t size, tsr_error *err);
void reader_end(struct reader_stream *stream);

#endif
