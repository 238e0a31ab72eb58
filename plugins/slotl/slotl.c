/* SPDX-License-Identifier: Apache-2.0
 *
 * slotl: Slot L, a low-rank correction (the family of LQER, Zhang et al. 2024, arXiv:2402.02446, and SVDQuant): behind another
 * codec it stores the strongest directions of that codec's error. Alone, with a palette of rows, it is the 9-byte row mode
 * of low-rank tensors. This file is the plugin's face: parameters, instances, dictionary, the table. */
#include "slotl.h"

#include <stdio.h>
#include <tessera/ext/dictionary.h>
#include <tessera/ext/rows.h>
#include <tessera/plugin.h>

enum { PARAM_RANK, PARAM_BANDS, PARAM_PALETTE, PARAM_COUNT };

static const tsr_param PARAMS[PARAM_COUNT] = {
    {sizeof(tsr_param), "rank", "components with 8-bit coefficients; unused when bands is set", "8", NULL, 0,
     SLOTL_RANK_MAX, TSR_PARAM_INT, 0},
    {sizeof(tsr_param), "bands", "components with coefficients of 16, 8, 4 and 2 bits, strongest first; []: rank at 8 bits",
     "[]", NULL, 0, SLOTL_RANK_MAX, TSR_PARAM_INTS, 0},
    {sizeof(tsr_param), "palette", "rows of a palette whose nearest one is taken off first, a byte a row; 0: none", "0",
     NULL, 0, SLOTL_PALETTE_MAX, TSR_PARAM_INT, 0},
};

#define ROWS_A_CENTROID 16
#define GROUP_SHARE_MAX 10 /* the basis may take 1/10 of the group's bytes */

/* ---- shape ---- */

static tsr_status shape_from(const tsr_param_value *params, struct slotl_shape *shape, tsr_error *err) {
    const tsr_param_value *bands = &params[PARAM_BANDS];
    *shape = (struct slotl_shape){.palette = (uint32_t)params[PARAM_PALETTE].integer};
    if (bands->count != 0 && bands->count != SLOTL_BANDS) {
        return tsr_fail(err, TSR_E_CONFIG, "slotl: bands has %llu numbers, expected %d", (unsigned long long)bands->count,
                        SLOTL_BANDS);
    }
    shape->bands[1] = (uint32_t)params[PARAM_RANK].integer;
    for (uint64_t b = 0; b < bands->count; b++) shape->bands[b] = (uint32_t)bands->list[b];
    for (uint32_t b = 0; b < SLOTL_BANDS; b++) shape->rank += shape->bands[b];
    if (shape->rank > SLOTL_RANK_MAX) {
        return tsr_fail(err, TSR_E_CONFIG, "slotl: bands of %u components in all, at most %d are possible", shape->rank,
                        SLOTL_RANK_MAX);
    }
    if (shape->rank || shape->palette) return TSR_OK;
    return tsr_fail(err, TSR_E_CONFIG, "slotl: neither components nor a palette, nothing to store");
}

/* A matrix has at most as many components as rows and columns: the weakest go first. */
static void trim(struct slotl_shape *shape, const tsr_tensor *tensor) {
    uint64_t most = tensor->rows < tensor->columns ? tensor->rows : tensor->columns;
    for (uint32_t b = SLOTL_BANDS; b-- > 0 && shape->rank > most;) {
        uint32_t excess = shape->rank - (uint32_t)most, less = excess < shape->bands[b] ? excess : shape->bands[b];
        shape->bands[b] -= less;
        shape->rank -= less;
    }
}

static tsr_status can_encode(const tsr_codec_setup *setup, tsr_error *err) {
    struct slotl_shape shape;
    const tsr_tensor *tensor = setup->tensor;
    tsr_status st = shape_from(setup->params, &shape, err);
    if (st != TSR_OK) return st;
    trim(&shape, tensor);
    if (shape.palette * (uint64_t)ROWS_A_CENTROID > tensor->rows) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "slotl: %llu rows are too few for a palette of %u (%d each): it would memorise",
                        (unsigned long long)tensor->rows, shape.palette, ROWS_A_CENTROID);
    }
    if (tensor->rows == 0 || tensor->columns == 0) return TSR_OK;
    uint64_t words = shape.rank + (uint64_t)shape.palette, room = TSR_CODEC_HEADER_MAX - 4096;
    if (tensor->columns <= room / 2 / words) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "slotl: basis and palette of %llu columns exceed a codec's header",
                    (unsigned long long)tensor->columns);
}

/* ---- life ---- */

static void destroy(void *self) {
    struct slotl *slotl = self;
    if (!slotl) return;
    const tsr_host *host = slotl->host;
    if (slotl->model) slotl->entropy->model_destroy(host, slotl->model);
    host->free(host, slotl->scaled);
    host->free(host, slotl->palette);
    host->free(host, slotl->coefficients);
    host->free(host, slotl->twigs);
    host->free(host, slotl);
}

static tsr_status fill(struct slotl *slotl, const tsr_codec_setup *setup, tsr_error *err) {
    tsr_status st = TSR_OK;
    const uint8_t *basis = NULL;
    if (setup->dictionary) {
        st = slotl_read_dictionary(setup->dictionary, setup->dictionary_bytes, setup->tensor->columns, &basis,
                                   &slotl->lent_rank, err);
        slotl->lent_basis = (const uint16_t *)(const void *)basis;
    }
    if (st != TSR_OK) return st;
    if (setup->decoding) return slotl_read_header(slotl, setup->header, setup->header_bytes, err);
    st = shape_from(setup->params, &slotl->shape, err);
    trim(&slotl->shape, setup->tensor);
    if (setup->hints) slotl->column_weight = setup->hints->column_weight;
    return st;
}

static tsr_status create(const tsr_codec_setup *setup, void **self, tsr_error *err) {
    const tsr_host *host = setup->host;
    const tsr_entropy *entropy = host->get_extension(host, TSR_ENTROPY_ID);
    if (!entropy) return tsr_fail(err, TSR_E_UNSUPPORTED, "slotl: this host lends no entropy coder");
    struct slotl *slotl = host->alloc(host, sizeof *slotl);
    if (!slotl) return tsr_fail(err, TSR_E_NOMEM, "slotl: out of memory");
    *slotl = (struct slotl){.host = host, .entropy = entropy, .tensor = setup->tensor};
    tsr_status st = fill(slotl, setup, err);
    if (st != TSR_OK) {
        destroy(slotl);
        return st;
    }
    *self = slotl;
    return TSR_OK;
}

static tsr_status prepare(void *self, const tsr_row_source *source, const tsr_writer *header, tsr_error *err) {
    return slotl_prepare(self, source, header, err);
}

static uint64_t encode_bound(void *self, const tsr_tile *tile) {
    return slotl_encode_bound(self, tile->rows);
}

static tsr_status encode(void *self, const tsr_tile *tile, const void *src, void *dst, uint64_t capacity,
                         uint64_t *written, tsr_error *err) {
    (void)src;
    return slotl_encode(self, tile, dst, capacity, written, err);
}

static tsr_status decode(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    return slotl_decode(self, tile, src, size, 0, tile->rows, dst, err);
}

static tsr_status decode_rows(void *self, const tsr_tile *tile, const void *src, uint64_t size, uint64_t first_row,
                              uint64_t rows, void *dst, tsr_error *err) {
    return slotl_decode(self, tile, src, size, first_row, rows, dst, err);
}

/* ---- dictionary ---- */

static tsr_status can_train(const tsr_dictionary_member *members, uint64_t count, uint64_t *bytes, tsr_error *err) {
    struct slotl_shape shape;
    const tsr_tensor *first = members[0].setup->tensor;
    uint64_t weights = 0, rows = 0;
    tsr_status st = shape_from(members[0].setup->params, &shape, err);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        const tsr_tensor *tensor = members[i].setup->tensor;
        if (tensor->columns != first->columns) {
            return tsr_fail(err, TSR_E_UNSUPPORTED, "slotl: tensors of %llu and %llu columns cannot share a basis",
                            (unsigned long long)first->columns, (unsigned long long)tensor->columns);
        }
        weights += tensor->bytes;
        rows += tensor->rows;
    }
    if (st != TSR_OK) return st;
    trim(&shape, &(tsr_tensor){.rows = rows, .columns = first->columns});
    *bytes = SLOTL_DICTIONARY_BYTES + 2 * (uint64_t)shape.rank * first->columns;
    if (shape.palette) return tsr_fail(err, TSR_E_UNSUPPORTED, "slotl: a palette belongs to one tensor");
    if (shape.rank && *bytes <= weights / GROUP_SHARE_MAX) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "slotl: a basis of %llu bytes for %llu bytes of weights",
                    (unsigned long long)*bytes, (unsigned long long)weights);
}

struct group {
    const tsr_dictionary_member *members;
    uint64_t count;
};

static tsr_status read_members(void *ctx, uint64_t first, uint64_t rows, float *dst, tsr_error *err) {
    const struct group *group = ctx;
    uint64_t at = 0;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < group->count && rows && st == TSR_OK; i++) {
        const tsr_tensor *tensor = group->members[i].setup->tensor;
        uint64_t from = first - at, there = first < at + tensor->rows ? at + tensor->rows - first : 0;
        uint64_t taken = there < rows ? there : rows;
        at += tensor->rows;
        if (!taken) continue;
        st = group->members[i].rows->read(group->members[i].rows->ctx, from, taken, 0, tensor->columns, dst, err);
        dst += taken * tensor->columns;
        first += taken;
        rows -= taken;
    }
    return st;
}

static tsr_status train(const tsr_dictionary_member *members, uint64_t count, const tsr_writer *dictionary,
                        tsr_error *err) {
    const tsr_host *host = members[0].setup->host;
    struct group group = {members, count};
    uint64_t bytes = 0, columns = members[0].setup->tensor->columns;
    struct slotl_rows rows = {&group, 0, columns, read_members};
    for (uint64_t i = 0; i < count; i++) rows.count += members[i].setup->tensor->rows;
    tsr_status st = can_train(members, count, &bytes, err);
    if (st != TSR_OK) return st;
    uint32_t rank = (uint32_t)((bytes - SLOTL_DICTIONARY_BYTES) / 2 / columns);
    uint8_t *written = host->alloc(host, bytes);
    uint16_t *basis = host->alloc(host, bytes);
    st = written && basis ? slotl_train_basis(host, &rows, NULL, 1, rank, 1, basis, err)
                          : tsr_fail(err, TSR_E_NOMEM, "slotl: out of memory");
    if (st == TSR_OK) {
        memset(written, 0, SLOTL_DICTIONARY_BYTES);
        written[0] = (uint8_t)rank;
        for (int i = 0; i < 4; i++) written[4 + i] = (uint8_t)(columns >> (8 * i));
        for (uint64_t i = 0; i < rank * columns; i++) {
            written[SLOTL_DICTIONARY_BYTES + 2 * i] = (uint8_t)basis[i];
            written[SLOTL_DICTIONARY_BYTES + 2 * i + 1] = (uint8_t)(basis[i] >> 8);
        }
        st = dictionary->write(dictionary->ctx, written, bytes, err);
    }
    host->free(host, written);
    host->free(host, basis);
    return st;
}

/* ---- tables ---- */

static const void *get_extension(const char *id) {
    static const tsr_rows ROWS = {sizeof(tsr_rows), decode_rows};
    static const tsr_dictionary DICTIONARY = {sizeof(tsr_dictionary), can_train, train};
    if (!strcmp(id, TSR_ROWS_ID)) return &ROWS;
    return strcmp(id, TSR_DICTIONARY_ID) ? NULL : &DICTIONARY;
}

static const tsr_codec CODEC = {
    .struct_size = sizeof(tsr_codec),
    .id = "org.tessera.slotl",
    .name = "slotl",
    .description = "low-rank correction of another codec's error: Slot L, 8-bit coefficients on a shared basis",
    .bitstream_version = SLOTL_VERSION,
    .bitstream_oldest = SLOTL_VERSION,
    .flags = TSR_CODEC_RECONSTRUCT | TSR_CODEC_CORRECTION | TSR_CODEC_DECODE_UNTRUSTED,
    .dtypes = TSR_DTYPES_FLOAT,
    .params = PARAMS,
    .param_count = PARAM_COUNT,
    .input = TSR_INPUT_F32,
    .can_encode = can_encode,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .encode_bound = encode_bound,
    .encode = encode,
    .decode = decode,
    .get_extension = get_extension,
};

static const tsr_codec *const CODECS[] = {&CODEC, NULL};

TSR_PLUGIN = {
    .struct_size = sizeof(tsr_plugin),
    .name = "tessera-slotl",
    .version = TSR_VERSION,
    .license = "Apache-2.0",
    .abi_minor = TSR_ABI_MINOR,
    .codecs = CODECS,
};
