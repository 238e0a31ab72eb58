/* SPDX-License-Identifier: Apache-2.0
 *
 * A tile some columns at a time, for error feedback: one vector of every row in a block. Scales come from the values at
 * the beginning; what the host changes afterwards is quantised with them. Segments that are raw or zero then stay so.
 */
#include "vq.h"

struct block_state {
    struct vq_tile tile;
    tsr_tile place;
    float *x;       /* [rows][columns] at the beginning; only with raw segments */
    float *vectors; /* [rows][dim] */
    void *search;
};

static uint64_t aligned(uint64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static uint64_t block_width(void *self) {
    const struct vq *vq = self;
    return vq->settings.shape.dim;
}

static uint64_t block_columns(void *self, const tsr_tile *tile, uint64_t index, uint64_t *columns) {
    const struct vq *vq = self;
    const uint64_t dim = vq->shape.dim, first = index * dim;
    uint64_t count = first < tile->columns ? tile->columns - first : 0;
    count = count < dim ? count : dim;
    for (uint64_t i = 0; i < count; i++) columns[i] = first + i;
    return count;
}

static void choose_scales(struct block_state *state, const float *src) {
    const struct vq_grid *grid = &state->tile.grid;
    for (uint64_t i = 0; i < grid->segments; i++) {
        const uint64_t row = i / grid->row_segments, s = i % grid->row_segments;
        const float *x = src + row * grid->columns + s * grid->group;
        state->tile.codes[i] = (uint16_t)vq_scale_choose(x, vq_segment_columns(grid, s), state->tile.mantissa_bits);
    }
}

/* One allocation: the state, then its arrays. */
static struct block_state *state_create(const struct vq *vq, const tsr_tile *tile) {
    const struct vq_grid grid = vq_tile_grid(vq, tile);
    const uint64_t head = aligned(sizeof(struct block_state)), codes = aligned(grid.segments * 2);
    const uint64_t indices = aligned(vq->shape.streams * grid.vectors * 2);
    const uint64_t vectors = aligned(grid.rows * grid.dim * sizeof(float));
    const uint64_t values = aligned(grid.rows * grid.columns * sizeof(float));
    const uint64_t search = vq->kind->search_bytes(vq, grid.rows);
    uint8_t *memory = vq->host->alloc(vq->host, head + codes + indices + vectors + values + search);
    struct block_state *state = (struct block_state *)(void *)memory;
    if (!memory) return NULL;
    *state =
        (struct block_state){.tile = {.grid = grid, .mantissa_bits = vq_mantissa_bits(grid.group)}, .place = *tile};
    state->tile.codes = (uint16_t *)(void *)(memory + head);
    state->tile.indices = (uint16_t *)(void *)(memory + head + codes);
    state->vectors = (float *)(void *)(memory + head + codes + indices);
    state->x = (float *)(void *)(memory + head + codes + indices + vectors);
    state->search = memory + head + codes + indices + vectors + values;
    return state;
}

static tsr_status block_begin(void *self, const tsr_tile *tile, const float *src, void **state, tsr_error *err) {
    const struct vq *vq = self;
    *state = NULL;
    if (vq->hadamard) return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: rotated rows have no blocks", vq->kind->name);
    if (vq->settings.shape.dim == 0)
        return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: whole rows have no blocks", vq->kind->name);
    struct block_state *made = state_create(vq, tile);
    if (!made) return vq_no_memory(vq, err);
    memcpy(made->x, src, (size_t)(tile->rows * tile->columns) * sizeof *src);
    made->tile.x = made->x;
    choose_scales(made, src);
    *state = made;
    return TSR_OK;
}

/* A row's vector: values over the scale of their segment, zeros behind the last column and without a scale. */
static void scale_vector(const struct block_state *state, uint16_t code, const float *values, uint64_t count,
                         float *to) {
    const bool scaled = code > STEP_CODE_RAW;
    const float inverse = scaled ? 1.0f / step_code_value(code, state->tile.mantissa_bits) : 0;
    for (uint64_t i = 0; i < state->tile.grid.dim; i++) to[i] = scaled && i < count ? values[i] * inverse : 0;
}

static tsr_status block_quantise(void *self, void *opaque, uint64_t index, const float *values, float *reconstruction,
                                 tsr_error *err) {
    const struct vq *vq = self;
    struct block_state *state = opaque;
    const struct vq_grid *grid = &state->tile.grid;
    const uint64_t dim = grid->dim, first = index * dim, segment = first / grid->group;
    const uint64_t count = grid->columns - first < dim ? grid->columns - first : dim;
    uint16_t *indices = state->tile.indices + index;
    (void)err;
    for (uint64_t r = 0; r < grid->rows; r++) {
        scale_vector(state, state->tile.codes[r * grid->row_segments + segment], values + r * count, count,
                     state->vectors + r * dim);
    }
    for (uint64_t r = 0; r < grid->rows; r++) {
        const uint16_t code = state->tile.codes[r * grid->row_segments + segment];
        const float *weights = vq->column_weight ? vq->column_weight + state->place.first_column + first : NULL;
        const struct vq_query query = {.vectors = state->vectors + r * dim,
                                       .weights = weights,
                                       .count = 1,
                                       .indices = indices + r * grid->row_vectors,
                                       .stride = grid->vectors};
        float found[16];
        vq->kind->search(vq, &query, state->search);
        vq->kind->reconstruct(vq, query.indices, grid->vectors, 1, vq->shape.streams, found);
        const float scale = code > STEP_CODE_RAW ? step_code_value(code, state->tile.mantissa_bits) : 0;
        for (uint64_t i = 0; i < count; i++)
            reconstruction[r * count + i] = code > STEP_CODE_RAW ? found[i] * scale : 0;
        if (code <= STEP_CODE_RAW) {
            for (uint32_t s = 0; s < vq->shape.streams; s++) query.indices[s * grid->vectors] = 0;
        }
        if (code == STEP_CODE_RAW) {
            memcpy(reconstruction + r * count, state->x + r * grid->columns + first, (size_t)count * sizeof(float));
        }
    }
    return TSR_OK;
}

static tsr_status block_end(void *self, void *opaque, void *dst, uint64_t capacity, uint64_t *written, tsr_error *err) {
    const struct vq *vq = self;
    struct block_state *state = opaque;
    tsr_status status = vq_write_tile(vq, &state->tile, dst, capacity, written, err);
    vq->host->free(vq->host, state);
    return status;
}

static void block_abandon(void *self, void *state) {
    const struct vq *vq = self;
    vq->host->free(vq->host, state);
}

const tsr_block VQ_BLOCK = {sizeof VQ_BLOCK, block_width, block_columns, block_begin,
                            block_quantise,  block_end,   block_abandon};
