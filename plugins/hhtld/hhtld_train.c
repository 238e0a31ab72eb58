/* SPDX-License-Identifier: Apache-2.0
 *
 * Sample, centre, families, leaves within each family, gains, lanes, table. Everything is summed in double and in order,
 * so the palette is the same for any number of workers and on any machine. */
#include "hhtld_train.h"

#include "hhtld_cluster.h"
#include "hhtld_fisher.h"
#include "hhtld_lanes.h"

#include <math.h>

enum {
    SAMPLE_VALUES = 1 << 24, /* at most in memory, 64 MiB */
    SAMPLE_ROWS = 1 << 15,
    ROWS_PER_LEAF = 8,
    LEAVES_PER_FAMILY = 4 /* below, there are fewer families */
};

/* ---- plan ---- */

static uint32_t least(uint64_t a, uint64_t b) {
    return (uint32_t)(a < b ? a : b);
}

static uint64_t leaves_that_fit(const struct hhtld_shape *empty, uint64_t bytes_max) {
    uint64_t fixed = hhtld_palette_bytes(empty) + HHTLD_TWIGS_MAX * HHTLD_TWIGS_MAX;
    return fixed < bytes_max ? (bytes_max - fixed) / (8 + empty->columns) : 0;
}

tsr_status hhtld_train_plan(const struct hhtld_settings *settings, uint64_t rows, uint64_t columns,
                            uint64_t bytes_max, struct hhtld_shape *shape, tsr_error *err) {
    *shape = (struct hhtld_shape){.columns = columns, .families = HHTLD_FAMILIES_MAX};
    shape->flags = (settings->row_gain ? HHTLD_FLAG_ROW_GAIN : 0) | (settings->flat ? HHTLD_FLAG_FLAT : 0) |
                   (settings->table ? HHTLD_FLAG_TABLE : 0);
    shape->lane_count = least(settings->lanes, columns);
    uint64_t fit = leaves_that_fit(shape, bytes_max);
    uint64_t most = settings->flat ? HHTLD_TWIGS_MAX : HHTLD_TWIGS_MAX * HHTLD_FAMILIES_MAX;
    if (settings->leaves > most) {
        return tsr_fail(err, TSR_E_CONFIG, "hhtld: leaves is %u, expected at most %llu with this twig_scope",
                        settings->leaves, (unsigned long long)most);
    }
    if (fit < 1) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "hhtld: a palette of rows with %llu columns exceeds %llu bytes",
                        (unsigned long long)columns, (unsigned long long)bytes_max);
    }
    uint64_t wanted = settings->leaves ? settings->leaves : rows / ROWS_PER_LEAF + 1;
    shape->leaf_count = least(least(wanted, most), least(rows, fit));
    uint64_t families = shape->leaf_count / LEAVES_PER_FAMILY + 1;
    families = settings->families ? settings->families : least(families, HHTLD_FAMILIES_MAX);
    shape->families = least(families, shape->leaf_count);
    if (!settings->flat) shape->leaf_count = least(shape->leaf_count, shape->families * HHTLD_TWIGS_MAX);
    return TSR_OK;
}

/* ---- sample ---- */

struct sample {
    const struct hhtld_training *training;
    struct hhtld_shape shape;
    float *units;    /* [count][columns], of length 1 after the centre is gone, or 0 */
    double *norms;   /* [count] */
    float *centre;   /* [columns] */
    float *families; /* [families][columns] */
    float *leaves;   /* [leaf_count][columns] */
    uint32_t *rows;  /* [count] of the sample, family by family */
    uint32_t *owner; /* [count] family, then leaf, of rows[i] */
    uint32_t *leaf;  /* [count] of sample row i */
    uint64_t count;
    uint32_t begin[HHTLD_FAMILIES_MAX + 1]; /* of each family in `rows` */
    uint32_t budget[HHTLD_FAMILIES_MAX], first[HHTLD_FAMILIES_MAX]; /* leaves of each family */
};

static tsr_status no_memory(tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory to train");
}

static tsr_status sample_init(struct sample *sample, tsr_error *err) {
    const tsr_host *host = sample->training->host;
    const uint64_t columns = sample->training->columns;
    uint64_t most = SAMPLE_VALUES / columns > 256 ? SAMPLE_VALUES / columns : 256;
    sample->count = least(sample->training->rows, most < SAMPLE_ROWS ? most : SAMPLE_ROWS);
    sample->units = host->alloc(host, sample->count * columns * sizeof *sample->units);
    sample->norms = host->alloc(host, sample->count * sizeof *sample->norms);
    sample->centre = host->alloc(host, columns * sizeof *sample->centre);
    sample->families = host->alloc(host, sample->shape.families * columns * sizeof *sample->families);
    sample->leaves = host->alloc(host, sample->shape.leaf_count * columns * sizeof *sample->leaves);
    sample->rows = host->alloc(host, sample->count * sizeof *sample->rows);
    sample->owner = host->alloc(host, sample->count * sizeof *sample->owner);
    sample->leaf = host->alloc(host, sample->count * sizeof *sample->leaf);
    bool whole = sample->units && sample->norms && sample->centre && sample->families && sample->leaves &&
                 sample->rows && sample->owner && sample->leaf;
    return whole ? TSR_OK : no_memory(err);
}

static void sample_clear(struct sample *sample) {
    const tsr_host *host = sample->training->host;
    host->free(host, sample->units);
    host->free(host, sample->norms);
    host->free(host, sample->centre);
    host->free(host, sample->families);
    host->free(host, sample->leaves);
    host->free(host, sample->rows);
    host->free(host, sample->owner);
    host->free(host, sample->leaf);
}

/* Rows at equal distances over all members. */
static tsr_status sample_read(struct sample *sample, tsr_error *err) {
    const struct hhtld_training *training = sample->training;
    const uint64_t columns = training->columns;
    uint64_t before = 0, member = 0;
    for (uint64_t i = 0; i < sample->count; i++) {
        uint64_t row = (uint64_t)(((double)i + 0.5) / (double)sample->count * (double)training->rows);
        if (row >= training->rows) row = training->rows - 1;
        while (row - before >= training->members[member].rows) before += training->members[member++].rows;
        const tsr_row_source *source = training->members[member].source;
        tsr_status st = source->read(source->ctx, row - before, 1, 0, columns, sample->units + i * columns, err);
        if (st != TSR_OK) return st;
        if (i % 256 == 0 && training->host->cancelled(training->host)) {
            return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
        }
    }
    return TSR_OK;
}

static float centre_value(double mean) {
    if (mean > 0x1p125) mean = 0x1p125;
    if (mean < -0x1p125) mean = -0x1p125;
    return hhtld_bf16_value(hhtld_bf16_near((float)mean));
}

static tsr_status find_centre(struct sample *sample, tsr_error *err) {
    const tsr_host *host = sample->training->host;
    const uint64_t columns = sample->training->columns;
    double *sums = host->alloc(host, columns * sizeof *sums);
    if (!sums) return no_memory(err);
    memset(sums, 0, columns * sizeof *sums);
    for (uint64_t i = 0; i < sample->count && sample->training->settings.centre; i++) {
        for (uint64_t c = 0; c < columns; c++) sums[c] += (double)sample->units[i * columns + c];
    }
    for (uint64_t c = 0; c < columns; c++) sample->centre[c] = centre_value(sums[c] / (double)sample->count);
    host->free(host, sums);
    return TSR_OK;
}

static void to_units(struct sample *sample) {
    const uint64_t columns = sample->training->columns;
    for (uint64_t i = 0; i < sample->count; i++) {
        float *x = sample->units + i * columns;
        double energy = 0;
        for (uint64_t c = 0; c < columns; c++) {
            double value = (double)x[c] - (double)sample->centre[c];
            energy += value * value;
        }
        sample->norms[i] = sqrt(energy);
        double inverse = energy > 0 ? 1 / sample->norms[i] : 0;
        for (uint64_t c = 0; c < columns; c++) {
            x[c] = (float)(((double)x[c] - (double)sample->centre[c]) * inverse);
        }
    }
}

/* ---- tree ---- */

static tsr_status find_families(struct sample *sample, tsr_error *err) {
    const struct hhtld_training *training = sample->training;
    for (uint64_t i = 0; i < sample->count; i++) sample->rows[i] = (uint32_t)i;
    struct hhtld_cluster cluster = {.host = training->host,
                                    .products = training->products,
                                    .x = sample->units,
                                    .rows = sample->rows,
                                    .count = sample->count,
                                    .columns = training->columns,
                                    .wanted = sample->shape.families,
                                    .iterations = training->settings.iterations,
                                    .centres = sample->families,
                                    .assigned = sample->leaf};
    return hhtld_cluster_run(&cluster, err);
}

/* Leaves in proportion to the families' rows, one at least, 256 at most, all of them used. */
static void share_out(struct sample *sample) {
    const uint32_t families = sample->shape.families;
    uint32_t left = sample->shape.leaf_count - families;
    for (uint32_t f = 0; f < families; f++) {
        uint64_t rows = sample->begin[f + 1] - sample->begin[f];
        uint32_t share = least((uint64_t)(sample->shape.leaf_count - families) * rows / sample->count, HHTLD_TWIGS_MAX - 1);
        sample->budget[f] = 1 + share;
        left -= share;
    }
    for (uint32_t f = 0; left; f = (f + 1) % families) {
        if (sample->budget[f] == HHTLD_TWIGS_MAX) continue;
        sample->budget[f]++;
        left--;
    }
    for (uint32_t f = 1; f < families; f++) sample->first[f] = sample->first[f - 1] + sample->budget[f - 1];
}

/* Sorts the sample by family, which sample->leaf holds. */
static void sort_rows(struct sample *sample) {
    uint32_t at[HHTLD_FAMILIES_MAX] = {0};
    for (uint64_t i = 0; i < sample->count; i++) sample->begin[sample->leaf[i] + 1]++;
    for (uint32_t f = 0; f < sample->shape.families; f++) {
        sample->begin[f + 1] += sample->begin[f];
        at[f] = sample->begin[f];
    }
    for (uint64_t i = 0; i < sample->count; i++) sample->rows[at[sample->leaf[i]]++] = (uint32_t)i;
}

static tsr_status split_family(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct sample *sample = ctx;
    const struct hhtld_training *training = sample->training;
    (void)worker;
    struct hhtld_cluster cluster = {.host = training->host,
                                    .products = training->products,
                                    .x = sample->units,
                                    .rows = sample->rows + sample->begin[index],
                                    .count = sample->begin[index + 1] - sample->begin[index],
                                    .columns = training->columns,
                                    .wanted = sample->budget[index],
                                    .iterations = training->settings.iterations,
                                    .centres = sample->leaves + sample->first[index] * training->columns,
                                    .assigned = sample->owner + sample->begin[index]};
    return hhtld_cluster_run(&cluster, err);
}

/* sample->leaf gets the leaf of each sample row. */
static void note_leaves(struct sample *sample) {
    for (uint32_t f = 0; f < sample->shape.families; f++) {
        for (uint32_t i = sample->begin[f]; i < sample->begin[f + 1]; i++) {
            sample->leaf[sample->rows[i]] = sample->first[f] + sample->owner[i];
        }
    }
}

/* A leaf's sign is free: it looks the way of its family, so that the sum of the leaves shows where the family is. */
static void turn_leaves(struct sample *sample) {
    const uint64_t columns = sample->training->columns;
    float *leaf = sample->leaves;
    for (uint32_t f = 0; f < sample->shape.families; f++) {
        for (uint32_t i = 0; i < sample->budget[f]; i++, leaf += columns) {
            bool turned = sample->training->products->dot(leaf, sample->families + f * columns, columns) < 0;
            for (uint64_t c = 0; turned && c < columns; c++) leaf[c] = -leaf[c];
        }
    }
}

static tsr_status find_leaves(struct sample *sample, tsr_error *err) {
    const tsr_host *host = sample->training->host;
    tsr_status st = find_families(sample, err);
    if (st != TSR_OK) return st;
    sort_rows(sample);
    share_out(sample);
    st = host->parallel_for(host, sample->shape.families, split_family, sample, err);
    if (st != TSR_OK) return st;
    note_leaves(sample);
    turn_leaves(sample);
    return TSR_OK;
}

/* ---- bytes ---- */

/* Eight bits a number; the largest magnitude is 127. */
static float write_codes(const float *vector, uint64_t columns, int8_t *codes) {
    float largest = 0;
    for (uint64_t c = 0; c < columns; c++) largest = fabsf(vector[c]) > largest ? fabsf(vector[c]) : largest;
    float scale = largest / 127, inverse = scale > 0 ? 1 / scale : 0;
    if (!(inverse < HUGE_VALF)) scale = inverse = 0;
    for (uint64_t c = 0; c < columns; c++) {
        float value = vector[c] * inverse;
        int code = (int)(value < 0 ? value - 0.5f : value + 0.5f);
        codes[c] = (int8_t)(code > 127 ? 127 : code < -127 ? -127 : code);
    }
    return scale;
}

struct gain_sum {
    double gain;
    uint64_t count;
};

static float gain_value(const struct gain_sum *sum, float scale) {
    double gain = sum->count ? sum->gain / (double)sum->count : 0;
    double most = scale > 0 ? (double)HHTLD_LEAF_PRODUCT_MAX / 2 / (double)scale : 0;
    return (float)(gain < most ? gain : most);
}

/* The mean over the leaf's sample of the gain that fits each row best. */
static tsr_status write_leaves(const struct sample *sample, uint8_t *bytes, tsr_error *err) {
    const struct hhtld_training *training = sample->training;
    const tsr_host *host = training->host;
    const uint64_t columns = training->columns, leaves = sample->shape.leaf_count;
    int8_t *codes = (int8_t *)(bytes + 8 * leaves);
    struct gain_sum *sums = host->alloc(host, leaves * sizeof *sums);
    if (!sums) return no_memory(err);
    memset(sums, 0, leaves * sizeof *sums);
    for (uint64_t i = 0; i < leaves; i++) {
        hhtld_put_f32(bytes + 8 * i, write_codes(sample->leaves + i * columns, columns, codes + i * columns));
    }
    for (uint64_t i = 0; i < sample->count; i++) {
        uint64_t leaf = sample->leaf[i];
        double scale = (double)hhtld_get_f32(bytes + 8 * leaf), energy = 0;
        for (uint64_t c = 0; c < columns; c++) {
            energy += (double)codes[leaf * columns + c] * (double)codes[leaf * columns + c];
        }
        double dot = (double)training->products->dot_codes(codes + leaf * columns, sample->units + i * columns, columns);
        double divisor = scale * energy;
        sums[leaf].gain += divisor > 0 ? sample->norms[i] * fabs(dot) / divisor : 0;
        sums[leaf].count++;
    }
    for (uint64_t i = 0; i < leaves; i++) {
        hhtld_put_f32(bytes + 8 * i + 4, gain_value(&sums[i], hhtld_get_f32(bytes + 8 * i)));
    }
    host->free(host, sums);
    return TSR_OK;
}

/* Of the leaves with bit 1 of the flags, else of the families. */
static tsr_status write_table(const struct sample *sample, uint8_t *bytes, tsr_error *err) {
    const struct hhtld_training *training = sample->training;
    const tsr_host *host = training->host;
    const uint64_t columns = training->columns;
    if (!training->settings.table) return TSR_OK;
    const float *vectors = training->settings.flat ? sample->leaves : sample->families;
    const uint32_t size = training->settings.flat ? sample->shape.leaf_count : sample->shape.families;
    struct hhtld_table table;
    double *cosines = host->alloc(host, 2 * (uint64_t)size * size * sizeof *cosines);
    if (!cosines) return no_memory(err);
    for (uint64_t a = 0; a < size; a++) {
        for (uint64_t b = 0; b < size; b++) {
            cosines[a * size + b] =
                (double)training->products->dot(vectors + a * columns, vectors + b * columns, columns);
        }
    }
    hhtld_fisher_make(cosines, size, cosines + (uint64_t)size * size, (int8_t *)(bytes + 12), &table);
    hhtld_put_f32(bytes, table.z_min);
    hhtld_put_f32(bytes + 4, table.z_range);
    hhtld_put32(bytes + 8, table.clamped);
    host->free(host, cosines);
    return TSR_OK;
}

static void write_head(const struct sample *sample, uint8_t *bytes) {
    const struct hhtld_shape *shape = &sample->shape;
    bytes[0] = (uint8_t)shape->flags;
    bytes[1] = (uint8_t)shape->families;
    bytes[2] = (uint8_t)shape->lane_count;
    bytes[3] = 0;
    hhtld_put32(bytes + 4, (uint32_t)shape->columns);
    bytes += HHTLD_PALETTE_FIXED;
    for (uint32_t f = 0; f < shape->families; f++, bytes += 2) hhtld_put16(bytes, sample->budget[f]);
    for (uint64_t c = 0; c < shape->columns; c++) hhtld_put16(bytes + 2 * c, hhtld_bf16_near(sample->centre[c]));
}

static tsr_status write_palette(const struct sample *sample, uint8_t *bytes, tsr_error *err) {
    const struct hhtld_shape *shape = &sample->shape;
    const uint64_t columns = shape->columns;
    uint8_t *leaves = bytes + HHTLD_PALETTE_FIXED + 2 * (uint64_t)shape->families + 2 * columns;
    uint8_t *lanes = leaves + shape->leaf_count * (8 + columns);
    write_head(sample, bytes);
    tsr_status st = write_leaves(sample, leaves, err);
    const struct hhtld_lanes_job job = {.host = sample->training->host,
                                        .products = sample->training->products,
                                        .units = sample->units,
                                        .norms = sample->norms,
                                        .leaf = sample->leaf,
                                        .count = sample->count,
                                        .columns = columns,
                                        .leaf_bytes = leaves,
                                        .leaf_count = shape->leaf_count,
                                        .lane_count = shape->lane_count};
    if (st == TSR_OK && shape->lane_count) st = hhtld_lanes_train(&job, lanes, err);
    if (st == TSR_OK) st = write_table(sample, lanes + shape->lane_count * (12 + columns), err);
    return st;
}

tsr_status hhtld_train(const struct hhtld_training *training, const struct hhtld_shape *plan, uint8_t **bytes,
                       uint64_t *size, tsr_error *err) {
    const tsr_host *host = training->host;
    struct sample sample = {.training = training, .shape = *plan};
    tsr_status st = sample_init(&sample, err);
    if (st == TSR_OK) st = sample_read(&sample, err);
    if (st == TSR_OK) st = find_centre(&sample, err);
    if (st == TSR_OK) {
        to_units(&sample);
        st = find_leaves(&sample, err);
    }
    if (st == TSR_OK) {
        *size = hhtld_palette_bytes(&sample.shape);
        *bytes = host->alloc(host, *size);
        st = *bytes ? write_palette(&sample, *bytes, err) : no_memory(err);
        if (st != TSR_OK) host->free(host, *bytes);
        if (st != TSR_OK) *bytes = NULL;
    }
    sample_clear(&sample);
    return st;
}
