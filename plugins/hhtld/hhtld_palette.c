/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads palettes: every count is compared with the bytes that are there before anything is sized by it. */
#include "hhtld_palette.h"

#include <math.h>
#include <stdbool.h>

/* Norms are inflated by more than the rounding of their computation. */
#define NORM_SLACK (1 + 0x1p-30)

static uint32_t table_size(const struct hhtld_shape *shape) {
    if (!(shape->flags & HHTLD_FLAG_TABLE)) return 0;
    return shape->flags & HHTLD_FLAG_FLAT ? shape->leaf_count : shape->families;
}

uint64_t hhtld_palette_bytes(const struct hhtld_shape *shape) {
    const uint64_t columns = shape->columns, leaves = shape->leaf_count, lanes = shape->lane_count;
    const uint64_t side = table_size(shape);
    return HHTLD_PALETTE_FIXED + 2 * (uint64_t)shape->families + 2 * columns + leaves * (8 + columns) +
           lanes * (12 + columns) + (side ? 12 + side * side : 0);
}

static tsr_status corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "hhtld: palette: %s", what);
}

static tsr_status read_shape(const uint8_t *bytes, uint64_t size, uint64_t columns, struct hhtld_palette *palette,
                             struct hhtld_shape *shape, tsr_error *err) {
    if (size < HHTLD_PALETTE_FIXED) return corrupt(err, "cut short");
    *shape = (struct hhtld_shape){
        .columns = columns, .flags = bytes[0], .families = bytes[1], .lane_count = bytes[2]};
    if (shape->flags & ~(uint32_t)HHTLD_FLAGS_KNOWN || shape->families < 1 || shape->families > HHTLD_FAMILIES_MAX ||
        shape->lane_count > HHTLD_LANES_MAX || bytes[3])
        return corrupt(err, "numbers out of range");
    if (hhtld_get32(bytes + 4) != columns) {
        return tsr_fail(err, TSR_E_CORRUPT, "hhtld: palette of rows with %u columns, expected %llu",
                        (unsigned)hhtld_get32(bytes + 4), (unsigned long long)columns);
    }
    if (size < HHTLD_PALETTE_FIXED + 2 * (uint64_t)shape->families) return corrupt(err, "cut short");
    for (uint32_t f = 0; f < shape->families; f++) {
        uint32_t leaves = hhtld_get16(bytes + HHTLD_PALETTE_FIXED + 2 * f);
        if (leaves < 1 || leaves > HHTLD_TWIGS_MAX) return corrupt(err, "leaves of a family out of range");
        palette->first[f] = shape->leaf_count;
        shape->leaf_count += leaves;
    }
    palette->first[shape->families] = shape->leaf_count;
    if (shape->flags & HHTLD_FLAG_FLAT && shape->leaf_count > HHTLD_TWIGS_MAX) return corrupt(err, "too many leaves");
    if (hhtld_palette_bytes(shape) == size) return TSR_OK;
    return tsr_fail(err, TSR_E_CORRUPT, "hhtld: palette has %llu bytes, expected %llu", (unsigned long long)size,
                    (unsigned long long)hhtld_palette_bytes(shape));
}

static tsr_status allocate(const tsr_host *host, const struct hhtld_shape *shape, struct hhtld_palette *palette,
                           tsr_error *err) {
    const uint64_t leaves = shape->leaf_count, lanes = shape->lane_count;
    uint8_t *memory = host->alloc(host, leaves * (8 + 4 + 4 + 1) + lanes * 12 + shape->columns * 4);
    if (!memory) return tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory for a palette of %u leaves", shape->leaf_count);
    palette->memory = memory;
    palette->leaf_norm = (double *)(void *)memory;
    palette->scale = (float *)(void *)(palette->leaf_norm + leaves);
    palette->gain = palette->scale + leaves;
    palette->lane_scale = palette->gain + leaves;
    palette->lane_step = palette->lane_scale + lanes;
    palette->lane_slack = palette->lane_step + lanes;
    palette->centre = palette->lane_slack + lanes;
    palette->family = (uint8_t *)(palette->centre + shape->columns);
    palette->columns = shape->columns;
    palette->flags = shape->flags;
    palette->families = shape->families;
    palette->leaf_count = shape->leaf_count;
    palette->lane_count = shape->lane_count;
    return TSR_OK;
}

static bool is_amount(float value) {
    return value >= 0 && value < HUGE_VALF;
}

static tsr_status read_centre(const uint8_t *bytes, struct hhtld_palette *palette, tsr_error *err) {
    double energy = 0;
    for (uint64_t c = 0; c < palette->columns; c++) {
        float value = hhtld_bf16_value(hhtld_get16(bytes + 2 * c));
        if (!(fabsf(value) <= HHTLD_CENTRE_MAX)) return corrupt(err, "centre out of range");
        palette->centre[c] = value;
        energy += (double)value * (double)value;
    }
    palette->centre_norm = sqrt(energy) * NORM_SLACK;
    return TSR_OK;
}

static tsr_status read_leaves(const uint8_t *bytes, struct hhtld_palette *palette, tsr_error *err) {
    const uint64_t columns = palette->columns;
    palette->codes = (const int8_t *)(bytes + (uint64_t)palette->leaf_count * 8);
    for (uint32_t f = 0; f < palette->families; f++) {
        memset(palette->family + palette->first[f], (int)f, palette->first[f + 1] - palette->first[f]);
    }
    for (uint64_t i = 0; i < palette->leaf_count; i++) {
        float scale = hhtld_get_f32(bytes + 8 * i), gain = hhtld_get_f32(bytes + 8 * i + 4);
        int64_t energy = 0;
        if (!is_amount(scale) || !is_amount(gain) || !(scale * gain <= HHTLD_LEAF_PRODUCT_MAX))
            return corrupt(err, "leaf out of range");
        for (uint64_t c = 0; c < columns; c++) {
            energy += (int64_t)palette->codes[i * columns + c] * palette->codes[i * columns + c];
        }
        palette->scale[i] = scale;
        palette->gain[i] = gain;
        palette->leaf_norm[i] = sqrt((double)energy) * (double)scale * NORM_SLACK;
    }
    return TSR_OK;
}

static tsr_status read_lanes(const uint8_t *bytes, struct hhtld_palette *palette, tsr_error *err) {
    for (uint64_t k = 0; k < palette->lane_count; k++, bytes += 12) {
        palette->lane_scale[k] = hhtld_get_f32(bytes);
        palette->lane_step[k] = hhtld_get_f32(bytes + 4);
        palette->lane_slack[k] = hhtld_get_f32(bytes + 8);
        if (!is_amount(palette->lane_scale[k]) || !is_amount(palette->lane_step[k]) ||
            !is_amount(palette->lane_slack[k]) ||
            !(palette->lane_scale[k] * palette->lane_step[k] <= HHTLD_LANE_PRODUCT_MAX))
            return corrupt(err, "lane out of range");
    }
    palette->lane_codes = (const int8_t *)bytes;
    return TSR_OK;
}

static tsr_status read_table(const uint8_t *bytes, uint32_t size, struct hhtld_palette *palette, tsr_error *err) {
    struct hhtld_table *table = &palette->table;
    if (size == 0) return TSR_OK;
    *table = (struct hhtld_table){(const int8_t *)(bytes + 12), size, hhtld_get32(bytes + 8), hhtld_get_f32(bytes),
                                  hhtld_get_f32(bytes + 4)};
    if (fabsf(table->z_min) <= 20 && table->z_range > 0 && table->z_range <= 40) return TSR_OK;
    return corrupt(err, "table out of range");
}

tsr_status hhtld_palette_read(const tsr_host *host, const uint8_t *bytes, uint64_t size, uint64_t columns,
                              struct hhtld_palette *palette, tsr_error *err) {
    struct hhtld_shape shape;
    tsr_status st = read_shape(bytes, size, columns, palette, &shape, err);
    if (st == TSR_OK) st = allocate(host, &shape, palette, err);
    if (st != TSR_OK) return st;
    const uint8_t *centre = bytes + HHTLD_PALETTE_FIXED + 2 * (uint64_t)shape.families;
    const uint8_t *leaves = centre + 2 * columns;
    const uint8_t *lanes = leaves + (uint64_t)shape.leaf_count * (8 + columns);
    const uint8_t *table = lanes + (uint64_t)shape.lane_count * (12 + columns);
    st = read_centre(centre, palette, err);
    if (st == TSR_OK) st = read_leaves(leaves, palette, err);
    if (st == TSR_OK) st = read_lanes(lanes, palette, err);
    if (st == TSR_OK) st = read_table(table, table_size(&shape), palette, err);
    return st;
}

void hhtld_palette_clear(const tsr_host *host, struct hhtld_palette *palette) {
    host->free(host, palette->memory);
    *palette = (struct hhtld_palette){0};
}
