/* SPDX-License-Identifier: Apache-2.0
 *
 * Tiles are consecutive ranges of the matrix, so each is decoded straight to its place. */
#include "search_rows.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/error.h>
#include <format/dtype.h>
#include <numeric/score.h>
#include <reading/reader.h>
#include <string.h>

static tsr_status allocate(struct search_rows *rows, const char *name, tsr_error *err) {
    uint64_t bytes;
    if (!dtype_is_float(rows->dtype)) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "tensor \"%s\": rows of %s cannot be searched, expected F32, F16 or BF16",
                        name, dtype_name(rows->dtype));
    }
    rows->width = dtype_bits(rows->dtype) / 8;
    if (checked_mul(rows->rows, rows->columns, &bytes) && checked_mul(bytes, rows->width, &bytes)) {
        rows->bytes = mem_alloc_aligned(bytes + 1);
    }
    return rows->bytes ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory for its rows", name);
}

static tsr_status take_tile(void *ctx, const struct decoder *decoder, const tsr_tile *tile, void *bytes, void *scratch,
                            tsr_error *err) {
    struct search_rows *rows = ctx;
    (void)decoder;
    (void)scratch;
    (void)err;
    memcpy(rows->bytes + (tile->first_row * rows->columns + tile->first_column) * rows->width, bytes,
           (size_t)tile->bytes);
    return TSR_OK;
}

tsr_status search_rows_decode(const struct decoder_input *input, const struct registry *registry, const struct env *env,
                              struct search_rows *rows, tsr_error *err) {
    struct decoder decoder = {0};
    tsr_status st = decoder_open(input, registry, env, &decoder, err);
    if (st == TSR_OK) {
        *rows = (struct search_rows){
            .rows = decoder.tensor.rows, .columns = decoder.tensor.columns, .dtype = decoder.tensor.dtype};
        st = allocate(rows, decoder.tensor.name, err);
    }
    if (st == TSR_OK) st = decoder_each(&decoder, take_tile, rows, err);
    decoder_close(&decoder);
    return st;
}

static tsr_status load_from(const struct reader *reader, uint64_t index, struct search_rows *rows, tsr_error *err) {
    struct reader_tensor tensor = reader_tensor(reader, index);
    struct reader_stream stream = {0};
    rows->dtype = dtype_from_name(tensor.dtype_name);
    tsr_status st = allocate(rows, tensor.name, err);
    if (st == TSR_OK && tensor.bytes != rows->rows * rows->columns * rows->width) {
        st = tsr_fail(err, TSR_E_INPUT, "tensor \"%s\": has %llu bytes in the reference, expected %llu", tensor.name,
                      (unsigned long long)tensor.bytes,
                      (unsigned long long)(rows->rows * rows->columns * rows->width));
    }
    if (st == TSR_OK) st = reader_begin(reader, index, &stream, err);
    for (uint64_t r = 0; r < rows->rows && st == TSR_OK; r++) {
        uint64_t size = rows->columns * rows->width;
        st = reader_read(&stream, 0, rows->bytes + r * size, size, err);
    }
    reader_end(&stream);
    return st;
}

tsr_status search_rows_load(const char *path, const char *name, const struct search_rows *like,
                            const struct registry *registry, const struct env *env, struct search_rows *rows,
                            tsr_error *err) {
    struct reader reader = {0};
    tsr_status st = reader_open(path, registry, env, &reader, err);
    uint64_t index = 0;
    *rows = (struct search_rows){.rows = like->rows, .columns = like->columns};
    if (st == TSR_OK) {
        while (index < reader_count(&reader) && strcmp(reader_tensor(&reader, index).name, name) != 0) index++;
        st = index < reader_count(&reader) ? load_from(&reader, index, rows, err)
                                           : tsr_fail(err, TSR_E_INPUT, "%s: has no tensor \"%s\"", path, name);
    }
    reader_close(&reader);
    return st;
}

void search_rows_clear(struct search_rows *rows) {
    mem_free(rows->bytes);
    *rows = (struct search_rows){0};
}

void search_rows_get(const struct search_rows *rows, uint64_t index, float *row) {
    dtype_to_f32(rows->dtype, rows->bytes + index * rows->columns * rows->width, rows->columns, row);
}

void search_rows_score(const struct search_rows *rows, const uint64_t *list, uint64_t count, const float *x, int32_t kind,
                       float *row, double *scores) {
    const struct score_kernels *kernels = score_kernels();
    for (uint64_t i = 0; i < count; i++) {
        search_rows_get(rows, list ? list[i] : i, row);
        scores[i] = kind == TSR_SEARCH_INNER ? kernels->inner(row, x, rows->columns)
                                             : -kernels->distance(row, x, rows->columns);
    }
}
