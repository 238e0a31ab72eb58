/* SPDX-License-Identifier: Apache-2.0
 *
 * Untransposed tiles follow each other in source order, so one tile is in memory at a time. Of a tensor stored transposed
 * every tile has a part of every row, so it is decoded anew for each strip that memory has room for. */
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

#define STRIP_MAX (UINT64_C(64) << 20)
#define STRIP_MIN (UINT64_C(64) << 10)

struct reader_tensor reader_tensor(const struct reader *reader, uint64_t index) {
    if (reader->compressed) {
        const struct stored_tensor *tensor = &reader->stored.tensors[index];
        return (struct reader_tensor){tensor->name, tensor->dtype_name, tensor->shape, tensor->rank, tensor->bytes};
    }
    const struct checkpoint_tensor *tensor = &reader->raw.tensors[index];
    const struct safetensors_entry *entry = tensor->entry;
    return (struct reader_tensor){tensor->name, entry->dtype_name, entry->shape, entry->rank, entry->bytes};
}

tsr_status reader_decoder(const struct reader *reader, uint64_t index, struct decoder *decoder, tsr_error *err) {
    const struct stored_tensor *tensor = &reader->stored.tensors[index];
    struct decoder_input input = stored_input(&reader->stored, tensor);
    tsr_status st = decoder_open(&input, reader->registry, reader->env, decoder, err);
    if (st != TSR_OK || decoder->payload.head.bytes == tensor->bytes) return st;
    return tsr_fail(err, TSR_E_CORRUPT, "tensor \"%s\": payload and manifest differ in size", tensor->name);
}

/* What of a run lies in the strip. */
static tsr_status keep_run(void *ctx, uint64_t offset, void *bytes, uint64_t size, tsr_error *err) {
    struct reader_stream *stream = ctx;
    uint64_t first = max_u64(offset, stream->strip_at);
    uint64_t end = min_u64(offset + size, stream->strip_at + stream->buffer_bytes);
    (void)err;
    if (first < end) memcpy(stream->buffer + (first - stream->strip_at), (uint8_t *)bytes + (first - offset), end - first);
    return TSR_OK;
}

static tsr_status keep_tile(void *ctx, const struct decoder *decoder, const tsr_tile *tile, void *bytes, void *scratch,
                            tsr_error *err) {
    return order_scatter(&decoder->order, tile, keep_run, ctx, bytes, scratch, err);
}

static uint64_t strip_of(const struct reader *reader, uint64_t bytes) {
    uint64_t budget = reader->env->memory_bytes ? max_u64(reader->env->memory_bytes / 4, STRIP_MIN) : STRIP_MAX;
    return min_u64(bytes, min_u64(budget, STRIP_MAX));
}

tsr_status reader_begin(const struct reader *reader, uint64_t index, struct reader_stream *stream, tsr_error *err) {
    stream->reader = reader;
    stream->index = index;
    if (!reader->compressed) return TSR_OK;
    const struct stored_tensor *tensor = &reader->stored.tensors[index];
    tsr_status st = reader_decoder(reader, index, &stream->decoder, err);
    if (st != TSR_OK) return st;
    const struct tile_grid *grid = &stream->decoder.grid;
    if (stream->decoder.order.transposed) stream->strip_bytes = strip_of(reader, tensor->bytes);
    stream->buffer = mem_alloc_aligned(stream->strip_bytes
                                           ? stream->strip_bytes
                                           : grid->tile_rows * grid->tile_columns * (stream->decoder.order.bits / 8));
    return stream->buffer ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", tensor->name);
}

static tsr_status refill_strip(struct reader_stream *stream, tsr_error *err) {
    uint64_t bytes = stream->decoder.payload.head.bytes;
    stream->strip_at += stream->buffer_bytes;
    stream->buffer_bytes = min_u64(stream->strip_bytes, bytes - stream->strip_at);
    stream->buffer_at = 0;
    if (!stream->buffer_bytes) return tsr_fail(err, TSR_E_ARGUMENT, "read behind the end of a tensor");
    return decoder_each(&stream->decoder, keep_tile, stream, err);
}

static tsr_status refill(struct reader_stream *stream, uint64_t worker, tsr_error *err) {
    const struct decoder *decoder = &stream->decoder;
    if (stream->strip_bytes) return refill_strip(stream, err);
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
