/* SPDX-License-Identifier: Apache-2.0
 *
 * What a plugin asks for is checked (rows that exist), and so is what it says (rows that exist, once each, counts that
 * add up): a search that reads the wrong rows must not end in a wrong answer with a good status. */
#include "search_index.h"

#include <base/alloc.h>
#include <base/error.h>
#include <string.h>

static tsr_status give_tile(void *ctx, uint64_t number, tsr_tile *tile, const void **bytes, uint64_t *size, int32_t *raw,
                            tsr_error *err) {
    const struct search_index *index = ctx;
    const struct payload *payload = &index->decoder.payload;
    if (number >= index->decoder.grid.count) return tsr_fail(err, TSR_E_ARGUMENT, "no such tile");
    *tile = tile_at(&index->decoder.grid, number, index->decoder.order.bits);
    *bytes = index->tiles[number];
    *size = payload->tiles[number].bytes;
    *raw = payload->tiles[number].raw;
    return TSR_OK;
}

static tsr_status give_scores(void *ctx, const uint64_t *rows, uint64_t count, const float *x, double *scores,
                              tsr_error *err) {
    struct search_index *index = ctx;
    for (uint64_t i = 0; i < count; i++) {
        if (rows[i] >= index->rows->rows) return tsr_fail(err, TSR_E_ARGUMENT, "no such row");
    }
    search_rows_score(index->rows, rows, count, x, index->kind, index->row, scores);
    return TSR_OK;
}

static tsr_status read_tiles(struct search_index *index, tsr_error *err) {
    const struct payload *payload = &index->decoder.payload;
    tsr_status st = TSR_OK;
    index->tiles = mem_alloc_zero(index->decoder.grid.count + 1, sizeof *index->tiles);
    index->row = mem_alloc_array(index->rows->columns + 1, sizeof *index->row);
    if (!index->tiles || !index->row) return tsr_fail(err, TSR_E_NOMEM, "out of memory for an index");
    for (uint64_t i = 0; i < index->decoder.grid.count && st == TSR_OK; i++) {
        index->tiles[i] = mem_alloc_aligned(payload->tiles[i].bytes + 1);
        st = index->tiles[i] ? payload_read_tile(payload, i, index->tiles[i], err)
                             : tsr_fail(err, TSR_E_NOMEM, "out of memory for an index");
    }
    return st;
}

static tsr_status open_codec(struct search_index *index, const struct env *env, tsr_error *err) {
    const struct decoder *decoder = &index->decoder;
    const struct payload_head *head = &decoder->payload.head;
    const struct instance_stored stored = {head->codec_header, head->codec_header_bytes, head->bitstream_version};
    const struct coder_job job = {.env = env,
                                  .host = &decoder->services.host,
                                  .codec = decoder->codec,
                                  .params = decoder->params.values,
                                  .tensor = &decoder->tensor,
                                  .dtype_bits = decoder->order.bits};
    index->signature = decoder->codec->get_extension ? decoder->codec->get_extension(TSR_SIGNATURE_ID) : NULL;
    if (!(decoder->codec->flags & TSR_CODEC_SIGNATURE) || !index->signature) {
        return tsr_fail(err, TSR_E_CORRUPT, "codec %s makes no signatures", decoder->codec->name);
    }
    return instance_create(&index->instance, &job, &stored, err);
}

static tsr_status open_search(struct search_index *index, const struct env *env, tsr_error *err) {
    const tsr_signature_source source = {sizeof source, index, index->decoder.grid.count, give_tile, give_scores};
    tsr_error own = {0};
    tsr_status st = open_codec(index, env, err);
    if (st != TSR_OK) return st;
    st = index->signature->search_open(index->instance.self, &source, &index->search, &own);
    st = instance_verdict(index->decoder.codec, "search_open", st, &own);
    if (st != TSR_OK && err) *err = own;
    return st;
}

tsr_status search_index_open(const struct stored *stored, const struct stored_tensor *tensor,
                             const struct search_rows *rows, const struct registry *registry, const struct env *env,
                             struct search_index *index, tsr_error *err) {
    if (!tensor->index_codec) {
        return tsr_fail(err, TSR_E_INPUT, "tensor \"%s\" has no index (a rule's index: makes one)", tensor->name);
    }
    if (!rows->rows || !rows->columns) return tsr_fail(err, TSR_E_INPUT, "tensor \"%s\" has no rows", tensor->name);
    const struct decoder_input input = {&tensor->index_place, 1, &stored->dictionaries, 0};
    index->rows = rows;
    tsr_status st = decoder_open(&input, registry, env, &index->decoder, err);
    if (st != TSR_OK) return st;
    const tsr_tensor *matrix = &index->decoder.tensor;
    if (matrix->rows != rows->rows || matrix->columns != rows->columns) {
        st = tsr_fail(err, TSR_E_CORRUPT, "is of another matrix than its tensor");
    }
    if (st == TSR_OK) st = read_tiles(index, err);
    if (st == TSR_OK) st = open_search(index, env, err);
    return st == TSR_OK ? st : error_context(err, st, "index of tensor \"%s\"", tensor->name);
}

void search_index_close(struct search_index *index) {
    if (index->search) index->signature->search_close(index->instance.self, index->search);
    instance_destroy(&index->instance);
    for (uint64_t i = 0; index->tiles && i < index->decoder.grid.count; i++) mem_free(index->tiles[i]);
    mem_free(index->tiles);
    mem_free(index->row);
    decoder_close(&index->decoder);
    *index = (struct search_index){0};
}

static tsr_status check_answer(const struct search_index *index, const tsr_search_request *request,
                               const uint64_t *rows, uint64_t found, const tsr_search_stats *stats, tsr_error *err) {
    const char *name = index->decoder.codec->name;
    uint64_t sum = stats->skipped + stats->attended + stats->composed + stats->escalated;
    if (found > request->top || sum != index->rows->rows) {
        return tsr_fail(err, TSR_E_PLUGIN, "codec %s misbehaves: %llu hits, %llu rows counted", name,
                        (unsigned long long)found, (unsigned long long)sum);
    }
    for (uint64_t i = 0; i < found; i++) {
        bool twice = false;
        for (uint64_t j = 0; j < i; j++) twice = twice || rows[j] == rows[i];
        if (twice || rows[i] >= index->rows->rows) {
            return tsr_fail(err, TSR_E_PLUGIN, "codec %s misbehaves: row %llu is no hit", name,
                            (unsigned long long)rows[i]);
        }
    }
    return TSR_OK;
}

tsr_status search_index_run(struct search_index *index, const tsr_search_request *request, uint64_t *rows,
                            double *scores, uint64_t *found, tsr_search_stats *stats, tsr_error *err) {
    tsr_error own = {0};
    index->kind = request->kind;
    *stats = (tsr_search_stats){.struct_size = sizeof *stats};
    tsr_status st = index->signature->search(index->instance.self, index->search, request, rows, scores, found, stats, &own);
    st = instance_verdict(index->decoder.codec, "search", st, &own);
    if (st != TSR_OK && err) *err = own;
    return st == TSR_OK ? check_answer(index, request, rows, *found, stats, err) : st;
}
