/* SPDX-License-Identifier: Apache-2.0
 *
 * The leaf is looked for in the two families nearest to the row (in all leaves when there are few). Whatever it is, the
 * bound is then computed for it as stored, in double, so it holds. */
#include "hhtld_encode.h"

#include <math.h>
#include <stdbool.h>

enum {
    BEAM = 2,
    ALL_LEAVES = 256,
    SWEEPS = 2 /* over the lanes: their rounding to eight bits leaves them not quite orthogonal */
};

/* More than the rounding of a sum of squares in double can take away. */
#define BOUND_SLACK (1 + 0x1p-30)

uint32_t hhtld_heel(const char *role) {
    static const char *const scores[] = {"attn_q", "attn_k", "attn_o", "attn_qkv", "attn_q_a", "attn_q_b"};
    for (unsigned i = 0; role && i < sizeof scores / sizeof *scores; i++) {
        if (!strcmp(role, scores[i])) return 0;
    }
    if (role && !strcmp(role, "attn_v")) return 1;
    return role && strstr(role, "gate") ? 2 : 3;
}

tsr_status hhtld_encoder_init(struct hhtld_encoder *encoder, tsr_error *err) {
    const struct hhtld_palette *palette = &encoder->palette;
    const uint64_t columns = palette->columns;
    encoder->directions =
        encoder->host->alloc(encoder->host, palette->families * columns * sizeof *encoder->directions);
    if (!encoder->directions) return tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory for the families");
    for (uint32_t f = 0; f < palette->families; f++) {
        float *direction = encoder->directions + f * columns;
        double energy = 0;
        for (uint64_t c = 0; c < columns; c++) {
            double sum = 0;
            for (uint64_t i = palette->first[f]; i < palette->first[f + 1]; i++) {
                sum += (double)palette->scale[i] * (double)palette->codes[i * columns + c];
            }
            direction[c] = (float)sum;
            energy += sum * sum;
        }
        double inverse = energy > 0 ? 1 / sqrt(energy) : 0;
        for (uint64_t c = 0; c < columns; c++) direction[c] = (float)((double)direction[c] * inverse);
    }
    return TSR_OK;
}

void hhtld_encoder_clear(struct hhtld_encoder *encoder) {
    hhtld_palette_clear(encoder->host, &encoder->palette);
    encoder->host->free(encoder->host, encoder->directions);
    encoder->directions = NULL;
}

/* One row on its way, in the worker's scratch. */
struct row {
    const struct hhtld_encoder *encoder;
    double *rest; /* [columns] */
    float *unit;  /* [columns] the row without the centre, of length 1 or 0 */
    double norm;  /* its length before */
    struct hhtld_entry entry;
    uint32_t leaf;
    double dot;   /* <unit, u> of the leaf */
    int8_t lanes[HHTLD_LANES_MAX];
};

static void row_begin(struct row *row, const float *x) {
    const struct hhtld_palette *palette = &row->encoder->palette;
    double energy = 0;
    for (uint64_t c = 0; c < palette->columns; c++) {
        row->rest[c] = (double)x[c] - (double)palette->centre[c];
        energy += row->rest[c] * row->rest[c];
    }
    row->norm = sqrt(energy);
    double inverse = energy > 0 ? 1 / row->norm : 0;
    for (uint64_t c = 0; c < palette->columns; c++) row->unit[c] = (float)(row->rest[c] * inverse);
}

/* ---- the leaf ---- */

/* What the squared distance to the leaf is, less the row's own square: the smaller, the better. */
static double cost_of(const struct row *row, uint32_t leaf, double dot) {
    const struct hhtld_palette *palette = &row->encoder->palette;
    double gain = (double)palette->gain[leaf], norm = palette->leaf_norm[leaf];
    if (palette->flags & HHTLD_FLAG_ROW_GAIN) return norm > 0 ? -fabs(dot) / norm : 0;
    return gain * (gain * norm * norm - 2 * row->norm * fabs(dot));
}

static void look_at_family(struct row *row, uint32_t family, double *best) {
    const struct hhtld_palette *palette = &row->encoder->palette;
    for (uint32_t i = palette->first[family]; i < palette->first[family + 1]; i++) {
        float sum = row->encoder->products->dot_codes(palette->codes + i * palette->columns, row->unit, palette->columns);
        double dot = (double)sum * (double)palette->scale[i], cost = cost_of(row, i, dot);
        if (cost >= *best) continue;
        *best = cost;
        row->leaf = i;
        row->dot = dot;
    }
}

static void find_leaf(struct row *row) {
    const struct hhtld_palette *palette = &row->encoder->palette;
    double fits[HHTLD_FAMILIES_MAX], best = HUGE_VAL;
    uint32_t looks = palette->leaf_count <= ALL_LEAVES || palette->families < BEAM ? palette->families : BEAM;
    row->leaf = 0;
    row->dot = 0;
    for (uint32_t f = 0; f < palette->families; f++) {
        const float *direction = row->encoder->directions + f * palette->columns;
        fits[f] = fabs((double)row->encoder->products->dot(row->unit, direction, palette->columns));
    }
    for (uint32_t i = 0; i < looks; i++) {
        uint32_t nearest = 0;
        for (uint32_t f = 1; f < palette->families; f++) nearest = fits[f] > fits[nearest] ? f : nearest;
        fits[nearest] = -1;
        look_at_family(row, nearest, &best);
    }
}

/* ---- what is left over ---- */

static float choose_gain(struct row *row) {
    const struct hhtld_palette *palette = &row->encoder->palette;
    if (!(palette->flags & HHTLD_FLAG_ROW_GAIN)) return palette->gain[row->leaf];
    double norm = palette->leaf_norm[row->leaf];
    double gain = norm > 0 ? row->norm * fabs(row->dot) / (norm * norm) : 0;
    double most = palette->scale[row->leaf] > 0
                      ? (double)HHTLD_LEAF_PRODUCT_MAX / 2 / (double)palette->scale[row->leaf]
                      : 0;
    row->entry.gain = hhtld_bf16_near((float)fmin(fmin(gain, most), 0x1p126));
    return hhtld_bf16_value(row->entry.gain);
}

static double rest_norm(const struct row *row) {
    double energy = 0;
    for (uint64_t c = 0; c < row->encoder->palette.columns; c++) energy += row->rest[c] * row->rest[c];
    return sqrt(energy) * BOUND_SLACK;
}

static void settle(struct row *row) {
    const struct hhtld_palette *palette = &row->encoder->palette;
    const int8_t *code = palette->codes + row->leaf * palette->columns;
    double gain = (double)choose_gain(row) * (double)palette->scale[row->leaf];
    row->entry.heel = row->encoder->heel;
    row->entry.hip = palette->family[row->leaf];
    row->entry.twig = row->leaf - (palette->flags & HHTLD_FLAG_FLAT ? 0 : palette->first[row->entry.hip]);
    row->entry.polarity = row->dot < 0;
    if (row->entry.polarity) gain = -gain;
    for (uint64_t c = 0; c < palette->columns; c++) row->rest[c] -= gain * (double)code[c];
    row->entry.bound = hhtld_bf16_up(rest_norm(row));
    row->entry.open = row->entry.bound == HHTLD_BF16_INF;
}

static double lane_dot(const struct row *row, uint32_t lane) {
    const struct hhtld_palette *palette = &row->encoder->palette;
    const int8_t *code = palette->lane_codes + lane * palette->columns;
    double sum = 0;
    for (uint64_t c = 0; c < palette->columns; c++) sum += row->rest[c] * (double)code[c];
    return sum * (double)palette->lane_scale[lane];
}

/* Moves the lane's number to where the rest along it is smallest. */
static void adjust_lane(struct row *row, uint32_t lane) {
    const struct hhtld_palette *palette = &row->encoder->palette;
    const int8_t *code = palette->lane_codes + lane * palette->columns;
    double step = (double)palette->lane_step[lane];
    double value = (double)row->lanes[lane] + (step > 0 ? lane_dot(row, lane) / step : 0);
    value = value > 127 ? 127 : value < -127 ? -127 : value;
    int before = row->lanes[lane];
    row->lanes[lane] = (int8_t)(value < 0 ? value - 0.5 : value + 0.5);
    double factor = (double)(row->lanes[lane] - before) * step * (double)palette->lane_scale[lane];
    for (uint64_t c = 0; c < palette->columns; c++) row->rest[c] -= factor * (double)code[c];
}

static void settle_lanes(struct row *row) {
    const struct hhtld_palette *palette = &row->encoder->palette;
    bool kept = !row->entry.open;
    memset(row->lanes, 0, sizeof row->lanes);
    for (uint32_t i = 0; i < SWEEPS * palette->lane_count; i++) adjust_lane(row, i % palette->lane_count);
    for (uint32_t k = 0; k < palette->lane_count && kept; k++) {
        kept = fabs(lane_dot(row, k)) * BOUND_SLACK <= (double)palette->lane_slack[k];
    }
    row->entry.lane_bound = kept ? hhtld_bf16_up(rest_norm(row)) : HHTLD_BF16_INF;
}

/* ---- tile ---- */

static void write_entry(const struct row *row, uint8_t *dst) {
    const struct hhtld_palette *palette = &row->encoder->palette;
    hhtld_put16(dst, hhtld_slot_d(&row->entry));
    hhtld_put16(dst + 2, row->entry.bound);
    dst += 4;
    if (palette->flags & HHTLD_FLAG_ROW_GAIN) {
        hhtld_put16(dst, row->entry.gain);
        dst += 2;
    }
    if (palette->lane_count == 0) return;
    hhtld_put16(dst, row->entry.lane_bound);
    memcpy(dst + 2, row->lanes, palette->lane_count);
}

tsr_status hhtld_encode_tile(const struct hhtld_encoder *encoder, const tsr_tile *tile, const float *x, uint8_t *dst,
                             uint64_t capacity, uint64_t *written, tsr_error *err) {
    const struct hhtld_palette *palette = &encoder->palette;
    const uint64_t entry = hhtld_entry_bytes(palette->flags, palette->lane_count);
    struct row row = {.encoder = encoder};
    if (tile->columns != palette->columns) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "hhtld: a tile of %llu columns, expected whole rows of %llu",
                        (unsigned long long)tile->columns, (unsigned long long)palette->columns);
    }
    if (capacity < tile->rows * entry) {
        return tsr_fail(err, TSR_E_SPACE, "hhtld: tile needs more than %llu bytes", (unsigned long long)capacity);
    }
    row.rest = encoder->host->scratch(encoder->host, tile->worker, palette->columns * 12);
    if (!row.rest) return tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory for a row");
    row.unit = (float *)(void *)(row.rest + palette->columns);
    for (uint64_t r = 0; r < tile->rows; r++) {
        row_begin(&row, x + r * palette->columns);
        find_leaf(&row);
        settle(&row);
        if (palette->lane_count) settle_lanes(&row);
        write_entry(&row, dst + r * entry);
    }
    *written = tile->rows * entry;
    return TSR_OK;
}
