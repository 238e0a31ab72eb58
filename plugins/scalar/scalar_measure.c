/* SPDX-License-Identifier: Apache-2.0
 *
 * Passes over the tensor in blocks of rows, spread over the host's workers and added up in block order, so that the
 * sums do not depend on who did what. */
#include "scalar_measure.h"

#include "cut.h"

#include <math.h>

enum {
    SAMPLE_BLOCK_WEIGHTS = 1 << 13,
    WAVE = 8 /* blocks in flight; a constant, not the number of workers */
};

static const struct cut_sizes CUT_SIZES = {.most = SCALAR_MEASURE_BLOCK, .sample = SAMPLE_BLOCK_WEIGHTS};

bool scalar_measure_sample_is_all(const struct scalar_encoder *encoder) {
    return cut_sample_is_all(encoder->tensor, CUT_SIZES);
}

/* One block's sums and working memory. */
struct slot {
    struct scalar_sums sums;
    float *x;                 /* [block weights] */
    struct segment *segments; /* [block segments] */
    uint16_t *buffer;         /* symbols of one segment */
    uint8_t *tables;          /* and where they count */
    /* A table for each bin, or two for the only one: neighbours count in different ones, so that equal symbols do not wait
     * for each other. */
    uint32_t (*symbols)[SCALAR_SYMBOLS_MAX];
    bool used[SCALAR_BINS]; /* the others are not zeroed yet */
};

struct pass {
    const struct scalar_measure *measure;
    struct cut cut;
    uint64_t first;        /* block in slot 0 */
    uint32_t bins;
};

struct scalar_room {
    struct slot *slots[WAVE];
};

static uint32_t table_count(uint32_t bins) {
    return bins == 1 ? 2 : bins;
}

static int32_t within_bins(int32_t bin) {
    return bin < 0 ? 0 : bin < SCALAR_BINS ? bin : SCALAR_BINS - 1;
}

/* Zeroes the tables from `first` to `last` that no segment has used. */
static void use_tables(struct slot *slot, int32_t first, int32_t last) {
    for (int32_t t = first; t <= last; t++) {
        if (slot->used[t]) continue;
        memset(slot->symbols[t], 0, sizeof slot->symbols[t]);
        slot->used[t] = true;
    }
}

static void choose_tables(const struct pass *pass, struct slot *slot, const struct segment *segment, uint64_t column,
                          uint64_t count) {
    const struct scalar_encoder *encoder = pass->measure->encoder;
    const int32_t row = (int32_t)segment->bucket - encoder->columns.centre; /* of bins, which begin at 0 */
    if (pass->bins == 1) {
        use_tables(slot, 0, 1);
        return;
    }
    use_tables(slot, within_bins(row + encoder->columns.low), within_bins(row + encoder->columns.high));
    scalar_contexts(encoder, row, column, count, SCALAR_BINS - 1, slot->tables);
}

static void count_symbols(struct slot *slot, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) slot->symbols[slot->tables[i]][slot->buffer[i]]++;
}

static void add_overshoot(struct slot *slot, const struct segment *segment, const float *x, uint64_t count) {
    struct scalar_points *points = &slot->sums.points;
    for (uint64_t i = 0; i < count; i++) {
        int32_t index = (int32_t)slot->buffer[i] - SHAPE_LIMIT_MAX;
        int32_t magnitude = index < 0 ? -index : index;
        if (magnitude < 1 || magnitude > OFFSETS_MAX) continue;
        points->overshoot[segment->bucket][magnitude - 1] +=
            (double)(fabsf(x[i]) * segment->inverse) - (double)magnitude;
        points->counts[segment->bucket][magnitude - 1]++;
    }
}

/* x[count] from `column` of the tensor on. */
static void measure_segment(const struct pass *pass, struct slot *slot, struct segment *segment, const float *x,
                            uint64_t column, uint64_t count) {
    const struct scalar_encoder *encoder = pass->measure->encoder;
    if (segment->code == STEP_CODE_RAW) slot->sums.raw_bits += 32 * count;
    if (!segment_is_coded(segment)) return;
    const struct scalar_quantiser quantiser = {segment->inverse, scalar_rounding(encoder), SHAPE_LIMIT_MAX,
                                               SHAPE_LIMIT_MAX};
    (void)encoder->kernels->quantise(x, count, &quantiser, slot->buffer);
    choose_tables(pass, slot, segment, column, count);
    count_symbols(slot, count);
    slot->sums.segments[segment->bucket]++;
    if (pass->measure->overshoot) add_overshoot(slot, segment, x, count);
}

static void measure_rows(const struct pass *pass, struct slot *slot, const struct block *block) {
    const struct scalar_encoder *encoder = pass->measure->encoder;
    const uint64_t group = encoder->settings.group;
    uint64_t row_segments = scalar_segments(block->columns, group);
    const float *x = slot->x;
    for (uint64_t r = 0; r < block->rows; r++) {
        for (uint64_t s = 0; s < row_segments; s++) {
            struct segment *segment = &slot->segments[r * row_segments + s];
            const uint64_t count = scalar_segment_columns(block->columns, group, s);
            const uint64_t column = block->first_column + s * group;
            *segment = scalar_segment_choose(encoder, x, block->first_row + r, column, count);
            measure_segment(pass, slot, segment, x, column, count);
            x += count;
        }
    }
    slot->sums.side_bits = side_plan(slot->segments, block->rows * row_segments, scalar_row_codes(encoder)).bits;
}

static void measure_energy(const struct pass *pass, struct slot *slot, const struct block *block) {
    const struct scalar_encoder *encoder = pass->measure->encoder;
    float largest;
    for (uint64_t r = 0; r < block->rows; r++) {
        double weight = encoder->row_weight ? (double)encoder->row_weight[block->first_row + r] : 1;
        double energy = encoder->kernels->energy(slot->x + r * block->columns, block->columns, &largest);
        if (weight > 0 && weight < HUGE_VAL) slot->sums.weighted_energy += weight * energy;
    }
}

static tsr_status measure_block(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    (void)worker;
    struct pass *pass = ctx;
    struct slot *slot = pass->measure->room->slots[index];
    const struct scalar_encoder *encoder = pass->measure->encoder;
    const tsr_row_source *source = pass->measure->source;
    const struct block block = block_at(&pass->cut, encoder->tensor, pass->first + index);
    if (encoder->host->cancelled(encoder->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    tsr_status status =
        source->read(source->ctx, block.first_row, block.rows, block.first_column, block.columns, slot->x, err);
    if (status != TSR_OK) return status;
    memset(&slot->sums, 0, sizeof slot->sums);
    slot->sums.weights = block.rows * block.columns;
    if (pass->measure->energy_only)
        measure_energy(pass, slot, &block);
    else
        measure_rows(pass, slot, &block);
    return TSR_OK;
}

static void add_sums(const struct scalar_sums *from, struct scalar_sums *to) {
    to->weights += from->weights;
    to->side_bits += from->side_bits;
    to->raw_bits += from->raw_bits;
    to->weighted_energy += from->weighted_energy;
    for (uint32_t b = 0; b < SCALAR_BINS; b++) {
        if (from->segments[b] == 0) continue;
        to->segments[b] += from->segments[b];
        for (uint32_t m = 0; m < OFFSETS_MAX; m++) {
            to->points.overshoot[b][m] += from->points.overshoot[b][m];
            to->points.counts[b][m] += from->points.counts[b][m];
        }
    }
}

static void add_table(const uint32_t *from, uint64_t *to, uint64_t *weights) {
    uint64_t seen = 0;
    if (*weights == 0) memset(to, 0, SCALAR_SYMBOLS_MAX * sizeof *to);
    for (uint32_t s = 0; s < SCALAR_SYMBOLS_MAX; s++) {
        seen += from[s];
        to[s] += from[s];
    }
    *weights += seen;
}

/* Adds a slot up and leaves its tables unused. */
static void take_slot(struct slot *slot, struct scalar_counts *counts) {
    for (uint32_t t = 0; t < table_count(counts->bins); t++) {
        const uint32_t bin = counts->bins == 1 ? SCALAR_BUCKET_MEAN : t;
        if (slot->used[t]) add_table(slot->symbols[t], counts->symbols[bin], &counts->bin_weights[bin]);
        slot->used[t] = false;
    }
    add_sums(&slot->sums, &counts->sums);
}

/* For blocks of the whole tensor, those of a sample are no larger. */
static struct slot *slot_create(const tsr_host *host, const struct cut *cut, uint64_t group) {
    const uint64_t weights = cut->block_rows * cut->block_columns;
    const uint64_t segments = cut->block_rows * scalar_segments(cut->block_columns, group);
    const uint64_t head = (sizeof(struct slot) + 63) / 64 * 64;
    const uint64_t tables = SCALAR_BINS * sizeof(uint32_t[SCALAR_SYMBOLS_MAX]);
    const uint64_t total = head + tables + segments * sizeof(struct segment) + weights * 4 + cut->block_columns * 3;
    uint8_t *memory = host->alloc(host, total);
    if (!memory) return NULL;
    struct slot *slot = (struct slot *)(void *)memory;
    memset(slot, 0, sizeof *slot);
    slot->symbols = (uint32_t(*)[SCALAR_SYMBOLS_MAX])(void *)(memory + head);
    slot->x = (float *)(void *)(memory + head + tables);
    slot->segments = (struct segment *)(void *)(slot->x + weights);
    slot->buffer = (uint16_t *)(void *)(slot->segments + segments);
    slot->tables = (uint8_t *)(slot->buffer + cut->block_columns);
    return slot;
}

struct scalar_room *scalar_room_create(const tsr_host *host, const struct scalar_encoder *encoder) {
    const struct cut whole = cut_make(encoder->tensor, false, CUT_SIZES);
    const struct cut sample = cut_make(encoder->tensor, true, CUT_SIZES);
    const uint64_t blocks[2] = {whole.row_blocks * whole.column_blocks, sample.row_blocks * sample.column_blocks};
    const uint64_t most = blocks[0] > blocks[1] ? blocks[0] : blocks[1];
    struct scalar_room *room = host->alloc(host, sizeof *room);
    if (!room) return NULL;
    memset(room, 0, sizeof *room);
    for (uint64_t i = 0; i < WAVE && i < most; i++) {
        room->slots[i] = slot_create(host, &whole, encoder->settings.group);
        if (room->slots[i]) continue;
        scalar_room_free(host, room);
        return NULL;
    }
    return room;
}

void scalar_room_free(const tsr_host *host, struct scalar_room *room) {
    for (uint64_t i = 0; room && i < WAVE; i++) host->free(host, room->slots[i]);
    host->free(host, room);
}

/* The two tables of the only bin. */
static void take_turns(struct scalar_room *room, uint64_t columns) {
    for (uint64_t i = 0; i < WAVE && room->slots[i]; i++) {
        for (uint64_t c = 0; c < columns; c++) room->slots[i]->tables[c] = c % 2;
    }
}

tsr_status scalar_measure_run(const struct scalar_measure *measure, struct scalar_counts *counts, tsr_error *err) {
    const struct scalar_encoder *encoder = measure->encoder;
    struct scalar_room *room = measure->room; /* no table of which is in use */
    struct pass pass = {.measure = measure,
                        .cut = cut_make(encoder->tensor, measure->sample, CUT_SIZES),
                        .bins = encoder->rows_coded || encoder->columns.codes ? SCALAR_BINS : 1};
    const uint64_t blocks = pass.cut.row_blocks * pass.cut.column_blocks;
    tsr_status status = TSR_OK;
    memset(&counts->sums, 0, sizeof counts->sums);
    counts->bins = pass.bins;
    memset(counts->bin_weights, 0, sizeof counts->bin_weights);
    if (pass.bins == 1) take_turns(room, pass.cut.block_columns);
    for (; pass.first < blocks && status == TSR_OK; pass.first += WAVE) {
        uint64_t wave = blocks - pass.first < WAVE ? blocks - pass.first : WAVE;
        status = encoder->host->parallel_for(encoder->host, wave, measure_block, &pass, err);
        for (uint64_t i = 0; i < wave && status == TSR_OK; i++) take_slot(room->slots[i], counts);
    }
    return status;
}
