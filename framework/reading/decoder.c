/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory in flight is one tile, decoded and stored, for each worker. */
#include "decoder.h"

#include "meter.h"

#include <base/alloc.h>
#include <base/error.h>
#include <base/pool.h>
#include <format/dtype.h>
#include <numeric/column_scale.h>
#include <string.h>

/* Bytes of the source tensor that shape and dtype promise. */
static bool shape_bytes(const struct payload_head *head, uint64_t *bytes) {
    uint64_t count = 1;
    for (uint64_t i = 0; i < head->rank; i++) {
        if (!checked_mul(count, head->shape[i], &count)) return false;
    }
    if (head->dtype == TSR_DTYPE_OPAQUE) {
        *bytes = head->bytes;
        return true;
    }
    uint64_t bits;
    if (!checked_mul(count, dtype_bits(head->dtype), &bits) || bits % 8) return false;
    *bytes = bits / 8;
    return true;
}

/* The matrix view and its grid must be what the shape allows. */
static tsr_status check_view(struct decoder *decoder, tsr_error *err) {
    const struct payload_head *head = &decoder->payload.head;
    const char *name = decoder->payload.name;
    uint64_t bytes, weights, rows = head->rows, columns = head->columns;
    if (!shape_bytes(head, &bytes) || bytes != head->bytes) {
        return tsr_fail(err, TSR_E_CORRUPT, "tensor \"%s\": shape and size do not agree", name);
    }
    uint32_t bits = tile_matrix_of(head->dtype, head->bytes, &rows, &columns);
    if (rows != head->rows || columns != head->columns || !checked_mul(rows, columns, &weights) ||
        !checked_mul(weights, bits, &weights) || weights / 8 != head->bytes) {
        return tsr_fail(err, TSR_E_CORRUPT, "tensor \"%s\": a matrix of %llu x %llu does not fit its shape", name,
                        (unsigned long long)head->rows, (unsigned long long)head->columns);
    }
    decoder->grid = (struct tile_grid){rows, columns, head->tile_rows, head->tile_columns, head->tile_count};
    if (!tile_grid_valid(&decoder->grid)) {
        return tsr_fail(err, TSR_E_CORRUPT, "tensor \"%s\": tiles of %llu x %llu do not fit its matrix", name,
                        (unsigned long long)head->tile_rows, (unsigned long long)head->tile_columns);
    }
    tsr_status st = order_make(head->shape, head->rank, columns, head->transposed, bits, &decoder->order, err);
    return st == TSR_OK ? st : error_context(err, TSR_E_CORRUPT, "tensor \"%s\"", name);
}

/* What the payload says of its stack: the first stage has no base. */
struct place_in_stack {
    const struct decoder *base;
    const struct dictionary *dictionary;
    uint64_t level;
};

_Static_assert(PAYLOAD_SCALE_MOST == COLUMN_SCALE_MOST, "payloads have the scales that the coder knows");

static tsr_status open_coder(struct decoder *decoder, const struct registry *registry,
                             const struct place_in_stack *place, tsr_error *err) {
    const struct payload_head *head = &decoder->payload.head;
    tsr_status st = registry_codec(registry, head->codec_id, &decoder->codec, NULL, err);
    if (st != TSR_OK) return st == TSR_E_CONFIG ? TSR_E_UNSUPPORTED : st;
    st = param_parse(decoder->codec, head->params, &decoder->arena, &decoder->params, err);
    if (st != TSR_OK) return st;
    decoder->tensor = (tsr_tensor){.struct_size = sizeof decoder->tensor,
                                   .name = decoder->payload.name,
                                   .shape = head->shape,
                                   .rank = head->rank,
                                   .rows = head->rows,
                                   .columns = head->columns,
                                   .bytes = head->bytes,
                                   .dtype = head->dtype,
                                   .regime = TSR_REGIME_EXACT};
    struct coder_job job = {.env = decoder->env,
                            .host = &decoder->services.host,
                            .codec = decoder->codec,
                            .params = decoder->params.values,
                            .dictionary = place->dictionary ? place->dictionary->bytes : NULL,
                            .dictionary_bytes = place->dictionary ? place->dictionary->size : 0,
                            .level = place->level,
                            .column_scale = head->column_scale,
                            .stacked = place->base != NULL,
                            .base_dtype = place->base ? place->base->tensor.dtype : head->dtype,
                            .tensor = &decoder->tensor,
                            .transposed = head->transposed,
                            .dtype_bits = decoder->order.bits};
    return coder_open(&job, &decoder->grid, head->codec_header, head->codec_header_bytes, head->bitstream_version,
                      &decoder->coder, err);
}

static tsr_status find_dictionary(const struct decoder *decoder, const struct dictionaries *dictionaries,
                                  const struct dictionary **dictionary, tsr_error *err) {
    const struct payload_head *head = &decoder->payload.head;
    char hex[DIGEST_HEX];
    *dictionary = NULL;
    if (!head->has_dictionary) return TSR_OK;
    *dictionary = dictionaries_find(dictionaries, &head->dictionary);
    if (*dictionary) return TSR_OK;
    return tsr_fail(err, TSR_E_CORRUPT, "tensor \"%s\": its dictionary %s is not in this checkpoint",
                    decoder->payload.name, digest_to_hex(&head->dictionary, hex));
}

/* A correction is a matrix of the base's rows, columns and tiles, of differences or of the base's own dtype. */
static tsr_status check_correction(const struct decoder *base, const struct decoder *decoder, tsr_error *err) {
    const struct tile_grid *a = &base->grid, *b = &decoder->grid;
    const tsr_codec *codec = decoder->codec;
    int32_t dtype = decoder->payload.head.dtype, base_dtype = base->payload.head.dtype;
    bool same = a->rows == b->rows && a->columns == b->columns && a->tile_rows == b->tile_rows &&
                a->tile_columns == b->tile_columns && !decoder->order.transposed && dtype_is_float(base_dtype);
    bool fits = coder_takes_prediction(codec) ? dtype == base_dtype
                                              : dtype == TSR_DTYPE_F32 && codec->input == TSR_INPUT_F32;
    if (same && fits) return TSR_OK;
    return tsr_fail(err, TSR_E_CORRUPT, "tensor \"%s\": does not correct tensor \"%s\": another matrix, grid or dtype",
                    decoder->payload.name, base->payload.name);
}

static tsr_status open_one(const struct decoder_place *at, const struct decoder_input *input,
                           const struct registry *registry, const struct decoder *base, struct decoder *decoder,
                           tsr_error *err) {
    struct place_in_stack place = {.base = base, .level = base ? 0 : input->codec_level};
    host_services_init(&decoder->services, decoder->env);
    tsr_status status = payload_open(at->st, at->entry, &decoder->payload, err);
    if (status == TSR_OK) status = check_view(decoder, err);
    if (status == TSR_OK) status = find_dictionary(decoder, input->dictionaries, &place.dictionary, err);
    if (status != TSR_OK) return status;
    status = open_coder(decoder, registry, &place, err);
    if (status != TSR_OK) return error_context(err, status, "tensor \"%s\"", at->entry->name);
    return base ? check_correction(base, decoder, err) : TSR_OK;
}

tsr_status decoder_open(const struct decoder_input *input, const struct registry *registry, const struct env *env,
                        struct decoder *decoder, tsr_error *err) {
    decoder->env = env;
    tsr_status status = open_one(&input->places[0], input, registry, NULL, decoder, err);
    if (status != TSR_OK || input->count == 1) return status;
    decoder->corrections = mem_alloc_zero(input->count - 1, sizeof *decoder->corrections);
    if (!decoder->corrections) return tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", decoder->payload.name);
    for (uint64_t i = 1; i < input->count && status == TSR_OK; i++) {
        struct decoder *correction = &decoder->corrections[decoder->correction_count++];
        correction->env = env;
        status = open_one(&input->places[i], input, registry, decoder, correction, err);
    }
    return status;
}

void decoder_close(struct decoder *decoder) {
    for (uint64_t i = 0; i < decoder->correction_count; i++) decoder_close(&decoder->corrections[i]);
    mem_free(decoder->corrections);
    coder_close(decoder->coder);
    payload_close(&decoder->payload);
    arena_clear(&decoder->arena);
    *decoder = (struct decoder){0};
}

/* Reads and checks a stored tile, then decodes it into dst, or corrects dst by it. */
static tsr_status apply_tile(const struct decoder *decoder, bool corrects, uint64_t index, uint64_t worker, void *dst,
                             tsr_error *err) {
    const struct payload_tile *tile = &decoder->payload.tiles[index];
    void *stored = mem_alloc(tile->bytes);
    if (!stored) return tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", decoder->payload.name);
    tsr_status st = payload_read_tile(&decoder->payload, index, stored, err);
    if (st == TSR_OK) {
        st = corrects ? coder_correct_tile(decoder->coder, index, stored, tile->bytes, tile->raw, dst, worker, err)
                      : coder_decode_tile(decoder->coder, index, stored, tile->bytes, tile->raw, dst, worker, err);
        if (st != TSR_OK) st = error_context(err, st, "tensor \"%s\"", decoder->payload.name);
    }
    mem_free(stored);
    return st;
}

tsr_status decoder_tile(const struct decoder *decoder, uint64_t index, uint64_t worker, void *dst, tsr_error *err) {
    tsr_status st = apply_tile(decoder, false, index, worker, dst, err);
    for (uint64_t i = 0; i < decoder->correction_count && st == TSR_OK; i++) {
        st = apply_tile(&decoder->corrections[i], true, index, worker, dst, err);
    }
    return st;
}

struct each {
    const struct decoder *decoder;
    decoder_visit visit;
    void *ctx;
};

static tsr_status decode_and_visit(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct each *each = ctx;
    const struct decoder *decoder = each->decoder;
    tsr_tile tile = tile_at(&decoder->grid, index, decoder->order.bits);
    tile.worker = worker;
    tsr_status st = meter_check_cancel(decoder->env, err);
    if (st != TSR_OK) return st;
    uint8_t *bytes = mem_alloc_aligned(2 * tile.bytes + 64);
    if (!bytes) return tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", decoder->payload.name);
    st = decoder_tile(decoder, index, worker, bytes, err);
    if (st == TSR_OK) {
        void *scratch = bytes + (tile.bytes + 63) / 64 * 64;
        st = each->visit(each->ctx, decoder, &tile, bytes, scratch, err);
    }
    mem_free(bytes);
    return st;
}

tsr_status decoder_each(const struct decoder *decoder, decoder_visit visit, void *ctx, tsr_error *err) {
    struct each each = {decoder, visit, ctx};
    return pool_for(decoder->env->pool, decoder->grid.count, decode_and_visit, &each, err);
}
