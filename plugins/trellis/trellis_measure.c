/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks spread over the host's workers and added up in block order, so that the sums do not depend on who did what. */
#include "trellis_measure.h"

#include <math.h>

enum {
    BLOCK_ROWS = 256, /* long enough for a path */
    BLOCK_WEIGHTS = 1 << 14,
    ROWS_WEIGHTS = 1 << 16, /* of a block that is only looked at */
    LONG_ROW = 1 << 22,     /* such a row is several tiles, and is looked at in pieces */
    WAVE = 8                /* blocks in flight; a constant, not the number of workers */
};

struct grid {
    uint64_t rows, columns; /* of a block */
    uint64_t across;        /* blocks beside each other */
    uint64_t count;
};

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static struct grid grid_of(const tsr_tensor *tensor) {
    struct grid grid = {0};
    if (tensor->rows == 0 || tensor->columns == 0) return grid;
    grid.rows = least(tensor->rows, BLOCK_ROWS);
    grid.columns = least(tensor->columns, BLOCK_WEIGHTS / grid.rows);
    grid.across = (tensor->columns - 1) / grid.columns + 1;
    grid.count = ((tensor->rows - 1) / grid.rows + 1) * grid.across;
    return grid;
}

/* One block's sums and working memory. */
struct slot {
    uint64_t weights, raw_bits;
    uint64_t scale_weights[SHAPE_SCALES_MAX];
    struct trellis_tally (*tallies)[2];
    float *x;
    struct trellis_lane lane;
    int32_t *indices; /* [BLOCK_ROWS][TRELLIS_LANES] */
    float *u;         /* as many */
};

struct pass {
    const struct trellis_measure *measure;
    struct grid grid;
    uint64_t blocks, first; /* to measure; in slot 0 */
    struct slot *slots[WAVE];
};

/* Column `column` of a strip. */
static void tally_path(const struct trellis_encoder *encoder, struct slot *slot, const struct trellis_columns *strip,
                       uint64_t column) {
    const int32_t code = column_code(&encoder->columns, strip->first + column);
    uint32_t state = 0;
    uint64_t at = column;
    for (uint64_t r = 0; r < strip->count; r++) {
        if (!segment_is_coded(&strip->rows[r])) continue;
        const uint32_t scale = shape_scale(&encoder->shape, trellis_row_code(&strip->rows[r]), code);
        const int32_t index = slot->indices[at];
        const uint32_t magnitude = (uint32_t)(index < 0 ? -index : index), quantiser = state & 1;
        struct trellis_tally *tally = &slot->tallies[scale][quantiser];
        bool fits = magnitude <= SHAPE_LIMIT_MAX;
        tally->symbols[fits ? (uint32_t)(SHAPE_LIMIT_MAX + index) : SHAPE_SYMBOLS_MAX - 1]++;
        slot->scale_weights[scale]++;
        if (magnitude >= 1 && magnitude <= OFFSETS_MAX) {
            float difference = slot->u[at] - trellis_value(quantiser, index);
            tally->overshoot[magnitude - 1] += index < 0 ? -(double)difference : (double)difference;
        }
        state = encoder->code.next[2 * state + ((uint32_t)index & 1)];
        at += TRELLIS_LANES;
    }
}

static tsr_status measure_block(void *ctx, uint64_t at, uint64_t worker, tsr_error *err) {
    (void)worker;
    struct pass *pass = ctx;
    struct slot *slot = pass->slots[at];
    const struct trellis_encoder *encoder = pass->measure->encoder;
    const tsr_tensor *tensor = encoder->tensor;
    const uint64_t index = (pass->first + at) * pass->grid.count / pass->blocks;
    const uint64_t row = index / pass->grid.across * pass->grid.rows;
    const uint64_t column = index % pass->grid.across * pass->grid.columns;
    const uint64_t rows = least(pass->grid.rows, tensor->rows - row);
    const uint64_t columns = least(pass->grid.columns, tensor->columns - column);
    if (encoder->host->cancelled(encoder->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    tsr_status status =
        pass->measure->source->read(pass->measure->source->ctx, row, rows, column, columns, slot->x, err);
    if (status != TSR_OK) return status;
    slot->weights = rows * columns;
    slot->raw_bits = 0;
    for (uint64_t r = 0; r < rows; r++) {
        if (pass->measure->rows[row + r].code == STEP_CODE_RAW) slot->raw_bits += 32 * columns;
    }
    for (uint64_t c = 0; c < columns; c += TRELLIS_LANES) {
        const struct trellis_columns some = {.rows = pass->measure->rows + row,
                                             .count = rows,
                                             .x = slot->x + c,
                                             .stride = columns,
                                             .width = least(columns - c, TRELLIS_LANES),
                                             .first = column + c,
                                             .indices = slot->indices,
                                             .u = slot->u,
                                             .index_stride = TRELLIS_LANES};
        trellis_columns_find(encoder, &some, &slot->lane);
        for (uint64_t i = 0; i < some.width; i++) tally_path(encoder, slot, &some, i);
    }
    return TSR_OK;
}

/* Adds a slot up and leaves it zero. */
static void take_slot(struct slot *slot, struct trellis_counts *counts) {
    counts->weights += slot->weights;
    counts->raw_bits += slot->raw_bits;
    for (uint32_t b = 0; b < SHAPE_SCALES_MAX; b++) {
        if (slot->scale_weights[b] == 0) continue;
        counts->scale_weights[b] += slot->scale_weights[b];
        slot->scale_weights[b] = 0;
        for (uint32_t q = 0; q < 2; q++) {
            struct trellis_tally *from = &slot->tallies[b][q], *to = &counts->tallies[b][q];
            for (uint32_t s = 0; s < SHAPE_SYMBOLS_MAX; s++) to->symbols[s] += from->symbols[s];
            for (uint32_t m = 0; m < OFFSETS_MAX; m++) to->overshoot[m] += from->overshoot[m];
            memset(from, 0, sizeof *from);
        }
    }
}

static struct slot *slot_create(const struct trellis_encoder *encoder, const struct grid *grid) {
    const uint64_t head = (sizeof(struct slot) + 63) / 64 * 64, tallies = SHAPE_SCALES_MAX * sizeof(struct trellis_tally[2]);
    const uint64_t lane = (trellis_lane_bytes(encoder) + 63) / 64 * 64, strip = BLOCK_ROWS * TRELLIS_LANES * 4;
    uint8_t *memory =
        encoder->host->alloc(encoder->host, head + tallies + lane + 2 * strip + grid->rows * grid->columns * 4);
    if (!memory) return NULL;
    memset(memory, 0, (size_t)(head + tallies));
    struct slot *slot = (struct slot *)(void *)memory;
    slot->tallies = (struct trellis_tally(*)[2])(void *)(memory + head);
    trellis_lane_init(&slot->lane, memory + head + tallies);
    slot->indices = (int32_t *)(void *)(memory + head + tallies + lane);
    slot->u = (float *)(void *)(memory + head + tallies + lane + strip);
    slot->x = (float *)(void *)(memory + head + tallies + lane + 2 * strip);
    return slot;
}

tsr_status trellis_measure_run(const struct trellis_measure *measure, struct trellis_counts *counts, tsr_error *err) {
    const struct trellis_encoder *encoder = measure->encoder;
    const tsr_host *host = encoder->host;
    struct pass pass = {.measure = measure, .grid = grid_of(encoder->tensor)};
    tsr_status status = TSR_OK;
    pass.blocks = least(pass.grid.count, measure->blocks);
    counts->weights = counts->raw_bits = 0;
    memset(counts->scale_weights, 0, sizeof counts->scale_weights);
    memset(counts->tallies, 0, SHAPE_SCALES_MAX * sizeof *counts->tallies);
    for (uint64_t i = 0; i < WAVE && i < pass.blocks; i++) {
        pass.slots[i] = slot_create(encoder, &pass.grid);
        if (!pass.slots[i]) {
            status = tsr_fail(err, TSR_E_NOMEM, "trellis: no memory to measure %s", encoder->tensor->name);
            goto done;
        }
    }
    for (; pass.first < pass.blocks && status == TSR_OK; pass.first += WAVE) {
        uint64_t wave = least(pass.blocks - pass.first, WAVE);
        status = host->parallel_for(host, wave, measure_block, &pass, err);
        for (uint64_t i = 0; i < wave && status == TSR_OK; i++) take_slot(pass.slots[i], counts);
    }
done:
    for (uint64_t i = 0; i < WAVE; i++) host->free(host, pass.slots[i]);
    return status;
}

/* ---- facts of rows ---- */

struct look {
    const struct trellis_encoder *encoder;
    const tsr_row_source *source;
    struct row_facts *facts;
    uint64_t rows; /* of a block */
};

static tsr_status look_at_long_row(const struct look *look, uint64_t row, float *x, tsr_error *err) {
    const uint64_t columns = look->encoder->tensor->columns;
    struct row_facts whole = {0};
    tsr_status status = TSR_OK;
    for (uint64_t at = 0; at < columns && status == TSR_OK; at += LONG_ROW) {
        const uint64_t count = least(columns - at, LONG_ROW);
        status = look->source->read(look->source->ctx, row, 1, at, count, x, err);
        if (status != TSR_OK) break;
        const struct row_facts part = row_look(x, NULL, NULL, count);
        whole.rms += part.rms * part.rms * (double)count;
        whole.largest = part.largest > whole.largest ? part.largest : whole.largest;
    }
    whole.rms = whole.spread = sqrt(whole.rms / (double)columns);
    look->facts[row] = whole;
    return status;
}

static tsr_status look_at_rows(const struct look *look, uint64_t first, float *x, tsr_error *err) {
    const struct trellis_encoder *encoder = look->encoder;
    const uint64_t columns = encoder->tensor->columns, rows = least(look->rows, encoder->tensor->rows - first);
    if (encoder->host->cancelled(encoder->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    if (columns > LONG_ROW) return look_at_long_row(look, first, x, err);
    tsr_status status = look->source->read(look->source->ctx, first, rows, 0, columns, x, err);
    for (uint64_t r = 0; r < rows && status == TSR_OK; r++) {
        look->facts[first + r] = row_look(x + r * columns, column_gain(&encoder->columns, 0), column_means(&encoder->columns, 0), columns);
    }
    return status;
}

static tsr_status look_at_block(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    (void)worker;
    const struct look *look = ctx;
    const tsr_host *host = look->encoder->host;
    const uint64_t columns = look->encoder->tensor->columns;
    float *x = host->alloc(host, look->rows * least(columns, LONG_ROW) * sizeof *x);
    if (!x)
        return tsr_fail(err, TSR_E_NOMEM, "trellis: no memory for rows of %llu weights", (unsigned long long)columns);
    tsr_status status = look_at_rows(look, index * look->rows, x, err);
    host->free(host, x);
    return status;
}

tsr_status trellis_measure_rows(const struct trellis_encoder *encoder, const tsr_row_source *source,
                                struct row_facts *facts, tsr_error *err) {
    struct look look = {encoder, source, facts, 1};
    const uint64_t columns = encoder->tensor->columns;
    if (encoder->tensor->rows == 0 || columns == 0) return TSR_OK;
    if (columns < ROWS_WEIGHTS) look.rows = ROWS_WEIGHTS / columns;
    const uint64_t blocks = (encoder->tensor->rows - 1) / look.rows + 1;
    return encoder->host->parallel_for(encoder->host, blocks, look_at_block, &look, err);
}
