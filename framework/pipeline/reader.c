/* SPDX-License-Identifier: Apache-2.0
 *
 * Untransposed tiles follow each other in source order, so one tile is in memory at a time. A tensor stored transposed
 * is decoded whole: only there does memory grow with it. */
#include "reader.h"

#include <base/alloc.h>
#include <string.h>

tsr_status reader_open(const char *path, const struct registry *registry, const struct env *env, struct reader *reader,
                       tsr_error *err) {
    reader->registry = registry;
    reader->env = env;
    tsr_status st = checkpoint_open(path, &reader->raw, err);
    if (st != TSR_OK || !stored_is(&reader->raw)) return st;
    checkpoint_close(&reader->raw);
    reader->compressed = true;
    return stored_open(path, &reader->stored, err);
}

void reader_close(struct reader *reader) {
    checkpoint_close(&reader->raw);
    stored_close(&reader->stored);
    *reader = (struct reader){0};
}

uint64_t reader_count(const struct reader *reader) {
    return reader->compressed ? reader->stored.tensor_count : reader->raw.tensor_count;
}

struct reader_tensor reader_tensor(const struct reader *reader, uint64_t index) {
    if (reader->compressed) {
        const struct stored_tensor *tensor = &reader->stored.tensors[index];
        return (struct reader_tensor){tensor->name, tensor->dtype_name, tensor->shape, tensor->rank, tensor->bytes};
    }
    const struct checkpoint_tensor *tensor = &reader->raw.tensors[index];
    const struct safetensors_entry *entry = tensor->entry;
    return (struct reader_tensor){tensor->name, entry->dtype_name, entry->shape, entry->rank, entry->bytes};
}

static tsr_status keep_run(void *ctx, uint64_t offset, void *bytes, uint64_t size, tsr_error *err) {
    struct reader_stream *stream = ctx;
    (void)err;
    memcpy(stream->buffer + offset, bytes, size);
    return TSR_OK;
}

static tsr_status keep_tile(void *ctx, const struct decoder *decoder, const tsr_tile *tile, void *bytes, void *scratch,
                            tsr_error *err) {
    return order_scatter(&decoder->order, tile, keep_run, ctx, bytes, scratch, err);
}

tsr_status reader_begin(const struct reader *reader, uint64_t index, struct reader_stream *stream, tsr_error *err) {
    stream->reader = reader;
    stream->index = index;
    if (!reader->compressed) return TSR_OK;
    const struct stored_tensor *tensor = &reader->stored.tensors[index];
    struct decoder_input input = stored_input(&reader->stored, tensor);
    tsr_status st = decoder_open(&input, reader->registry, reader->env, &stream->decoder, err);
    if (st != TSR_OK) return st;
    const struct tile_grid *grid = &stream->decoder.grid;
    bool whole = stream->decoder.order.transposed;
    if (stream->decoder.payload.head.bytes != tensor->bytes) {
        return tsr_fail(err, TSR_E_CORRUPT, "tensor \"%s\": payload and manifest differ in size", tensor->name);
    }
    uint64_t room = whole ? tensor->bytes : grid->tile_rows * grid->tile_columns * (stream->decoder.order.bits / 8);
    stream->buffer = mem_alloc_aligned(room);
    if (!stream->buffer) return tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", tensor->name);
    if (!whole) return TSR_OK;
    stream->buffer_bytes = tensor->bytes;
    stream->next_tile = grid->count;
    return decoder_each(&stream->decoder, keep_tile, stream, err);
}

static tsr_status refill(struct reader_stream *stream, uint64_t worker, tsr_error *err) {
    const struct decoder *decoder = &stream->decoder;
    if (stream->next_tile >= decoder->grid.count)
        return tsr_fail(err, TSR_E_ARGUMENT, "read behind the end of a tensor");
    tsr_tile tile = tile_at(&decoder->grid, stream->next_tile, decoder->order.bits);
    stream->buffer_bytes = tile.bytes;
    stream->buffer_at = 0;
    return decoder_tile(decoder, stream->next_tile++, worker, stream->buffer, err);
}

tsr_status reader_read(struct reader_stream *stream, uint64_t worker, void *dst, uint64_t size, tsr_error *err) {
    const struct reader *reader = stream->reader;
    if (!reader->compressed) {
        tsr_status st = checkpoint_read(&reader->raw, &reader->raw.tensors[stream->index], stream->at, dst, size, err);
        stream->at += size;
        return st;
    }
    uint8_t *to = dst;
    while (size) {
        if (stream->buffer_at == stream->buffer_bytes) {
            tsr_status st = refill(stream, worker, err);
            if (st != TSR_OK) return st;
        }
        uint64_t step = min_u64(size, stream->buffer_bytes - stream->buffer_at);
        memcpy(to, stream->buffer + stream->buffer_at, step);
        stream->buffer_at += step;
        to += step;
        size -= step;
    }
    return TSR_OK;
}

void reader_end(struct reader_stream *stream) {
    decoder_close(&stream->decoder);
    mem_free(stream->buffer);
    *stream = (struct reader_stream){0};
}
