/* SPDX-License-Identifier: Apache-2.0
 *
 * A slot a tensor. Invariant: `held` is the sum of the decoded slots; only slots with no pins are dropped. Single rows (an
 * embedding lookup) come from one decoded tile, the last of which is kept. */
#include "tensor_cache.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>
#include <string.h>

#include "decode_range.h"

struct slot {
    uint8_t *decoded; /* NULL: not held */
    uint64_t used;    /* clock of the last use */
    uint64_t next;    /* the tensor that was pinned after this one, count for none */
    bool sure;        /* it was so twice in a row */
    uint32_t reads;   /* of rows while it was not decoded */
    uint32_t pins;
};

#define READS_MAX 32 /* of single rows, each of which decodes a tile, before all are decoded at once if they fit */

#define BATCH_MAX 16
#define BATCH_BYTES ((uint64_t)12 << 20)

/* Tensors that are decoded together. */
struct batch {
    struct tensor_cache *cache;
    uint64_t index[BATCH_MAX];
    uint8_t *decoded[BATCH_MAX];
    uint64_t count;
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
    uint64_t last_pinned;
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
    for (uint64_t i = 0; st == TSR_OK && i < cache->count; i++) cache->slots[i].next = cache->count;
    cache->last_pinned = cache->count;
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

static tsr_status decode_one(void *ctx, uint64_t number, uint64_t worker, tsr_error *err) {
    struct batch *batch = ctx;
    struct tensor_cache *cache = batch->cache;
    const struct stored_tensor *tensor = &cache->reader->stored.tensors[batch->index[number]];
    struct decoder decoder = {0};
    (void)worker;
    uint8_t *decoded = batch->decoded[number] = mem_alloc_aligned(tensor->bytes);
    tsr_status st = decoded ? reader_decoder(cache->reader, batch->index[number], &decoder, err)
                            : tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", tensor->name);
    struct decode_range whole = {.bytes = tensor->bytes, .dst = decoded};
    if (st == TSR_OK) st = decode_range(&decoder, &whole, err);
    decoder_close(&decoder);
    return st;
}

static bool in_batch(const struct batch *batch, uint64_t index) {
    for (uint64_t i = 0; i < batch->count; i++) {
        if (batch->index[i] == index) return true;
    }
    return false;
}

/* The tensor, and those that will be asked for behind it, as far as the last passes agree: one tensor alone has too few
 * tiles for all workers. Returns their bytes. */
static uint64_t choose_batch(const struct tensor_cache *cache, uint64_t index, struct batch *batch) {
    uint64_t bytes = cache->reader->stored.tensors[index].bytes, limit = min_u64(BATCH_BYTES, cache->budget);
    batch->index[batch->count++] = index;
    while (batch->count < BATCH_MAX && cache->slots[index].sure) {
        index = cache->slots[index].next;
        uint64_t more = cache->reader->stored.tensors[index].bytes;
        if (bytes + more > limit || cache->slots[index].decoded || in_batch(batch, index)) break;
        batch->index[batch->count++] = index;
        bytes += more;
    }
    return bytes;
}

static tsr_status decode_batch(struct tensor_cache *cache, uint64_t index, tsr_error *err) {
    struct batch batch = {.cache = cache};
    make_room(cache, choose_batch(cache, index, &batch));
    tsr_status st = pool_for(cache->env->pool, batch.count, decode_one, &batch, err);
    for (uint64_t i = 0; i < batch.count; i++) {
        if (st != TSR_OK) {
            mem_free(batch.decoded[i]);
            continue;
        }
        cache->slots[batch.index[i]].decoded = batch.decoded[i];
        cache->held += cache->reader->stored.tensors[batch.index[i]].bytes;
    }
    if (cache->held > cache->peak) cache->peak = cache->held;
    return st;
}

/* What follows what: mixtures of experts change it, so one sight is no promise. */
static void note_order(struct tensor_cache *cache, uint64_t index) {
    struct slot *last = cache->last_pinned < cache->count ? &cache->slots[cache->last_pinned] : NULL;
    if (last && cache->last_pinned != index) {
        last->sure = last->next == index;
        last->next = index;
    }
    cache->last_pinned = index;
}

tsr_status tensor_cache_pin(struct tensor_cache *cache, uint64_t index, const uint8_t **data, tsr_error *err) {
    if (!cache->reader->compressed) {
        *data = mapped(cache, index);
        return TSR_OK;
    }
    uint64_t storage = storage_of(cache, index);
    struct slot *slot = &cache->slots[storage];
    note_order(cache, storage);
    if (!slot->decoded) {
        tsr_status st = decode_batch(cache, storage, err);
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
    tsr_status st = reader_decoder(cache->reader, index, &last->decoder, err);
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

static bool is_worth_decoding(struct tensor_cache *cache, uint64_t storage) {
    uint64_t bytes = cache->reader->stored.tensors[storage].bytes;
    return cache->slots[storage].reads++ >= READS_MAX && cache->held + bytes <= cache->budget;
}

tsr_status tensor_cache_read(struct tensor_cache *cache, uint64_t index, uint64_t offset, uint64_t size, void *dst,
                             tsr_error *err) {
    const uint8_t *data;
    uint64_t storage = storage_of(cache, index);
    if (cache->reader->compressed && !cache->slots[storage].decoded && !is_worth_decoding(cache, storage)) {
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

tsr_status tensor_cache_decoder(struct tensor_cache *cache, uint64_t index, struct decoder *decoder, tsr_error *err) {
    return cache->reader->compressed ? reader_decoder(cache->reader, storage_of(cache, index), decoder, err) : TSR_OK;
}

uint64_t tensor_cache_peak(const struct tensor_cache *cache) {
    return cache->peak;
}
