/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors share the workers as in every job (lanes); inside of one, tiles do, or pieces of a file where nothing has to be
 * decoded. */
#include "reader_rows.h"

#include "decode_range.h"
#include "lanes.h"
#include "meter.h"

#include <base/alloc.h>
#include <base/pool.h>
#include <format/dtype.h>

#define PIECE_BYTES (UINT64_C(4) << 20) /* of a raw file, read at once */

/* A want, checked: bytes of the tensor. */
struct range {
    uint64_t offset, bytes;
};

struct wanting {
    const struct reader *reader;
    const struct reader_want *wants;
    struct range *ranges;
    struct meter meter;
};

struct reader_cut reader_cut(const struct reader_tensor *tensor) {
    struct reader_cut cut = {.rows = tensor->rank ? tensor->shape[0] : 1};
    int32_t dtype = dtype_from_name(tensor->dtype_name);
    if (cut.rows && tensor->bytes % cut.rows == 0) cut.row_bytes = tensor->bytes / cut.rows;
    if (dtype_is_float(dtype) && !checked_mul(tensor->bytes / (dtype_bits(dtype) / 8), sizeof(float), &cut.f32_bytes)) {
        cut.f32_bytes = 0;
    }
    return cut;
}

/* ---- checking ---- */

static tsr_status check_rows(const struct reader_tensor *tensor, const struct reader_want *want, struct range *range,
                             tsr_error *err) {
    struct reader_cut cut = reader_cut(tensor);
    uint64_t count = want->row_count;
    if (want->first_row > cut.rows || (count != READER_ALL_ROWS && count > cut.rows - want->first_row)) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tensor \"%s\": %llu rows from row %llu on, it has %llu", tensor->name,
                        (unsigned long long)count, (unsigned long long)want->first_row, (unsigned long long)cut.rows);
    }
    if (count == READER_ALL_ROWS) count = cut.rows - want->first_row;
    if (count == cut.rows) {
        *range = (struct range){0, tensor->bytes};
        return TSR_OK;
    }
    if (!cut.row_bytes && tensor->bytes) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "tensor \"%s\": its rows are no whole bytes, it can be read as a whole only",
                        tensor->name);
    }
    *range = (struct range){want->first_row * cut.row_bytes, count * cut.row_bytes};
    return TSR_OK;
}

static tsr_status check_want(const struct reader *reader, const struct reader_want *want, struct range *range,
                             tsr_error *err) {
    if (want->tensor >= reader_count(reader)) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tensor %llu: there are %llu", (unsigned long long)want->tensor,
                        (unsigned long long)reader_count(reader));
    }
    struct reader_tensor tensor = reader_tensor(reader, want->tensor);
    tsr_status st = check_rows(&tensor, want, range, err);
    if (st != TSR_OK) return st;
    uint64_t needed = range->bytes;
    if (want->widen) {
        int32_t dtype = dtype_from_name(tensor.dtype_name);
        if (!dtype_is_float(dtype)) {
            return tsr_fail(err, TSR_E_UNSUPPORTED, "tensor \"%s\": %s cannot be read as F32, expected F32, F16 or BF16",
                            tensor.name, tensor.dtype_name);
        }
        if (!checked_mul(needed / (dtype_bits(dtype) / 8), sizeof(float), &needed)) needed = UINT64_MAX;
    }
    if (needed <= want->dst_bytes && (want->dst || !needed)) return TSR_OK;
    return tsr_fail(err, TSR_E_SPACE, "tensor \"%s\": needs %llu bytes, there is room for %llu", tensor.name,
                    (unsigned long long)needed, (unsigned long long)(want->dst ? want->dst_bytes : 0));
}

/* ---- raw ---- */

struct piecewise {
    struct wanting *all;
    const struct checkpoint_tensor *tensor;
    const struct reader_want *want;
    struct range range;
};

static tsr_status read_wide(const struct piecewise *p, uint64_t at, uint64_t size, tsr_error *err) {
    int32_t dtype = p->tensor->entry->dtype;
    uint64_t width = dtype_bits(dtype) / 8;
    void *bytes = mem_alloc_aligned(size);
    if (!bytes) return tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", p->tensor->name);
    tsr_status st = checkpoint_read(&p->all->reader->raw, p->tensor, p->range.offset + at, bytes, size, err);
    if (st == TSR_OK) dtype_to_f32(dtype, bytes, size / width, (float *)p->want->dst + at / width);
    mem_free(bytes);
    return st;
}

static tsr_status read_piece(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct piecewise *p = ctx;
    const struct reader *reader = p->all->reader;
    uint64_t at = index * PIECE_BYTES, size = min_u64(PIECE_BYTES, p->range.bytes - at);
    (void)worker;
    tsr_status st = meter_check_cancel(reader->env, err);
    if (st != TSR_OK) return st;
    st = p->want->widen
             ? read_wide(p, at, size, err)
             : checkpoint_read(&reader->raw, p->tensor, p->range.offset + at, (uint8_t *)p->want->dst + at, size, err);
    if (st == TSR_OK) meter_add(&p->all->meter, NULL, size);
    return st;
}

static tsr_status read_raw(struct wanting *all, uint64_t index, tsr_error *err) {
    const struct reader_want *want = &all->wants[index];
    struct piecewise p = {all, &all->reader->raw.tensors[want->tensor], want, all->ranges[index]};
    return pool_for(all->reader->env->pool, ceil_div(p.range.bytes, PIECE_BYTES), read_piece, &p, err);
}

/* ---- compressed ---- */

static tsr_status read_stored(struct wanting *all, uint64_t index, tsr_error *err) {
    const struct reader_want *want = &all->wants[index];
    struct decode_range range = {.offset = all->ranges[index].offset,
                                 .bytes = all->ranges[index].bytes,
                                 .dst = want->dst,
                                 .meter = &all->meter};
    struct decoder decoder = {0};
    if (want->widen) range.widen_from = dtype_from_name(reader_tensor(all->reader, want->tensor).dtype_name);
    tsr_status st = reader_decoder(all->reader, want->tensor, &decoder, err);
    if (st == TSR_OK) st = decode_range(&decoder, &range, err);
    decoder_close(&decoder);
    return st;
}

/* ---- all ---- */

static tsr_status read_one(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct wanting *all = ctx;
    (void)worker;
    tsr_status st = meter_check_cancel(all->reader->env, err);
    if (st == TSR_OK && all->ranges[index].bytes) {
        st = all->reader->compressed ? read_stored(all, index, err) : read_raw(all, index, err);
    }
    if (st == TSR_OK) meter_add(&all->meter, reader_tensor(all->reader, all->wants[index].tensor).name, 0);
    return st;
}

tsr_status reader_rows(const struct reader *reader, const struct reader_want *wants, uint64_t count, tsr_error *err) {
    struct wanting all = {.reader = reader, .wants = wants, .ranges = mem_alloc_array(count, sizeof *all.ranges)};
    uint64_t *bytes = mem_alloc_array(count, sizeof *bytes), total = 0;
    tsr_status st = all.ranges && bytes ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a list of tensors");
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) {
        st = check_want(reader, &wants[i], &all.ranges[i], err);
        total += bytes[i] = all.ranges[i].bytes;
    }
    if (st == TSR_OK) {
        meter_begin(&all.meter, reader->env, "read", total, count);
        st = lanes_run(reader->env, bytes, count, read_one, &all, err);
        meter_end(&all.meter);
    }
    mem_free(all.ranges);
    mem_free(bytes);
    return st;
}
