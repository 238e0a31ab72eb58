/* SPDX-License-Identifier: Apache-2.0
 *
 * Implements tsr_weights with dense products over the tensor cache, and with products from the payload where a codec has
 * them. Linear operators are kept in a list and die with the table; their bytes are pinned for one product at a time. Packed
 * tiles take at most three quarters of the budget, and the cache has what they leave. */
#include "model_weights.h"

#include "product.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/pool.h>
#include <format/dtype.h>
#include <numeric/dense.h>
#include <string.h>

struct tsr_linear {
    struct dense dense; /* data is set while pinned */
    uint64_t index;
    uint64_t offset; /* of the first row in the tensor's bytes */
    struct product *product; /* NULL: none, or not tried */
    bool tried;
    struct tsr_linear *next;
};

struct model_weights {
    tsr_weights table;
    const struct env *env;
    struct tensor_cache *cache;
    uint64_t count;
    tsr_tensor *tensors;
    uint64_t *by_name; /* [count], sorted by name */
    struct tsr_linear *linears;
    enum model_path path;
    uint64_t budget, packed;
    struct product_memory memory;
    bool ran_dense, ran_codec;
    const struct model_weights *overlay; /* where some tensors come from, or NULL */
    const int64_t *overlay_index;        /* [count]; below 0: not from there */
};

/* The cache and the index in it that tensor `index` comes from. */
static struct tensor_cache *cache_of(const struct model_weights *weights, uint64_t *index) {
    if (!weights->overlay || weights->overlay_index[*index] < 0) return weights->cache;
    *index = (uint64_t)weights->overlay_index[*index];
    return weights->overlay->cache;
}

static uint64_t count(void *ctx) {
    const struct model_weights *weights = ctx;
    return weights->count;
}

static const tsr_tensor *tensor(void *ctx, uint64_t index) {
    const struct model_weights *weights = ctx;
    return &weights->tensors[index];
}

static tsr_status find(void *ctx, const char *name, uint64_t *index, tsr_error *err) {
    const struct model_weights *weights = ctx;
    uint64_t low = 0, high = weights->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = strcmp(name, weights->tensors[weights->by_name[middle]].name);
        if (order == 0) {
            *index = weights->by_name[middle];
            return TSR_OK;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return tsr_fail(err, TSR_E_INPUT, "tensor \"%s\": is not in the checkpoint", name);
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
    uint8_t *bytes = NULL;
    tsr_status st = need_float(view, err);
    if (st != TSR_OK) return st;
    if (first_row > view->rows || rows > view->rows - first_row) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tensor \"%s\": row %llu of %llu", view->name,
                        (unsigned long long)(first_row + rows - 1), (unsigned long long)view->rows);
    }
    bytes = mem_alloc_array(rows, row_bytes);
    if (!bytes) return tsr_fail(err, TSR_E_NOMEM, "tensor \"%s\": out of memory", view->name);
    struct tensor_cache *cache = cache_of(weights, &index);
    st = tensor_cache_read(cache, index, first_row * row_bytes, rows * row_bytes, bytes, err);
    if (st == TSR_OK) dtype_to_f32(view->dtype, bytes, rows * view->columns, dst);
    mem_free(bytes);
    return st;
}

/* An operator in the table's list, over bytes from `offset` of the tensor. */
static tsr_status add_linear(struct model_weights *weights, uint64_t index, uint64_t offset, uint64_t rows, uint64_t columns,
                             int32_t transposed, tsr_linear **op, tsr_error *err) {
    struct tsr_linear *made = mem_alloc_zero(1, sizeof *made);
    if (!made) return tsr_fail(err, TSR_E_NOMEM, "out of memory for an operator");
    made->dense = (struct dense){
        .dtype = weights->tensors[index].dtype, .rows = rows, .columns = columns, .transposed = transposed != 0};
    made->index = index;
    made->offset = offset;
    made->next = weights->linears;
    weights->linears = made;
    *op = made;
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
    return add_linear(weights, index, first_row * columns * element, rows, columns, transposed, op, err);
}

static tsr_status linear_view(void *ctx, uint64_t index, uint64_t columns, int32_t transposed, tsr_linear **op,
                              tsr_error *err) {
    struct model_weights *weights = ctx;
    const tsr_tensor *view = &weights->tensors[index];
    uint64_t elements = view->rows * view->columns;
    tsr_status st = need_float(view, err);
    if (st != TSR_OK) return st;
    if (columns == 0 || elements % columns) {
        return tsr_fail(err, TSR_E_ARGUMENT, "tensor \"%s\": %llu elements are no matrix of %llu columns", view->name,
                        (unsigned long long)elements, (unsigned long long)columns);
    }
    uint64_t rows = elements / columns;
    return add_linear(weights, index, 0, transposed ? columns : rows, transposed ? rows : columns, transposed, op, err);
}

static tsr_status pin(const struct model_weights *weights, tsr_linear *op, tsr_error *err) {
    const uint8_t *data;
    uint64_t index = op->index;
    struct tensor_cache *cache = cache_of(weights, &index);
    tsr_status st = tensor_cache_pin(cache, index, &data, err);
    if (st == TSR_OK) op->dense.data = data + op->offset;
    return st;
}

static void unpin(const struct model_weights *weights, const tsr_linear *op) {
    uint64_t index = op->index;
    struct tensor_cache *cache = cache_of(weights, &index);
    tensor_cache_unpin(cache, index);
}

/* ---- products from the payload ---- */

static tsr_status make_product(struct model_weights *weights, tsr_linear *op, tsr_error *err) {
    const struct product_shape shape = {op->index, op->dense.rows, op->dense.columns, op->dense.transposed};
    uint64_t most = weights->budget - weights->budget / 4, limit = most - min_u64(weights->packed, most);
    op->tried = true;
    if (op->offset) return TSR_OK;
    tsr_status st = product_create(weights->cache, &shape, limit, &weights->memory, weights->env, &op->product, err);
    if (st != TSR_OK || !op->product) return st;
    weights->packed += product_bytes(op->product);
    tensor_cache_limit(weights->cache, weights->budget - min_u64(weights->packed, weights->budget));
    return TSR_OK;
}

/* True when the operator is to be applied by its product, which is there then. */
static tsr_status find_product(struct model_weights *weights, tsr_linear *op, bool *found, tsr_error *err) {
    *found = false;
    if (weights->overlay || weights->path == MODEL_PATH_DENSE) return TSR_OK;
    tsr_status st = op->tried ? TSR_OK : make_product(weights, op, err);
    *found = st == TSR_OK && op->product;
    return st;
}

static tsr_status apply_product(struct model_weights *weights, const tsr_linear *op, const float *x, uint64_t tokens, float *y,
                                tsr_error *err) {
    tsr_status st = TSR_OK;
    weights->ran_codec = true;
    for (uint64_t t = 0; t < tokens && st == TSR_OK; t++) {
        st = product_apply(op->product, x + t * op->dense.columns, y + t * op->dense.rows, err);
    }
    return st;
}

/* ---- dense products ---- */

static tsr_status apply(void *ctx, tsr_linear *op, const float *x, uint64_t tokens, float *y, tsr_error *err) {
    struct model_weights *weights = ctx;
    bool found = false;
    tsr_status st = weights->path == MODEL_PATH_CODEC ? find_product(weights, op, &found, err) : TSR_OK;
    if (st == TSR_OK && found) return apply_product(weights, op, x, tokens, y, err);
    weights->ran_dense = true;
    if (st == TSR_OK) st = pin(weights, op, err);
    if (st != TSR_OK) return st;
    st = dense_apply(&op->dense, x, tokens, y, weights->env, err);
    unpin(weights, op);
    return st;
}

/* ---- one token ---- */

/* Operators that are applied together: tasks first..first + count - 1 of the loop are the pieces of one. */
struct part {
    tsr_linear *op;
    float *y;
    uint64_t first;
    bool product, pinned;
};

struct together {
    struct model_weights *weights;
    const float *x;
    struct part parts[TSR_TOGETHER_MAX];
    uint64_t count, tasks, workers;
};

static tsr_status part_task(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    const struct together *work = ctx;
    uint64_t i = work->count - 1;
    while (work->parts[i].first > index) i--;
    const struct part *part = &work->parts[i];
    if (part->product) return product_piece(part->op->product, index - part->first, worker, err);
    dense_one_piece(&part->op->dense, work->workers, index - part->first, work->x, part->y);
    return TSR_OK;
}

/* A transposed matrix is multiplied here and now. */
static tsr_status add_part(struct together *work, tsr_linear *op, float *y, tsr_error *err) {
    struct model_weights *weights = work->weights;
    struct part *part = &work->parts[work->count++];
    *part = (struct part){.op = op, .y = y, .first = work->tasks};
    tsr_status st = find_product(weights, op, &part->product, err);
    if (st != TSR_OK) return st;
    if (part->product) {
        weights->ran_codec = true;
        work->tasks += product_pieces(op->product);
        return product_begin(op->product, work->x, y, err);
    }
    weights->ran_dense = true;
    st = pin(weights, op, err);
    part->pinned = st == TSR_OK;
    if (st != TSR_OK) return st;
    if (op->dense.transposed) return dense_apply_one(&op->dense, work->x, y, weights->env, err);
    work->tasks += dense_one_pieces(&op->dense, work->workers);
    return TSR_OK;
}

static tsr_status apply_ones(void *ctx, tsr_linear *const *ops, uint64_t count, const float *x, float *const *y, tsr_error *err) {
    struct model_weights *weights = ctx;
    struct together work = {.weights = weights, .x = x, .workers = pool_workers(weights->env->pool)};
    tsr_status st = TSR_OK;
    if (count > TSR_TOGETHER_MAX) return tsr_fail(err, TSR_E_ARGUMENT, "%llu operators at once", (unsigned long long)count);
    for (uint64_t i = 0; i < count && st == TSR_OK; i++) st = add_part(&work, ops[i], y[i], err);
    if (st == TSR_OK) st = pool_for(weights->env->pool, work.tasks, part_task, &work, err);
    for (uint64_t i = 0; i < work.count; i++) {
        if (work.parts[i].pinned) unpin(weights, work.parts[i].op);
    }
    return st;
}

static tsr_status apply_one(void *ctx, tsr_linear *op, const float *x, float *y, tsr_error *err) {
    return apply_ones(ctx, &op, 1, x, &y, err);
}

/* Rank 2 and up: last dimension against all others; below: one row. */
static void describe(const struct reader_tensor *source, tsr_tensor *view) {
    uint64_t elements = 1;
    for (uint64_t i = 0; i < source->rank; i++) elements *= source->shape[i];
    uint64_t columns = source->rank >= 2 ? source->shape[source->rank - 1] : elements;
    *view = (tsr_tensor){.struct_size = sizeof *view,
                         .name = source->name,
                         .shape = source->shape,
                         .rank = source->rank,
                         .rows = columns ? elements / columns : 0,
                         .columns = columns,
                         .bytes = source->bytes,
                         .dtype = dtype_from_name(source->dtype_name),
                         .regime = TSR_REGIME_EXACT};
}

/* Merge sort of indices by name: qsort has no context argument. */
static void sort_by_name(const tsr_tensor *tensors, uint64_t *order, uint64_t *spare, uint64_t count) {
    if (count < 2) return;
    uint64_t half = count / 2, i = 0, j = half;
    sort_by_name(tensors, order, spare, half);
    sort_by_name(tensors, order + half, spare, count - half);
    memcpy(spare, order, count * sizeof *order);
    for (uint64_t at = 0; at < count; at++) {
        bool left = i < half && (j >= count || strcmp(tensors[spare[i]].name, tensors[spare[j]].name) <= 0);
        order[at] = left ? spare[i++] : spare[j++];
    }
}

static tsr_status describe_all(struct model_weights *weights, const struct reader *reader, tsr_error *err) {
    weights->count = reader_count(reader);
    weights->tensors = mem_alloc_zero(weights->count, sizeof *weights->tensors);
    weights->by_name = mem_alloc_zero(weights->count, sizeof *weights->by_name);
    uint64_t *spare = mem_alloc_zero(weights->count, sizeof *spare);
    if (!weights->tensors || !weights->by_name || !spare) {
        mem_free(spare);
        return tsr_fail(err, TSR_E_NOMEM, "out of memory for the weights table");
    }
    for (uint64_t i = 0; i < weights->count; i++) {
        struct reader_tensor source = reader_tensor(reader, i);
        describe(&source, &weights->tensors[i]);
        weights->by_name[i] = i;
    }
    sort_by_name(weights->tensors, weights->by_name, spare, weights->count);
    mem_free(spare);
    return TSR_OK;
}

tsr_status model_weights_create(struct reader *reader, uint64_t budget_bytes, const struct env *env,
                                struct model_weights **out, tsr_error *err) {
    struct model_weights *weights = mem_alloc_zero(1, sizeof *weights);
    if (!weights) return tsr_fail(err, TSR_E_NOMEM, "out of memory for the weights table");
    weights->env = env;
    weights->budget = budget_bytes;
    tsr_status st = tensor_cache_create(reader, budget_bytes, env, &weights->cache, err);
    if (st == TSR_OK) st = describe_all(weights, reader, err);
    if (st != TSR_OK) {
        model_weights_destroy(weights);
        return st;
    }
    weights->table = (tsr_weights){.struct_size = sizeof weights->table,
                                   .ctx = weights,
                                   .count = count,
                                   .tensor = tensor,
                                   .find = find,
                                   .read_rows = read_rows,
                                   .linear = linear,
                                   .apply = apply,
                                   .apply_one = apply_one,
                                   .linear_view = linear_view,
                                   .apply_ones = apply_ones};
    dense_setup();
    *out = weights;
    return TSR_OK;
}

void model_weights_destroy(struct model_weights *weights) {
    if (!weights) return;
    while (weights->linears) {
        struct tsr_linear *next = weights->linears->next;
        product_destroy(weights->linears->product);
        mem_free(weights->linears);
        weights->linears = next;
    }
    product_memory_clear(&weights->memory);
    tensor_cache_destroy(weights->cache);
    mem_free(weights->by_name);
    mem_free(weights->tensors);
    mem_free(weights);
}

void model_weights_overlay(struct model_weights *weights, const struct model_weights *from, const int64_t *from_index) {
    weights->overlay = from_index ? from : NULL;
    weights->overlay_index = from_index;
}

const tsr_weights *model_weights_table(const struct model_weights *weights) {
    return &weights->table;
}

void model_weights_limit(struct model_weights *weights, uint64_t budget_bytes) {
    weights->budget = budget_bytes;
    tensor_cache_limit(weights->cache, budget_bytes - min_u64(weights->packed, budget_bytes));
}

void model_weights_choose(struct model_weights *weights, enum model_path path) {
    weights->path = path;
}

const char *model_weights_path(struct model_weights *weights) {
    const char *name = !weights->ran_codec ? "dense" : weights->ran_dense ? "codec and dense" : "codec";
    weights->ran_codec = weights->ran_dense = false;
    return name;
}

uint64_t model_weights_packed(const struct model_weights *weights) {
    return weights->packed;
}

uint64_t model_weights_peak(const struct model_weights *weights) {
    return tensor_cache_peak(weights->cache);
}
