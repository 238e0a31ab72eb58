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
    /* [2 * buckets]. Neighbours count in different tables, so that equal symbols do not wait for each other. */
    uint32_t (*symbols)[SCALAR_SYMBOLS_MAX];
};

struct pass {
    const struct scalar_measure *measure;
    struct cut cut;
    uint64_t row_segments; /* of a block */
    uint64_t first;        /* block in slot 0 */
    struct slot *slots[WAVE];
};

static void count_symbols(struct slot *slot, uint32_t bucket, uint64_t count) {
    uint32_t *even = slot->symbols[2 * bucket], *odd = slot->symbols[2 * bucket + 1];
    const uint16_t *symbols = slot->buffer;
    for (uint64_t i = 0; i + 2 <= count; i += 2) {
        even[symbols[i]]++;
        odd[symbols[i + 1]]++;
    }
    if (count % 2) even[symbols[count - 1]]++;
}

static void add_overshoot(struct slot *slot, const struct segment *segment, const float *x, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        int32_t index = (int32_t)slot->buffer[i] - SCALAR_LIMIT_MAX;
        int32_t magnitude = index < 0 ? -index : index;
        if (magnitude < 1 || magnitude > SCALAR_OFFSETS_MAX) continue;
        slot->sums.overshoot[segment->bucket][magnitude - 1] +=
            (double)(fabsf(x[i]) * segment->inverse) - (double)magnitude;
    }
}

static void measure_segment(const struct scalar_measure *measure, struct slot *slot, struct segment *segment,
                            const float *x, uint64_t count) {
    const struct scalar_encoder *encoder = measure->encoder;
    if (segment->code == STEP_CODE_RAW) slot->sums.raw_bits += 32 * count;
    if (!segment_is_coded(segment)) return;
    const struct scalar_quantiser quantiser = {segment->inverse, scalar_rounding(encoder), SCALAR_LIMIT_MAX,
                                               SCALAR_LIMIT_MAX};
    (void)encoder->kernels->quantise(x, count, &quantiser, slot->buffer);
    count_symbols(slot, segment->bucket, count);
    slot->sums.bucket_weights[segment->bucket] += count;
    if (measure->overshoot) add_overshoot(slot, segment, x, count);
}

static void measure_rows(const struct pass *pass, struct slot *slot, const struct block *block) {
    const struct scalar_encoder *encoder = pass->measure->encoder;
    const uint64_t group = encoder->settings.group;
    uint64_t row_segments = scalar_segments(block->columns, group);
    const float *x = slot->x;
    for (uint64_t r = 0; r < block->rows; r++) {
        for (uint64_t s = 0; s < row_segments; s++) {
            struct segment *segment = &slot->segments[r * row_segments + s];
            uint64_t count = scalar_segment_columns(block->columns, group, s);
            *segment = scalar_segment_choose(encoder, x, count, block->first_row + r);
            measure_segment(pass->measure, slot, segment, x, count);
            x += count;
        }
    }
    slot->sums.side_bits = side_plan(slot->segments, block->rows * row_segments, scalar_classes(encoder)).bits;
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
    struct slot *slot = pass->slots[index];
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

/* Adds a slot up and leaves its tables zero. */
static void take_slot(struct slot *slot, struct scalar_counts *counts) {
    for (uint32_t b = 0; b < counts->buckets; b++) {
        if (slot->sums.bucket_weights[b] == 0) continue;
        uint32_t *even = slot->symbols[2 * b], *odd = slot->symbols[2 * b + 1];
        counts->sums.bucket_weights[b] += slot->sums.bucket_weights[b];
        for (uint32_t m = 0; m < SCALAR_OFFSETS_MAX; m++) counts->sums.overshoot[b][m] += slot->sums.overshoot[b][m];
        for (uint32_t s = 0; s < SCALAR_SYMBOLS_MAX; s++) {
            counts->symbols[b][s] += (uint64_t)even[s] + odd[s];
        }
        memset(even, 0, sizeof slot->symbols[0]);
        memset(odd, 0, sizeof slot->symbols[0]);
    }
    counts->sums.weights += slot->sums.weights;
    counts->sums.side_bits += slot->sums.side_bits;
    counts->sums.raw_bits += slot->sums.raw_bits;
    counts->sums.weighted_energy += slot->sums.weighted_energy;
}

static struct slot *slot_create(const tsr_host *host, const struct pass *pass, uint32_t buckets) {
    uint64_t weights = pass->cut.block_rows * pass->cut.block_columns;
    uint64_t segments = pass->cut.block_rows * pass->row_segments;
    uint64_t head = (sizeof(struct slot) + 63) / 64 * 64;
    uint64_t tables = 2 * buckets * sizeof(uint32_t[SCALAR_SYMBOLS_MAX]);
    uint64_t total = head + tables + segments * sizeof(struct segment) + weights * 4 + pass->cut.block_columns * 2;
    uint8_t *memory = host->alloc(host, total);
    if (!memory) return NULL;
    struct slot *slot = (struct slot *)(void *)memory;
    memset(memory, 0, (size_t)(head + tables));
    slot->symbols = (uint32_t(*)[SCALAR_SYMBOLS_MAX])(void *)(memory + head);
    slot->x = (float *)(void *)(memory + head + tables);
    slot->segments = (struct segment *)(void *)(slot->x + weights);
    slot->buffer = (uint16_t *)(void *)(slot->segments + segments);
    return slot;
}

tsr_status scalar_measure_run(const struct scalar_measure *measure, struct scalar_counts *counts, tsr_error *err) {
    const tsr_host *host = measure->encoder->host;
    struct pass pass = {.measure = measure, .cut = cut_make(measure->encoder->tensor, measure->sample, CUT_SIZES)};
    uint64_t blocks = pass.cut.row_blocks * pass.cut.column_blocks;
    tsr_status status = TSR_OK;
    pass.row_segments = scalar_segments(pass.cut.block_columns, measure->encoder->settings.group);
    memset(&counts->sums, 0, sizeof counts->sums);
    memset(counts->symbols, 0, counts->buckets * sizeof *counts->symbols);
    for (uint64_t i = 0; i < WAVE && i < blocks; i++) {
        pass.slots[i] = slot_create(host, &pass, counts->buckets);
        if (!pass.slots[i]) {
            status = tsr_fail(err, TSR_E_NOMEM, "scalar: no memory to measure %s", measure->encoder->tensor->name);
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
