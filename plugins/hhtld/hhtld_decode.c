/* SPDX-License-Identifier: Apache-2.0
 *
 * Every address is compared with the palette, every number with its range, before it is used. No libm. */
#include "hhtld_decode.h"

tsr_status hhtld_check_tile(const struct hhtld_decoder *decoder, const tsr_tile *tile, uint64_t size, tsr_error *err) {
    const struct hhtld_palette *palette = &decoder->palette;
    const uint64_t entry = hhtld_entry_bytes(palette->flags, palette->lane_count);
    if (tile->columns != palette->columns) {
        return tsr_fail(err, TSR_E_CORRUPT, "hhtld: a tile of %llu columns, expected %llu",
                        (unsigned long long)tile->columns, (unsigned long long)palette->columns);
    }
    if (size / entry == tile->rows && size % entry == 0) return TSR_OK;
    return tsr_fail(err, TSR_E_CORRUPT, "hhtld: a tile of %llu rows has %llu bytes, expected %llu a row",
                    (unsigned long long)tile->rows, (unsigned long long)size, (unsigned long long)entry);
}

static tsr_status corrupt(tsr_error *err, const char *what) {
    return tsr_fail(err, TSR_E_CORRUPT, "hhtld: entry: %s", what);
}

/* Amounts are not negative; Inf where it has a meaning. */
static int is_code(uint32_t code, int infinite) {
    return code < HHTLD_BF16_INF || (infinite && code == HHTLD_BF16_INF);
}

tsr_status hhtld_read_entry(const struct hhtld_decoder *decoder, const uint8_t *bytes, struct hhtld_reading *reading,
                            tsr_error *err) {
    const struct hhtld_palette *palette = &decoder->palette;
    struct hhtld_entry entry;
    uint32_t bound = hhtld_get16(bytes + 2);
    hhtld_unpack_slot_d((uint16_t)hhtld_get16(bytes), &entry);
    uint32_t leaf = hhtld_leaf_of(palette, entry.hip, entry.twig);
    if (leaf >= palette->leaf_count) return corrupt(err, "an address outside the tree");
    if (entry.heel != decoder->heel) return corrupt(err, "another basin than its tensor");
    if (!is_code(bound, 1) || entry.open != (bound == HHTLD_BF16_INF)) return corrupt(err, "Slot V out of range");
    *reading = (struct hhtld_reading){
        .leaf = leaf, .gain = palette->gain[leaf], .bound = hhtld_bf16_value(bound), .negative = (int)entry.polarity};
    bytes += 4;
    if (palette->flags & HHTLD_FLAG_ROW_GAIN) {
        uint32_t gain = hhtld_get16(bytes);
        reading->gain = hhtld_bf16_value(gain);
        if (!is_code(gain, 0) || !(reading->gain * palette->scale[leaf] <= HHTLD_LEAF_PRODUCT_MAX))
            return corrupt(err, "gain out of range");
        bytes += 2;
    }
    if (palette->lane_count == 0) return TSR_OK;
    if (!is_code(hhtld_get16(bytes), 1)) return corrupt(err, "Slot V of Slot L out of range");
    reading->lane_bound = hhtld_bf16_value(hhtld_get16(bytes));
    reading->lanes = (const int8_t *)(bytes + 2);
    return TSR_OK;
}

static void write_point(const struct hhtld_palette *palette, const struct hhtld_reading *reading, float *dst) {
    const uint64_t columns = palette->columns;
    const int8_t *code = palette->codes + reading->leaf * columns;
    double gain = (double)reading->gain * (double)palette->scale[reading->leaf];
    if (reading->negative) gain = -gain;
    for (uint64_t c = 0; c < columns; c++) {
        double value = (double)palette->centre[c] + gain * (double)code[c];
        for (uint64_t k = 0; k < palette->lane_count; k++) {
            double step = (double)palette->lane_step[k] * (double)palette->lane_scale[k];
            value += (double)reading->lanes[k] * step * (double)palette->lane_codes[k * columns + c];
        }
        dst[c] = (float)value;
    }
}

tsr_status hhtld_decode_tile(const struct hhtld_decoder *decoder, const tsr_tile *tile, const uint8_t *src,
                             uint64_t size, float *dst, tsr_error *err) {
    const struct hhtld_palette *palette = &decoder->palette;
    const uint64_t entry = hhtld_entry_bytes(palette->flags, palette->lane_count);
    tsr_status st = hhtld_check_tile(decoder, tile, size, err);
    for (uint64_t r = 0; r < tile->rows && st == TSR_OK; r++) {
        struct hhtld_reading reading;
        st = hhtld_read_entry(decoder, src + r * entry, &reading, err);
        if (st == TSR_OK) write_point(palette, &reading, dst + r * palette->columns);
    }
    return st;
}
