/* SPDX-License-Identifier: Apache-2.0
 *
 * Products from indices: for each run of columns and each stage, the products of all words with that part of x are made
 * once (Jegou, Douze, Schmid 2011: asymmetric distances); a weight vector then costs one table look-up a stage. A
 * packed tile keeps the indices of a run of columns side by side for all rows, so that their table stays in the first
 * cache. */
#include "rvq.h"
#include "rvq_kernel.h"

#define ROWS_AT_ONCE 256

/* A packed tile: scales[segments], then bytes[row_vectors][streams][rows]. */
static bool has_product(const struct vq *vq, const struct vq_grid *grid) {
    for (uint32_t s = 0; s < vq_used_streams(vq); s++) {
        if (vq->streams[s].size > 256) return false;
    }
    const uint64_t bytes = grid->segments * sizeof(float) + grid->vectors * vq_used_streams(vq);
    if (vq->hadamard && grid->columns != vq->tensor->columns) return false; /* rows are rotated in pieces */
    return vq->settings.shape.dim != 0 && bytes <= grid->rows * grid->columns;
}

static uint64_t packed_bytes(void *self, const tsr_tile *tile) {
    const struct vq *vq = self;
    const struct vq_grid grid = vq_tile_grid(vq, tile);
    return has_product(vq, &grid) ? grid.segments * sizeof(float) + grid.vectors * vq_used_streams(vq) : 0;
}

static tsr_status pack_streams(const struct vq *vq, const struct vq_parsed *parsed, uint16_t *indices, uint8_t *bytes,
                               tsr_error *err) {
    const struct vq_grid *grid = &parsed->grid;
    for (uint32_t s = 0; s < parsed->streams; s++) {
        tsr_status status = vq_read_indices(vq, parsed, s, 0, grid->vectors, indices, indices, err);
        if (status != TSR_OK) return status;
        for (uint64_t v = 0; v < grid->vectors; v++) {
            const uint64_t row = v / grid->row_vectors, column = v % grid->row_vectors;
            bytes[(column * parsed->streams + s) * grid->rows + row] = (uint8_t)indices[v];
        }
    }
    return TSR_OK;
}

static tsr_status pack(void *self, const tsr_tile *tile, const void *src, uint64_t size, void *dst, tsr_error *err) {
    const struct vq *vq = self;
    const struct vq_grid grid = vq_tile_grid(vq, tile);
    struct vq_parsed parsed;
    float *scales = dst;
    uint16_t *memory = vq->host->scratch(vq->host, tile->worker, (grid.segments + grid.vectors) * sizeof *memory);
    if (!memory) return vq_no_memory(vq, err);
    tsr_status status = vq_parse_tile(vq, tile, src, size, memory, &parsed, err);
    for (uint64_t i = 0; i < grid.segments && status == TSR_OK; i++) {
        if (memory[i] == STEP_CODE_RAW) status = tsr_fail(err, TSR_E_UNSUPPORTED, "rvq: a raw segment has no product");
        scales[i] = memory[i] > STEP_CODE_RAW ? step_code_value(memory[i], parsed.mantissa_bits) : 0;
    }
    if (status != TSR_OK) return status;
    return pack_streams(vq, &parsed, memory + grid.segments, (uint8_t *)(void *)(scales + grid.segments), err);
}

/* ---- tables ---- */

static uint64_t tensor_vectors(const struct vq *vq) {
    return (vq->tensor->columns - 1) / vq->shape.dim + 1;
}

static uint64_t table_numbers(const struct vq *vq) {
    return tensor_vectors(vq) * vq_used_streams(vq) * 256;
}

/* One table of 256 for each run of columns and stage; behind them, room for x, rotated and filled up with zeros, and
 * for the words with the dimension outside. */
static uint64_t query_bytes(void *self) {
    const struct vq *vq = self;
    const uint64_t dim = vq->shape.dim;
    return (table_numbers(vq) + tensor_vectors(vq) * dim + vq_used_streams(vq) * dim * 256) * sizeof(float);
}

/* words[stages][dim][256], zeros behind the last word of a stage. */
static void turn_words(const struct vq *vq, float *words) {
    const uint64_t dim = vq->shape.dim;
    memset(words, 0, (size_t)(vq_used_streams(vq) * dim * 256) * sizeof *words);
    for (uint32_t s = 0; s < vq_used_streams(vq); s++, words += dim * 256) {
        const float *stage = rvq_stage(vq, s);
        for (uint64_t j = 0; j < vq->shape.sizes[s] * dim; j++) words[j % dim * 256 + j / dim] = stage[j];
    }
}

static tsr_status query(void *self, const float *x, void *to, tsr_error *err) {
    const struct vq *vq = self;
    const struct rvq_kernels *kernels = rvq_kernels_get();
    const uint64_t dim = vq->shape.dim, vectors = tensor_vectors(vq), columns = vq->tensor->columns;
    float *table = to, *padded = table + table_numbers(vq), *words = padded + vectors * dim;
    (void)err;
    memcpy(padded, x, (size_t)columns * sizeof *x);
    memset(padded + columns, 0, (size_t)(vectors * dim - columns) * sizeof *x);
    if (vq->hadamard) vq->hadamard->forward(padded, 1, columns, vq->seed);
    turn_words(vq, words);
    for (uint64_t v = 0; v < vectors; v++) {
        for (uint32_t s = 0; s < vq_used_streams(vq); s++, table += 256) {
            kernels->fill_table(words + s * dim * 256, dim, padded + v * dim, table);
        }
    }
    return TSR_OK;
}

static tsr_status apply_rows(void *self, const tsr_tile *tile, const void *packed, uint64_t first_row, uint64_t rows,
                             const float *x, const void *query_of_x, float *y, tsr_error *err) {
    const struct vq *vq = self;
    const struct vq_grid grid = vq_tile_grid(vq, tile);
    const struct rvq_kernels *kernels = rvq_kernels_get();
    const uint32_t streams = vq_used_streams(vq);
    const float *scales = packed, *table = query_of_x;
    const uint8_t *indices = (const uint8_t *)(scales + grid.segments);
    (void)x, (void)err;
    table += tile->first_column / grid.dim * streams * 256;
    for (uint64_t first = first_row; first < first_row + rows; first += ROWS_AT_ONCE, y += ROWS_AT_ONCE) {
        const uint64_t left = first_row + rows - first, count = left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE;
        float sums[ROWS_AT_ONCE];
        memset(y, 0, (size_t)count * sizeof *y);
        for (uint64_t s = 0; s < grid.row_segments; s++) {
            const uint64_t begin = s * grid.group / grid.dim;
            const uint64_t end = begin + (vq_segment_columns(&grid, s) - 1) / grid.dim + 1;
            memset(sums, 0, (size_t)count * sizeof *sums);
            for (uint64_t v = begin; v < end; v++) {
                const struct rvq_run run = {table + v * streams * 256, indices + v * streams * grid.rows + first,
                                            streams, grid.rows, count};
                kernels->add_run(&run, sums);
            }
            for (uint64_t r = 0; r < count; r++) y[r] += sums[r] * scales[(first + r) * grid.row_segments + s];
        }
    }
    return TSR_OK;
}

static tsr_status apply(void *self, const tsr_tile *tile, const void *packed, const float *x, const void *query_of_x,
                        float *y, tsr_error *err) {
    return apply_rows(self, tile, packed, 0, tile->rows, x, query_of_x, y, err);
}

const tsr_matvec RVQ_MATVEC = {.struct_size = sizeof RVQ_MATVEC,
                               .packed_bytes = packed_bytes,
                               .pack = pack,
                               .query_bytes = query_bytes,
                               .query = query,
                               .apply = apply,
                               .apply_rows = apply_rows};
