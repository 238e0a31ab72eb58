/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps come from the tile as it is, paths from the corrected columns: without corrections the bytes are those of
 * trellis_encode.c. */
#include "trellis_block.h"

struct block_state {
    struct trellis_tile_work work;
    tsr_tile tile;
    struct trellis_lane lane;
    float *values; /* [rows] of one column less its mean, within reach */
    float *raw;    /* [rows][columns], of raw rows only what quantise was given */
};

/* Offset of point `magnitude` as decoders add it. */
static float point_of(const struct trellis_encoder *encoder, uint32_t scale, uint32_t quantiser, int32_t index) {
    const struct offsets *offsets = &encoder->offsets[2 * shape_group(&encoder->shape, scale) + quantiser];
    const uint32_t magnitude = (uint32_t)(index < 0 ? -index : index);
    if (magnitude == 0 || magnitude > offsets->count || magnitude > encoder->model.limits[2 * scale + quantiser])
        return trellis_value(quantiser, index);
    float point = (float)index_point(quantiser, magnitude) + (float)offsets->values[magnitude - 1] / 128;
    return index < 0 ? -point : point;
}

tsr_status trellis_block_begin(const struct trellis_encoder *encoder, const tsr_tile *tile, const float *x,
                               void **state, tsr_error *err) {
    const uint64_t weights = tile->rows * tile->columns, head = (sizeof(struct block_state) + 63) / 64 * 64;
    const uint64_t work = (trellis_work_bytes(tile) + 63) / 64 * 64;
    const uint64_t lane = (trellis_lane_bytes(encoder) + 63) / 64 * 64;
    uint8_t *memory = encoder->host->alloc(encoder->host, head + work + lane + (weights + tile->rows) * sizeof *x);
    *state = NULL;
    if (!memory) {
        return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for a tile of %llu weights", (unsigned long long)weights);
    }
    struct block_state *made = (struct block_state *)(void *)memory;
    memset(made, 0, sizeof *made);
    made->tile = *tile;
    made->work.encoder = encoder;
    made->work.tile = &made->tile;
    trellis_work_init(&made->work, memory + head);
    trellis_lane_init(&made->lane, memory + head + work);
    made->raw = (float *)(void *)(memory + head + work + lane);
    made->values = made->raw + weights;
    made->work.x = made->raw;
    for (uint64_t r = 0; r < tile->rows; r++) {
        const struct row_facts facts =
            row_look(x + r * tile->columns, column_gain(&encoder->columns, tile->first_column),
                     column_means(&encoder->columns, tile->first_column), tile->columns);
        made->work.rows[r] = trellis_row_choose(encoder, &facts, tile->first_row + r);
    }
    *state = made;
    return TSR_OK;
}

/* Feedback may push a value beyond what its row's step can tell apart; then it counts as the largest that can. Of a value
 * less its column's mean. */
static float within_reach(const struct trellis_encoder *encoder, const struct segment *row, float value) {
    if (!segment_is_coded(row)) return value;
    const float most = step_code_value(row->code, encoder->mantissa_bits) * 0x1p22f;
    return value > most ? most : value < -most ? -most : value;
}

tsr_status trellis_block_quantise(const struct trellis_encoder *encoder, void *self, uint64_t index,
                                  const float *values, float *reconstruction, tsr_error *err) {
    struct block_state *state = self;
    const uint64_t rows = state->tile.rows, columns = state->tile.columns;
    const int32_t column = column_code(&encoder->columns, state->tile.first_column + index);
    const float *means = column_means(&encoder->columns, state->tile.first_column + index);
    const float mean = means ? *means : 0;
    uint32_t trellis_state = 0;
    (void)err;
    for (uint64_t r = 0; r < rows; r++) {
        state->values[r] = within_reach(encoder, &state->work.rows[r], values[r] - mean);
        if (state->work.rows[r].code == STEP_CODE_RAW) state->raw[r * columns + index] = values[r];
    }
    const struct trellis_columns one = {.rows = state->work.rows,
                                        .count = rows,
                                        .x = state->values,
                                        .stride = 1,
                                        .width = 1,
                                        .first = state->tile.first_column + index,
                                        .final = true,
                                        .centred = true,
                                        .indices = state->work.indices + index,
                                        .index_stride = columns};
    trellis_columns_find(encoder, &one, &state->lane);
    for (uint64_t r = 0, i = 0; r < rows; r++) {
        const struct segment *row = &state->work.rows[r];
        reconstruction[r] = row->code == STEP_CODE_RAW ? values[r] : 0;
        if (!segment_is_coded(row)) continue;
        const int32_t at = state->work.indices[i * columns + index];
        const uint32_t scale = shape_scale(&encoder->shape, trellis_row_code(row), column);
        const float step = step_code_value(row->code, encoder->mantissa_bits);
        reconstruction[r] = point_of(encoder, scale, trellis_state & 1, at) * step + mean;
        trellis_state = encoder->code.next[2 * trellis_state + ((uint32_t)at & 1)];
        i++;
    }
    return TSR_OK;
}

tsr_status trellis_block_end(const struct trellis_encoder *encoder, void *self, void *dst, uint64_t capacity,
                             uint64_t *written, tsr_error *err) {
    struct block_state *state = self;
    tsr_status status = trellis_write_tile(&state->work, dst, capacity, written, err);
    encoder->host->free(encoder->host, state);
    return status;
}

void trellis_block_abandon(const struct trellis_encoder *encoder, void *state) {
    encoder->host->free(encoder->host, state);
}
