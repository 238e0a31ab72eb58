/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps come from the tile as it is, tickets from the corrected columns: without corrections the bytes are those of
 * spiral_encode.c. Escapes are found when the tile is written, from the values kept here. */
#include "spiral_block.h"

#include <math.h>

struct block_state {
    struct spiral_tile_work work;
    tsr_tile tile;
    float *x;                    /* [rows][columns]: the tile, then what quantise was given */
    float *u, *v;                /* [rows] one block, in steps */
    uint16_t *found;             /* [rows] */
    struct spiral_point *points; /* [class_count][known]: what decoders make of tickets */
    uint32_t known;
};

uint64_t spiral_block_width(const struct spiral_encoder *encoder) {
    return encoder->settings.rotate ? 0 : 2;
}

uint64_t spiral_block_columns(const struct spiral_encoder *encoder, const tsr_tile *tile, uint64_t index,
                              uint64_t *columns) {
    const uint64_t hop = spiral_hop(encoder->stride, tile->columns);
    if (2 * index >= tile->columns) return 0;
    columns[0] = 2 * index * hop % tile->columns;
    if (2 * index + 1 == tile->columns) return 1;
    columns[1] = spiral_next(columns[0], hop, tile->columns);
    return 2;
}

static tsr_status state_create(const struct spiral_encoder *encoder, const tsr_tile *tile, struct block_state **made,
                               tsr_error *err) {
    const uint64_t weights = tile->rows * tile->columns, tickets = tile->rows * spiral_pairs(tile->columns);
    const uint32_t known = encoder->settings.points ? encoder->alphabet : (encoder->alphabet - 1) << encoder->low_bits;
    const uint64_t head = (sizeof(struct block_state) + 63) / 64 * 64;
    const uint64_t total = head + 4 * weights + tile->rows * (sizeof(struct segment) + 10) +
                           (uint64_t)encoder->class_count * known * sizeof(struct spiral_point) + 3 * tickets + 64;
    uint8_t *memory = encoder->host->alloc(encoder->host, total);
    if (!memory) {
        return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory for a tile of %llu weights", (unsigned long long)weights);
    }
    struct block_state *state = (struct block_state *)(void *)memory;
    memset(state, 0, sizeof *state);
    state->tile = *tile;
    state->known = known;
    state->points = (struct spiral_point *)(void *)(memory + head);
    state->x = (float *)(void *)(state->points + (uint64_t)encoder->class_count * known);
    state->u = state->x + weights;
    state->v = state->u + tile->rows;
    state->work.rows = (struct segment *)(void *)(state->v + tile->rows);
    state->work.tickets = (uint16_t *)(void *)(state->work.rows + tile->rows);
    state->found = state->work.tickets + tickets;
    if (encoder->class_count > 1) state->work.contexts = (uint8_t *)(state->found + tile->rows);
    state->work.encoder = encoder;
    state->work.tile = &state->tile;
    state->work.x = state->x;
    *made = state;
    return TSR_OK;
}

static void fill_points(const struct spiral_encoder *encoder, struct block_state *state) {
    for (uint32_t c = 0; c < encoder->class_count; c++) {
        struct spiral_point *points = state->points + (uint64_t)c * state->known;
        const struct spiral_class *class = &encoder->classes[c];
        for (uint32_t n = 0; n < state->known; n++) {
            points[n] = (struct spiral_point){encoder->rings.x[n], encoder->rings.y[n]};
        }
        if (encoder->settings.points) continue;
        spiral_curve_move(points, state->known, class->offsets, class->offset_count, class->shrink);
    }
}

static tsr_status choose_rows(const struct spiral_encoder *encoder, struct block_state *state, tsr_error *err) {
    const tsr_tile *tile = &state->tile;
    struct spiral_lane lane;
    void *memory = encoder->host->scratch(encoder->host, tile->worker, spiral_lane_bytes(tile->columns));
    if (!memory) return tsr_fail(err, TSR_E_NOMEM, "spiral: no memory for a row");
    spiral_lane_init(&lane, memory, tile->columns);
    for (uint64_t r = 0; r < tile->rows; r++) {
        const float *row = state->x + r * tile->columns;
        state->work.rows[r] = (struct segment){.code = STEP_CODE_RAW};
        if (spiral_row_is_raw(row, tile->columns)) continue;
        spiral_lane_load(encoder, &lane, row, tile->columns);
        state->work.rows[r] = spiral_row_choose(encoder, &lane, tile->columns, tile->first_row + r);
    }
    return TSR_OK;
}

tsr_status spiral_block_begin(const struct spiral_encoder *encoder, const tsr_tile *tile, const float *x, void **state,
                              tsr_error *err) {
    struct block_state *made = NULL;
    *state = NULL;
    if (encoder->settings.rotate) return tsr_fail(err, TSR_E_UNSUPPORTED, "spiral: rotated rows have no columns");
    tsr_status status = state_create(encoder, tile, &made, err);
    if (status != TSR_OK) return status;
    memcpy(made->x, x, (size_t)(tile->rows * tile->columns) * sizeof *x);
    fill_points(encoder, made);
    status = choose_rows(encoder, made, err);
    if (status == TSR_OK)
        *state = made;
    else
        spiral_block_abandon(encoder, made);
    return status;
}

static float nearest_multiple(float value, float unit) {
    int32_t magnitude = (int32_t)(fabsf(value) / unit + 0.5f);
    return (float)(value < 0 ? -magnitude : magnitude) * unit;
}

/* What decoders will have for a pair; 0 stands for a row of zeros, raw rows are exact. */
static void reconstruct(const struct spiral_encoder *encoder, const struct block_state *state, uint64_t r,
                        const float *values, uint64_t width, float *out) {
    const struct segment *row = &state->work.rows[r];
    const uint32_t class = encoder->bucket_class[row->bucket], ticket = state->found[r];
    const uint32_t known =
        encoder->settings.points ? encoder->alphabet : encoder->classes[class].symbols << encoder->low_bits;
    float step = segment_is_coded(row) ? step_code_value(row->code, encoder->mantissa_bits) : 0;
    float pair[2] = {0, 0};
    if (row->code == STEP_CODE_RAW) {
        memcpy(pair, values, (size_t)width * sizeof *values);
    } else if (step > 0 && ticket < known) {
        const struct spiral_point point = state->points[(uint64_t) class * state->known + ticket];
        pair[0] = point.x * step;
        pair[1] = point.y * step;
    } else if (step > 0) {
        for (uint64_t i = 0; i < width; i++) pair[i] = nearest_multiple(values[i], step * SPIRAL_ESCAPE_UNIT);
    }
    memcpy(out, pair, (size_t)width * sizeof *out);
}

/* Feedback may push a value beyond what its row's step can tell apart; then it counts as the largest that can. */
static float within_reach(const struct spiral_encoder *encoder, const struct segment *row, float value) {
    if (!segment_is_coded(row)) return value;
    const float most = step_code_value(row->code, encoder->mantissa_bits) * 0x1p22f;
    return value > most ? most : value < -most ? -most : value;
}

tsr_status spiral_block_quantise(const struct spiral_encoder *encoder, void *self, uint64_t index, const float *values,
                                 float *reconstruction, tsr_error *err) {
    struct block_state *state = self;
    const uint64_t pairs = spiral_pairs(state->tile.columns);
    uint64_t columns[2] = {0, 0}, width = spiral_block_columns(encoder, &state->tile, index, columns);
    (void)err;
    for (uint64_t r = 0; r < state->tile.rows; r++) {
        const struct segment *row = &state->work.rows[r];
        const float inverse = segment_is_coded(row) ? row->inverse : 0;
        float pair[2] = {0, 0};
        for (uint64_t i = 0; i < width; i++) {
            pair[i] = within_reach(encoder, row, values[r * width + i]);
            state->x[r * state->tile.columns + columns[i]] = pair[i];
        }
        state->u[r] = pair[0] * inverse;
        state->v[r] = pair[1] * inverse;
    }
    encoder->search(&encoder->rings, state->u, state->v, state->tile.rows, state->found);
    for (uint64_t r = 0; r < state->tile.rows; r++) {
        state->work.tickets[r * pairs + index] = state->found[r];
        float pair[2] = {state->x[r * state->tile.columns + columns[0]], 0};
        if (width > 1) pair[1] = state->x[r * state->tile.columns + columns[1]];
        reconstruct(encoder, state, r, pair, width, reconstruction + r * width);
    }
    return TSR_OK;
}

tsr_status spiral_block_end(const struct spiral_encoder *encoder, void *self, void *dst, uint64_t capacity,
                            uint64_t *written, tsr_error *err) {
    struct block_state *state = self;
    tsr_status status = spiral_write_tile(&state->work, dst, capacity, written, err);
    encoder->host->free(encoder->host, state);
    return status;
}

void spiral_block_abandon(const struct spiral_encoder *encoder, void *state) {
    encoder->host->free(encoder->host, state);
}
