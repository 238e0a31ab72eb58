/* SPDX-License-Identifier: Apache-2.0
 *
 * A slot a tensor. Invariant: `held` is the sum of the decoded slots; only slots with no pins are dropped. Single rows (an
 * embedding lookup) come from one decoded tile, the last of which is kept. */
#include "tensor_cache.h"

#include <base/alloc.h>
#include <string.h>

struct slot {
    uint8_t *decoded; /* NULL: not held */
    uint64_t used;    /* clock of the last use */
    uint32_t pins;
};

/* The tile that rows were last read from. */
struct open_tile {
    struct decoder decoder;
    uint64_t index; /* of the tensor */
    uint64_t tile;
    uint8_t *bytes;
    bool open, filled;
};

struct tensor_cache {
    struct reader *reader;
    const struct env *env;
    struct slot *slots;
    uint64_t count, budget, held, peak, clock;
    struct open_tile last;
};

/* Aliases live in their target's slot. */
static uint64_t storage_of(const struct tensor_cache *cache, uint64_t index) {
    if (!cache->reader->compressed) return index;
    int64_t target = cache->reader->stored.tensors[index].alias_of;
    return target >= 0 ? (uint64_t)target : index;
}

static const uint8_t *mapped(const struct tensor_cache *cache, uint64_t index) {
    const struct checkpoint_tensor *tensor = &cache->reader->raw.tensors[index];
    return cache->reader->raw.files[tensor->file].st.file.map + tensor->entry->offset;
}

tsr_status tensor_cache_create(struct reader *reader, uint64_t budget_bytes, const struct env *env,
                               struct tensor_cache **out, tsr_error *err) {
    struct tensor_cache *cache = mem_alloc_zero(1, sizeof *cache);
    if (!cache) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the tensor cache");
    *cache = (struct tensor_cache){.reader = reader, .env = env, .count = reader_count(reader), .budget = budget_bytes};
    tsr_status st = TSR_OK;
    cache->slots = mem_alloc_zero(cache->count, sizeof *cache->slots);
    if (!cache->slots) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for the tensor cache");
    for (uint64_t i = 0; !reader->compressed && i < reader->raw.file_count && st == TSR_OK; i++) {
        st = fs_map(&reader->raw.files[i].st.file, err);
    }
    if (st != TSR_OK) {
        tensor_cache_destroy(cache);
        return st;
    }
    *out = cache;
    return TSR_OK;
}

static void close_tile(struct open_tile *last) {
    if (last->open) decoder_close(&last->decoder);
    mem_free(last->bytes);
    *last = (struct open_tile){0};
}

void tensor_cache_destroy(struct tensor_cache *cache) {
    if (!cache) return;
    for (uint64_t i = 0; cache->slots && i < cache->count; i++) mem_free(cache->slots[i].decoded);
    mem_free(cache->slots);
    close_tile(&cache->last);
    mem_free(cache);
}

/* Drops slots until `more` bytes fit, as far as pins allow: what was used last goes first. A model is read in the same
 * order again and again, so what was used last is needed last, and most of the budget stays filled. */
static void make_room(struct tensor_cache *cache, uint64_t more) {
    while (cache->held && cache->held + more > cache->budget) {
        struct slot *newest = NULL;
        uint64_t at = 0;
        for (uint64_t i = 0; i < cache->count; i++) {
            struct slot *slot = &cache->slots[i];
            if (!slot->decoded || slot->pins || (newest && slot->used <= newest->used)) continue;
            newest = slot;
            at = i;
        }
        if (!newest) return;
        mem_free(newest->decoded);
        newest->decoded = NULL;
        cache->held -= cache->reader->stored.tensors[at].bytes;
    }
}

void tensor_cache_limit(struct tensor_cache *cache, uint64_t budget_bytes) {
    cache->budget = budget_bytes;
    make_room(cache, 0);
}

static tsr_status put_run(void *ctx, uint64_t offset, void *bytes, uint64_t size, tsr_error *err) {
    uint8_t *decoded = ctx;
    (void)err;
    memcpy(decoded + offset, bytes, size);
    return TSR_OK;
}

static tsr_status put_tile(void *ctx, const struct decoder *decoder, const tsr_tile *tile, void *bytes, void *scratch,
                           tsr_error *err) {
    return order_scatter(&decoder->order, tile, put_run, ctx, bytes, scratch, err);
}

static tsr_status open_decoder(struct tensor_cache *cache, uint64_t index, struct decoder *decoder, tsr_error *err) {
    const struct stored_tensor *tensor = &cache->reader->stored.tensors[index];
    struct decoder_input input = stored_input(&cache->reader->stored, tensor);
    tsr_status st = decoder_open(&input, cache->reader->registry, cache->env, decoder, err);
    if (st == TSR_OK && decoder->payload.head.bytes != tensor->bytes) {
        st = tsr_fail(err, TSR_E_CORRUPT, "tensor \"%s\": payload and manifest differ in size", tensor->name);
    }
    return st;
}

static tsr_status decode_whole(struct tensor_cache *cache, uint64_t index, tsr_error *err) {
    const struct stored_tensor *tensor = &cache->reader->stored.tensors[index];
    struct decoder decoder = {0};
    make_room(cache, tensor->bytes);
    uint8_t *decoded = mem_alloc_aligned(tensor->bytes);
    tsr_status st = decoded ? open_decoder(cache, index, &decoder, err)
                            : tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", tensor->name);
    if (st == TSR_OK) st = decoder_each(&decoder, put_tile, decoded, err);
    decoder_close(&decoder);
    if (st != TSR_OK) {
        mem_free(decoded);
        return st;
    }
    cache->slots[index].decoded = decoded;
    cache->held += tensor->bytes;
    if (cache->held > cache->peak) cache->peak = cache->held;
    return TSR_OK;
}

tsr_status tensor_cache_pin(struct tensor_cache *cache, uint64_t index, const uint8_t **data, tsr_error *err) {
    if (!cache->reader->compressed) {
        *data = mapped(cache, index);
        return TSR_OK;
    }
    struct slot *slot = &cache->slots[storage_of(cache, index)];
    if (!slot->decoded) {
        tsr_status st = decode_whole(cache, storage_of(cache, index), err);
        if (st != TSR_OK) return st;
    }
    slot->used = ++cache->clock;
    slot->pins++;
    *data = slot->decoded;
    return TSR_OK;
}

void tensor_cache_unpin(struct tensor_cache *cache, uint64_t index) {
    if (cache->reader->compressed) cache->slots[storage_of(cache, index)].pins--;
}

/* ---- parts of a tensor ---- */

static tsr_status open_tile_of(struct tensor_cache *cache, uint64_t index, tsr_error *err) {
    struct open_tile *last = &cache->last;
    if (last->open && last->index == index) return TSR_OK;
    close_tile(last);
    tsr_status st = open_decoder(cache, index, &last->decoder, err);
    last->open = true;
    last->index = index;
    const struct tile_grid *grid = &last->decoder.grid;
    if (st == TSR_OK) last->bytes = mem_alloc_aligned(grid->tile_rows * grid->tile_columns * (last->decoder.order.bits / 8));
    if (st == TSR_OK && !last->bytes) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for a tile");
    if (st != TSR_OK) close_tile(last);
    return st;
}

/* Tiles of whole rows follow each other in source order, all but the last of one size. */
static tsr_status read_from_tiles(struct tensor_cache *cache, uint64_t offset, uint64_t size, uint8_t *dst, tsr_error *err) {
    struct open_tile *last = &cache->last;
    while (size) {
        tsr_tile first = tile_at(&last->decoder.grid, 0, last->decoder.order.bits);
        uint64_t number = offset / first.bytes;
        tsr_tile tile = tile_at(&last->decoder.grid, number, last->decoder.order.bits);
        if (!last->filled || last->tile != number) {
            last->filled = false;
            tsr_status st = decoder_tile(&last->decoder, number, 0, last->bytes, err);
            if (st != TSR_OK) return st;
            last->filled = true;
            last->tile = number;
        }
        uint64_t inside = offset - number * first.bytes, step = min_u64(size, tile.bytes - inside);
        memcpy(dst, last->bytes + inside, step);
        dst += step;
        offset += step;
        size -= step;
    }
    return TSR_OK;
}

tsr_status tensor_cache_read(struct tensor_cache *cache, uint64_t index, uint64_t offset, uint64_t size, void *dst,
                             tsr_error *err) {
    const uint8_t *data;
    uint64_t storage = storage_of(cache, index);
    if (cache->reader->compressed && !cache->slots[storage].decoded) {
        tsr_status st = open_tile_of(cache, storage, err);
        if (st != TSR_OK) return st;
        const struct decoder *decoder = &cache->last.decoder;
        bool in_order = !decoder->order.transposed && decoder->grid.tile_columns == decoder->grid.columns;
        if (in_order && decoder->grid.count) return read_from_tiles(cache, offset, size, dst, err);
    }
    tsr_status st = tensor_cache_pin(cache, index, &data, err);
    if (st != TSR_OK) return st;
    memcpy(dst, data + offset, size);
    tensor_cache_unpin(cache, index);
    return TSR_OK;
}

uint64_t tensor_cache_peak(const struct tensor_cache *cache) {
    return cache->peak;
}
