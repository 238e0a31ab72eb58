/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps come from the tile as it is; corrected values are kept, and the tile is written from them at the end: without
 * corrections the bytes are those of scalar_encode.c. */
#include "scalar_block.h"

#include <math.h>

struct block_state {
    tsr_tile tile;
    struct segment *segments; /* [rows][row_segments] */
    uint64_t row_segments;
    float *x;      /* [rows][columns]: the tile, then what quantise was given */
};

uint64_t scalar_block_width(const struct scalar_encoder *encoder) {
    return encoder->settings.error_bound > 0 ? 0 : 1;
}

static struct block_state *state_create(const struct scalar_encoder *encoder, const tsr_tile *tile) {
    const uint64_t row_segments = scalar_segments(tile->columns, encoder->settings.group);
    const uint64_t head = (sizeof(struct block_state) + 63) / 64 * 64;
    const uint64_t segments = (tile->rows * row_segments * sizeof(struct segment) + 63) / 64 * 64;
    uint8_t *memory =
        encoder->host->alloc(encoder->host, head + segments + tile->rows * tile->columns * sizeof(float));
    if (!memory) return NULL;
    struct block_state *state = (struct block_state *)(void *)memory;
    *state = (struct block_state){.tile = *tile, .row_segments = row_segments};
    state->segments = (struct segment *)(void *)(memory + head);
    state->x = (float *)(void *)(memory + head + segments);
    return state;
}

static void choose_segments(const struct scalar_encoder *encoder, struct block_state *state) {
    const tsr_tile *tile = &state->tile;
    const float *x = state->x;
    for (uint64_t i = 0; i < tile->rows * state->row_segments; i++) {
        const uint64_t row = tile->first_row + i / state->row_segments, at = i % state->row_segments;
        const uint64_t count = scalar_segment_columns(tile->columns, encoder->settings.group, at);
        const uint64_t column = tile->first_column + at * encoder->settings.group;
        state->segments[i] = scalar_segment_choose(encoder, x, row, column, count);
        x += count;
    }
}

tsr_status scalar_block_begin(const struct scalar_encoder *encoder, const tsr_tile *tile, const float *x, void **state,
                              tsr_error *err) {
    const uint64_t weights = tile->rows * tile->columns;
    *state = NULL;
    if (scalar_block_width(encoder) == 0)
        return tsr_fail(err, TSR_E_UNSUPPORTED, "scalar: a bound on errors of rows has no blocks");
    struct block_state *made = state_create(encoder, tile);
    if (!made) {
        return tsr_fail(err, TSR_E_NOMEM, "scalar: no memory for a tile of %llu weights", (unsigned long long)weights);
    }
    memcpy(made->x, x, (size_t)weights * sizeof *x);
    choose_segments(encoder, made);
    *state = made;
    return TSR_OK;
}

/* Feedback may push a value beyond what its segment's step can tell apart; then it counts as the largest that can. */
static float within_reach(const struct scalar_encoder *encoder, const struct segment *segment, float value) {
    if (!segment_is_coded(segment)) return value;
    const float most = step_code_value(segment->code, encoder->mantissa_bits) * 0x1p22f;
    return value > most ? most : value < -most ? -most : value;
}

/* The segment is coded; `column` is the code of its column. */
static float reconstruct(const struct scalar_encoder *encoder, const struct segment *segment, int32_t column,
                         float value) {
    const float step = step_code_value(segment->code, encoder->mantissa_bits);
    const uint32_t scale = shape_scale(&encoder->shape, scalar_row_code(encoder, segment), column);
    const uint32_t magnitude = (uint32_t)(fabsf(value) * segment->inverse + scalar_rounding(encoder));
    const uint32_t middle = encoder->model.middle, list = scalar_bucket_list(encoder, segment->bucket);
    const float *points = encoder->points + (uint64_t)list * (2 * middle + 2) + middle;
    const float point = (magnitude <= encoder->model.limits[scale] ? points[magnitude] : (float)magnitude) * step;
    return value < 0 && magnitude > 0 ? -point : point;
}

void scalar_block_quantise(const struct scalar_encoder *encoder, void *opaque, uint64_t index, const float *values,
                           float *reconstruction) {
    struct block_state *state = opaque;
    const uint64_t group = encoder->settings.group, at = group ? index / group : 0;
    const int32_t column = column_code(&encoder->columns, state->tile.first_column + index);
    for (uint64_t r = 0; r < state->tile.rows; r++) {
        const struct segment *segment = &state->segments[r * state->row_segments + at];
        const float value = within_reach(encoder, segment, values[r]);
        state->x[r * state->tile.columns + index] = value;
        reconstruction[r] = segment->code == STEP_CODE_RAW ? value : 0;
        if (segment_is_coded(segment)) reconstruction[r] = reconstruct(encoder, segment, column, value);
    }
}

tsr_status scalar_block_end(const struct scalar_encoder *encoder, void *opaque, void *dst, uint64_t capacity,
                            uint64_t *written, tsr_error *err) {
    struct block_state *state = opaque;
    tsr_status status =
        scalar_encode_segments(encoder, &state->tile, state->x, state->segments, dst, capacity, written, err);
    scalar_block_abandon(encoder, state);
    return status;
}

void scalar_block_abandon(const struct scalar_encoder *encoder, void *state) {
    encoder->host->free(encoder->host, state);
}
