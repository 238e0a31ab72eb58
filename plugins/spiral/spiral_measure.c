/* SPDX-License-Identifier: Apache-2.0
 *
 * Passes over the tensor in blocks of rows, spread over the host's workers and added up in block order, so that the
 * sums do not depend on who did what. */
#include "spiral_measure.h"

#include "cut.h"

#include <math.h>

enum {
    SAMPLE_BLOCK_WEIGHTS = 1 << 12,
    WAVE = 8 /* blocks in flight; a constant, not the number of workers */
};

static const struct cut_sizes CUT_SIZES = {.most = SPIRAL_MEASURE_BLOCK, .sample = SAMPLE_BLOCK_WEIGHTS};

bool spiral_measure_sample_is_all(const struct spiral_encoder *encoder) {
    return cut_sample_is_all(encoder->tensor, CUT_SIZES);
}

/* One block's sums and working memory. */
struct slot {
    struct spiral_sums sums;
    float *x;             /* [block weights] */
    float *rotated;       /* one row */
    struct segment *rows; /* [block rows] */
    struct spiral_lane lane;
    uint32_t *counts; /* [buckets][tickets] */
};

struct pass {
    const struct spiral_measure *measure;
    struct cut cut;
    uint64_t first; /* block in slot 0 */
    struct slot *slots[WAVE];
};

/* The moments of one row, and its squared error in steps. */
static double add_moments(const struct spiral_encoder *encoder, struct spiral_moments *moments,
                          const struct spiral_lane *lane, uint64_t pairs) {
    double error = 0;
    for (uint64_t i = 0; i < pairs; i++) {
        const uint32_t n = lane->tickets[i];
        double px = (double)encoder->rings.x[n], py = (double)encoder->rings.y[n];
        double dx = (double)lane->u[i] - px, dy = (double)lane->v[i] - py;
        error += dx * dx + dy * dy;
        if (n < SPIRAL_OFFSETS_MAX) {
            moments->counts[n]++;
            moments->sums[2 * n] += dx;
            moments->sums[2 * n + 1] += dy;
        } else {
            moments->along += (px + dx) * px + (py + dy) * py;
            moments->square += px * px + py * py;
        }
    }
    return error;
}

static void measure_row(const struct spiral_encoder *encoder, struct slot *slot, struct segment *row, uint64_t columns,
                        uint64_t index) {
    const uint64_t pairs = spiral_pairs(columns);
    *row = spiral_row_choose(encoder, &slot->lane, columns, index);
    if (!segment_is_coded(row)) return;
    spiral_row_search(encoder, row, &slot->lane, pairs);
    uint32_t *counts = slot->counts + (uint64_t)row->bucket * encoder->rings.count;
    for (uint64_t i = 0; i < pairs; i++) counts[slot->lane.tickets[i]]++;
    slot->sums.bucket_tickets[row->bucket] += pairs;
    double error = add_moments(encoder, &slot->sums.moments[row->bucket], &slot->lane, pairs), total = 0;
    for (uint64_t i = 0; i < pairs; i++) {
        total += (double)slot->lane.u[i] * (double)slot->lane.u[i] + (double)slot->lane.v[i] * (double)slot->lane.v[i];
    }
    slot->sums.error += error / total;
    slot->sums.rows++;
}

static void measure_rows(const struct pass *pass, struct slot *slot, const struct block *block) {
    const struct spiral_encoder *encoder = pass->measure->encoder;
    for (uint64_t r = 0; r < block->rows; r++) {
        const float *x = slot->x + r * block->columns;
        slot->rows[r] = (struct segment){.code = STEP_CODE_RAW};
        if (spiral_row_is_raw(x, block->columns)) {
            slot->sums.raw_bits += 32 * block->columns;
            continue;
        }
        if (encoder->settings.rotate) x = spiral_row_rotate(encoder, x, block->columns, false, slot->rotated);
        spiral_lane_load(encoder, &slot->lane, x, block->columns);
        measure_row(encoder, slot, &slot->rows[r], block->columns, block->first_row + r);
    }
    slot->sums.side_bits = side_plan(slot->rows, block->rows, spiral_classes(encoder)).bits;
}

static void measure_energy(const struct pass *pass, struct slot *slot, const struct block *block) {
    const struct spiral_encoder *encoder = pass->measure->encoder;
    for (uint64_t r = 0; r < block->rows; r++) {
        double weight = encoder->row_weight ? (double)encoder->row_weight[block->first_row + r] : 1, energy = 0;
        for (uint64_t c = 0; c < block->columns; c++) {
            double value = (double)slot->x[r * block->columns + c];
            energy += value * value;
        }
        if (weight > 0 && weight < HUGE_VAL) slot->sums.weighted_energy += weight * energy;
    }
}

static tsr_status measure_block(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    (void)worker;
    struct pass *pass = ctx;
    struct slot *slot = pass->slots[index];
    const struct spiral_encoder *encoder = pass->measure->encoder;
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

static void take_moments(const struct spiral_moments *from, struct spiral_moments *to) {
    for (uint32_t n = 0; n < SPIRAL_OFFSETS_MAX; n++) {
        to->counts[n] += from->counts[n];
        to->sums[2 * n] += from->sums[2 * n];
        to->sums[2 * n + 1] += from->sums[2 * n + 1];
    }
    to->along += from->along;
    to->square += from->square;
}

/* Adds a slot up and leaves its tables zero. */
static void take_slot(struct slot *slot, struct spiral_counts *counts) {
    for (uint32_t b = 0; b < counts->buckets; b++) {
        if (slot->sums.bucket_tickets[b] == 0) continue;
        counts->sums.bucket_tickets[b] += slot->sums.bucket_tickets[b];
        take_moments(&slot->sums.moments[b], &counts->sums.moments[b]);
        uint32_t *own = slot->counts + (uint64_t)b * counts->tickets;
        for (uint32_t n = 0; n < counts->tickets; n++) spiral_counts_of(counts, b)[n] += own[n];
        memset(own, 0, counts->tickets * sizeof *own);
    }
    counts->sums.weights += slot->sums.weights;
    counts->sums.side_bits += slot->sums.side_bits;
    counts->sums.raw_bits += slot->sums.raw_bits;
    counts->sums.weighted_energy += slot->sums.weighted_energy;
    counts->sums.error += slot->sums.error;
    counts->sums.rows += slot->sums.rows;
}

static struct slot *slot_create(const tsr_host *host, const struct pass *pass, const struct spiral_counts *counts) {
    const uint64_t rows = pass->cut.block_rows, columns = pass->cut.block_columns;
    const uint64_t head = (sizeof(struct slot) + 63) / 64 * 64;
    const uint64_t tables = (uint64_t)counts->buckets * counts->tickets * 4;
    const uint64_t total = head + tables + rows * sizeof(struct segment) + (rows + 1) * columns * sizeof(float) +
                           spiral_lane_bytes(columns);
    uint8_t *memory = host->alloc(host, total);
    if (!memory) return NULL;
    struct slot *slot = (struct slot *)(void *)memory;
    memset(memory, 0, (size_t)(head + tables));
    slot->counts = (uint32_t *)(void *)(memory + head);
    slot->x = (float *)(void *)(memory + head + tables);
    slot->rotated = slot->x + rows * columns;
    slot->rows = (struct segment *)(void *)(slot->rotated + columns);
    spiral_lane_init(&slot->lane, slot->rows + rows, columns);
    return slot;
}

tsr_status spiral_measure_run(const struct spiral_measure *measure, struct spiral_counts *counts, tsr_error *err) {
    const tsr_host *host = measure->encoder->host;
    struct pass pass = {.measure = measure, .cut = cut_make(measure->encoder->tensor, measure->sample, CUT_SIZES)};
    uint64_t blocks = pass.cut.row_blocks * pass.cut.column_blocks;
    tsr_status status = TSR_OK;
    memset(&counts->sums, 0, sizeof counts->sums);
    memset(counts->counts, 0, (size_t)counts->buckets * counts->tickets * sizeof *counts->counts);
    for (uint64_t i = 0; i < WAVE && i < blocks; i++) {
        pass.slots[i] = slot_create(host, &pass, counts);
        if (!pass.slots[i]) {
            status = tsr_fail(err, TSR_E_NOMEM, "spiral: no memory to measure %s", measure->encoder->tensor->name);
            goto done;
        }
    }
    for (; pass.first < blocks && status == TSR_OK; pass.first += WAVE) {
        uint64_t wave = blocks - pass.first < WAVE ? blocks - pass.first : WAVE;
        status = host->parallel_for(host, wave, measure_block, &pass, err);
        for (uint64_t i = 0; i < wave && status == TSR_OK; i++) take_slot(pass.slots[i], counts);
    }
done:
    for (uint64_t i = 0; i < WAVE; i++) host->free(host, pass.slots[i]);
    return status;
}
