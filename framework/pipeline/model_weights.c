/* SPDX-License-Identifier: Apache-2.0
 *
 * Implements tsr_weights with mapped files and dense products. Linear operators are kept in a list and die with the
 * table. */
#include "model_weights.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <format/dtype.h>
#include <numeric/dense.h>
#include <string.h>

struct tsr_linear {
    struct dense dense;
    struct tsr_linear *next;
};

struct model_weights {
    tsr_weights table;
    const struct env *env;
    struct checkpoint *checkpoint;
    tsr_tensor *tensors;
    struct tsr_linear *linears;
};

static const uint8_t *tensor_data(const struct model_weights *weights, uint64_t index) {
    const struct checkpoint_tensor *tensor = &weights->checkpoint->tensors[index];
    return weights->checkpoint->files[tensor->file].st.file.map + tensor->entry->offset;
}

static uint64_t count(void *ctx) {
    const struct model_weights *weights = ctx;
    return weights->checkpoint->tensor_count;
}

static const tsr_tensor *tensor(void *ctx, uint64_t index) {
    const struct model_weights *weights = ctx;
    return &weights->tensors[index];
}

static tsr_status find(void *ctx, const char *name, uint64_t *index, tsr_error *err) {
    const struct model_weights *weights = ctx;
    const struct checkpoint_tensor *found = checkpoint_find(weights->checkpoint, name);
    if (!found) return tsr_fail(err, TSR_E_INPUT, "tensor \"%s\": is not in the checkpoint", name);
    *index = (uint64_t)(found - weights->checkpoint->tensors);
    return TSR_OK;
}

static tsr_status need_float(const tsr_tensor *view, tsr_error *err) {
    if (dtype_is_float(view->dtype)) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "tensor \"%s\": dtype %s, inference needs F32, F16 or BF16", view->name,
                    dtype_name(view->dtype));
}

static tsr_status read_rows(void *ctx, uint64_t index, uint64_t first_row, uint64_t rows, float *dst, tsr_error *err) {
    const struct model_weights *weights = ctx;
    const tsr_tensor *view = &weights->tensors[index];
    uint64_t row_bytes = view->columns * (dtype_bits(view->dtype) / 8);
    tsr_status st = need_float(view, err);
    if (st != TSR_OK) return st;
    if (first_row > view->rows || rows > view->rows - first_row) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tensor \"%s\": row %llu of %llu", view->name,
                        (unsigned long long)(first_row + rows - 1), (unsigned long long)view->rows);
    }
    dtype_to_f32(view->dtype, tensor_data(weights, index) + first_row * row_bytes, rows * view->columns, dst);
    return TSR_OK;
}

static tsr_status linear(void *ctx, uint64_t index, uint64_t first_row, uint64_t rows, int32_t transposed,
                         tsr_linear **op, tsr_error *err) {
    struct model_weights *weights = ctx;
    const tsr_tensor *view = &weights->tensors[index];
    uint64_t element = dtype_bits(view->dtype) / 8;
    uint64_t all_rows = transposed ? view->columns : view->rows, columns = transposed ? view->rows : view->columns;
    tsr_status st = need_float(view, err);
    if (st != TSR_OK) return st;
    if (first_row > all_rows || rows > all_rows - first_row || (transposed && rows != all_rows)) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tensor \"%s\": rows %llu + %llu of %llu", view->name,
                        (unsigned long long)first_row, (unsigned long long)rows, (unsigned long long)all_rows);
    }
    struct tsr_linear *made = mem_alloc_zero(1, sizeof *made);
    if (!made) return tsr_fail(err, TSR_E_NOMEM, "out of memory for an operator");
    made->dense = (struct dense){.data = tensor_data(weights, index) + first_row * columns * element,
                                 .dtype = view->dtype,
                                 .rows = rows,
                                 .columns = columns,
                                 .transposed = transposed != 0};
    made->next = weights->linears;
    weights->linears = made;
    *op = made;
    return TSR_OK;
}

static tsr_status apply(void *ctx, tsr_linear *op, const float *x, uint64_t tokens, float *y, tsr_error *err) {
    const struct model_weights *weights = ctx;
    return dense_apply(&op->dense, x, tokens, y, weights->env, err);
}

static tsr_status apply_one(void *ctx, tsr_linear *op, const float *x, float *y, tsr_error *err) {
    const struct model_weights *weights = ctx;
    return dense_apply_one(&op->dense, x, y, weights->env, err);
}

/* Rank 2 and up: last dimension against all others; below: one row. */
static void describe(const struct checkpoint_tensor *source, tsr_tensor *view) {
    const struct safetensors_entry *entry = source->entry;
    uint64_t elements = 1;
    for (uint64_t i = 0; i < entry->rank; i++) elements *= entry->shape[i];
    uint64_t columns = entry->rank >= 2 ? entry->shape[entry->rank - 1] : elements;
    *view = (tsr_tensor){.struct_size = sizeof *view,
                         .name = source->name,
                         .shape = entry->shape,
                         .rank = entry->rank,
                         .rows = columns ? elements / columns : 0,
                         .columns = columns,
                         .bytes = entry->bytes,
                         .dtype = entry->dtype,
                         .regime = TSR_REGIME_EXACT};
}

tsr_status model_weights_create(struct checkpoint *checkpoint, const struct env *env, struct model_weights **out,
                                tsr_error *err) {
    struct model_weights *weights = mem_alloc_zero(1, sizeof *weights);
    tsr_status st = TSR_OK;
    if (!weights) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the weights table");
    weights->env = env;
    weights->checkpoint = checkpoint;
    weights->tensors = mem_alloc_zero(checkpoint->tensor_count, sizeof *weights->tensors);
    if (!weights->tensors) st = tsr_fail(err, TSR_E_NOMEM, "out of memory for the weights table");
    for (uint64_t i = 0; i < checkpoint->file_count && st == TSR_OK; i++) st = fs_map(&checkpoint->files[i].st.file, err);
    if (st != TSR_OK) {
        model_weights_destroy(weights);
        return st;
    }
    for (uint64_t i = 0; i < checkpoint->tensor_count; i++) describe(&checkpoint->tensors[i], &weights->tensors[i]);
    weights->table = (tsr_weights){.struct_size = sizeof weights->table,
                                   .ctx = weights,
                                   .count = count,
                                   .tensor = tensor,
                                   .find = find,
                                   .read_rows = read_rows,
                                   .linear = linear,
                                   .apply = apply,
                                   .apply_one = apply_one};
    dense_setup();
    *out = weights;
    return TSR_OK;
}

void model_weights_destroy(struct model_weights *weights) {
    if (!weights) return;
    while (weights->linears) {
        struct tsr_linear *next = weights->linears->next;
        mem_free(weights->linears);
        weights->linears = next;
    }
    mem_free(weights->tensors);
    mem_free(weights);
}

const tsr_weights *model_weights_table(const struct model_weights *weights) {
    return &weights->table;
}
