/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks are centred in equal strata of the rows, so that a tensor whose rows change slowly (a vocabulary sorted by
 * frequency) is represented. Both ends are taken as they are: vocabularies keep unused rows there, which code to half
 * the size (BERT in F32: prediction off by 1.1 % without them), and apart, since codecs fit tables to what they see. Where one row exceeds a tile, columns are
 * cut into strata too. Depends on shape and codec alone. */
#include "plan_sample.h"

#include <math.h>
#include <string.h>

#include <base/alloc.h>
#include <base/error.h>
#include <format/dtype.h>
#include <plugin/matrix.h>

#include "bound.h"

#define SAMPLE_WEIGHTS (UINT64_C(1) << 20)
#define EDGE_WEIGHTS (UINT64_C(1) << 19)
#define SAMPLE_BLOCKS 32
#define WIDE_ROWS 4
#define ENTROPY_VALUES (UINT64_C(1) << 16)
#define ROWS_OF_COLUMNS 32      /* from which on a sample tells what its columns have in common */
#define DEVIATION_LEAST 0x1p-20 /* of a column, over the RMS of its rows */

/* Ranges of 0..total-1 that are taken: `edge` at each end and `wanted` between them in `count` blocks. */
struct blocks {
    uint64_t total, edge, wanted, count;
};

struct range {
    uint64_t first, count;
};

static uint64_t part(uint64_t amount, uint64_t blocks, uint64_t b) {
    return amount / blocks * b + amount % blocks * b / blocks;
}

/* Block b of the inner part. */
static struct range block_at(const struct blocks *blocks, uint64_t b) {
    uint64_t inner = blocks->total - 2 * blocks->edge;
    uint64_t start = part(inner, blocks->count, b), end = part(inner, blocks->count, b + 1);
    uint64_t count = part(blocks->wanted, blocks->count, b + 1) - part(blocks->wanted, blocks->count, b);
    return (struct range){blocks->edge + start + (end - start - count) / 2, count};
}

static struct blocks blocks_all(uint64_t total) {
    return (struct blocks){total, 0, total, 1};
}

/* Takes all unless there is room enough that no block outgrows its stratum. */
static struct blocks blocks_make(uint64_t total, uint64_t edge, uint64_t wanted) {
    uint64_t kept = 2 * edge + wanted;
    if (kept >= total || total - kept < SAMPLE_BLOCKS) return blocks_all(total);
    return (struct blocks){total, edge, wanted, min_u64(wanted, SAMPLE_BLOCKS)};
}

/* Which rows and columns, in whole tiles. */
static void choose(const struct plan_entry *entry, const tsr_codec *codec, struct blocks *rows, struct blocks *columns) {
    struct tile_grid grid = tile_grid_make(entry->rows, entry->columns, codec->tile_weights);
    *rows = blocks_all(entry->rows);
    *columns = blocks_all(entry->columns);
    if (grid.count == 0) return;
    uint64_t tile = grid.tile_rows * grid.tile_columns, tiles = max_u64(SAMPLE_WEIGHTS / tile, 1);
    if (grid.tile_columns == grid.columns) {
        *rows = blocks_make(entry->rows, EDGE_WEIGHTS / tile * grid.tile_rows, tiles * grid.tile_rows);
        return;
    }
    uint64_t wide_rows = min_u64(entry->rows, min_u64(tiles, WIDE_ROWS));
    *rows = blocks_make(entry->rows, 0, wide_rows);
    *columns = blocks_make(entry->columns, 0, max_u64(tiles / wide_rows, 1) * grid.tile_columns);
}

tsr_status sample_source_read(void *ctx, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    const struct sample_source *source = ctx;
    if (env_cancelled(source->planner->env)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    return checkpoint_read(source->planner->checkpoint, source->entry->source, offset, dst, size, err);
}

/* Rows first..first+count-1 of the tensor, their sampled columns side by side. */
static tsr_status gather_rows(struct matrix *matrix, struct range rows, const struct blocks *columns, uint64_t row_bytes,
                              uint8_t *dst, tsr_error *err) {
    if (columns->count == 1) {
        struct range all = block_at(columns, 0);
        return matrix_read(matrix, rows.first, rows.count, all.first, all.count, dst, err);
    }
    tsr_status st = TSR_OK;
    for (uint64_t r = 0; r < rows.count && !st; r++, dst += row_bytes) {
        uint8_t *to = dst;
        for (uint64_t b = 0; b < columns->count && !st; b++) {
            struct range range = block_at(columns, b);
            st = matrix_read(matrix, rows.first + r, 1, range.first, range.count, to, err);
            to += range.count * matrix->width;
        }
    }
    return st;
}

static struct range edge_at(const struct blocks *blocks, uint64_t i) {
    return (struct range){i == 0 ? 0 : blocks->total - blocks->edge, blocks->edge};
}

static tsr_status gather(struct matrix *matrix, const struct blocks *rows, const struct blocks *columns,
                         enum sample_part part, struct sample *sample, tsr_error *err) {
    uint64_t row_bytes = sample->columns * matrix->width, count = part == SAMPLE_EDGES ? 2 : rows->count;
    sample->bytes = mem_alloc_aligned(max_u64(sample->rows * row_bytes, 1));
    if (!sample->bytes) return plan_no_memory(err);
    uint8_t *to = sample->bytes;
    tsr_status st = TSR_OK;
    for (uint64_t i = 0; i < count && !st; i++) {
        struct range range = part == SAMPLE_EDGES ? edge_at(rows, i) : block_at(rows, i);
        st = gather_rows(matrix, range, columns, row_bytes, to, err);
        to += range.count * row_bytes;
    }
    return st;
}

static tsr_status gather_weights(const float *weights, const struct blocks *rows, enum sample_part part,
                                 struct sample *sample, tsr_error *err) {
    uint64_t count = part == SAMPLE_EDGES ? 2 : rows->count;
    sample->row_weight = mem_alloc_array(max_u64(sample->rows, 1), sizeof *weights);
    if (!sample->row_weight) return plan_no_memory(err);
    float *to = sample->row_weight;
    for (uint64_t i = 0; i < count; i++) {
        struct range range = part == SAMPLE_EDGES ? edge_at(rows, i) : block_at(rows, i);
        memcpy(to, weights + range.first, range.count * sizeof *weights);
        to += range.count;
    }
    return TSR_OK;
}

/* The sample has its own shape; the whole tensor keeps the one of its file. */
static void describe(const struct plan_entry *entry, struct sample *sample) {
    const struct safetensors_entry *source = entry->source->entry;
    sample->tensor = (tsr_tensor){.struct_size = sizeof sample->tensor,
                                  .name = entry->source->name,
                                  .shape = sample->shape,
                                  .rank = sample->whole ? source->rank : 2,
                                  .rows = sample->rows,
                                  .columns = sample->columns,
                                  .bytes = sample->rows * sample->columns * (sample->bits / 8),
                                  .dtype = source->dtype,
                                  .regime = entry->regime};
    sample->shape[0] = sample->rows;
    sample->shape[1] = sample->columns;
    if (sample->whole) memcpy(sample->shape, source->shape, sizeof sample->shape);
}

tsr_tensor sample_tensor_of(const struct plan_entry *entry) {
    const struct safetensors_entry *source = entry->source->entry;
    return (tsr_tensor){.struct_size = sizeof(tsr_tensor),
                        .name = entry->source->name,
                        .shape = source->shape,
                        .rank = source->rank,
                        .rows = entry->rows,
                        .columns = entry->columns,
                        .bytes = source->bytes,
                        .dtype = source->dtype,
                        .regime = entry->regime};
}

tsr_status sample_read(const struct planner *planner, const struct plan_entry *entry, const tsr_codec *codec,
                       enum sample_part part, struct sample *sample, tsr_error *err) {
    const struct safetensors_entry *source = entry->source->entry;
    struct blocks rows, columns;
    choose(entry, codec, &rows, &columns);
    uint64_t edges = 2 * rows.edge;
    sample->rows = part == SAMPLE_EDGES ? edges : rows.wanted;
    sample->columns = columns.wanted;
    sample->stands_for = (part == SAMPLE_EDGES ? edges : entry->rows - edges) * entry->columns;
    if (part == SAMPLE_EDGES && edges == 0) return TSR_OK;
    sample->whole = sample->rows == entry->rows && sample->columns == entry->columns;
    uint64_t ignored_rows = entry->rows, ignored_columns = entry->columns;
    sample->bits = tile_matrix_of(source->dtype, source->bytes, &ignored_rows, &ignored_columns);
    describe(entry, sample);
    tsr_tensor whole = sample_tensor_of(entry);
    struct coder_job job = {.tensor = &whole, .transposed = entry->transposed, .dtype_bits = sample->bits};
    struct sample_source file = {planner, entry};
    struct coder_source reader = {&file, sample_source_read};
    struct matrix matrix = {0};
    tsr_status st = matrix_open(&matrix, &job, &reader, err);
    if (!st) st = gather(&matrix, &rows, &columns, part, sample, err);
    if (!st && entry->row_weight) st = gather_weights(entry->row_weight, &rows, part, sample, err);
    matrix_close(&matrix);
    return st;
}

void sample_clear(struct sample *sample) {
    mem_free(sample->bytes);
    mem_free(sample->row_weight);
    *sample = (struct sample){0};
}

void sample_row(const struct sample *sample, const uint8_t *bytes, uint64_t row, float *values) {
    const uint8_t *from = bytes + row * sample->columns * (sample->bits / 8);
    dtype_to_f32(sample->tensor.dtype, from, sample->columns, values);
}

/* ---- bounds ---- */

/* Of a column's normalised values: sums, then mean and deviation. */
struct moment {
    double first, second;
};

/* Mean squares of the rows, and values divided by the RMS of their row. */
struct spread {
    double *energies;     /* [rows] */
    struct moment *told;  /* [columns]: what an encoder could tell of all rows at once; NULL: not wanted */
    float *normalised;    /* [count], at most ENTROPY_VALUES, then as many of scratch */
    uint64_t *column;     /* [count] */
    uint64_t count, active_rows;
    double energy;  /* mean over active rows */
    double log_rms; /* mean over active rows, in bits */
};

static void tell_columns(struct moment *told, const float *values, uint64_t columns, double rms) {
    for (uint64_t c = 0; c < columns; c++) {
        double value = isfinite(values[c]) ? values[c] / rms : 0;
        told[c].first += value;
        told[c].second += value * value;
    }
}

static void measure_row(const float *values, uint64_t columns, uint64_t step, uint64_t row, struct spread *spread) {
    double energy = 0;
    for (uint64_t c = 0; c < columns; c++) energy += isfinite(values[c]) ? (double)values[c] * values[c] : 0;
    energy /= (double)columns;
    spread->energies[row] = energy;
    if (energy <= 0) return;
    spread->active_rows++;
    spread->energy += energy;
    spread->log_rms += 0.5 * log2(energy);
    const double rms = sqrt(energy);
    if (spread->told) tell_columns(spread->told, values, columns, rms);
    for (uint64_t c = row % step; c < columns && spread->count < ENTROPY_VALUES; c += step) {
        if (!isfinite(values[c])) continue;
        spread->column[spread->count] = c;
        spread->normalised[spread->count++] = (float)(values[c] / rms);
    }
}

/* Differential entropy of the normalised values once the mean and the deviation of each column are known. Changes them. */
static double entropy_by_columns(struct spread *spread, uint64_t columns) {
    double logs = 0, rows = (double)spread->active_rows;
    for (uint64_t c = 0; c < columns; c++) {
        struct moment *of = &spread->told[c];
        of->first /= rows;
        of->second = sqrt(fmax(of->second / rows - of->first * of->first, DEVIATION_LEAST * DEVIATION_LEAST));
        logs += log2(of->second);
    }
    for (uint64_t i = 0; i < spread->count; i++) {
        const struct moment *of = &spread->told[spread->column[i]];
        spread->normalised[i] = (float)((spread->normalised[i] - of->first) / of->second);
    }
    return logs / (double)columns +
           bound_differential_entropy(spread->normalised, spread->count, spread->normalised + ENTROPY_VALUES);
}

static double combine(const struct sample *sample, struct spread *spread, double bits) {
    double error = bound_water_filling(spread->energies, NULL, sample->rows, bits);
    error = fmin(error, bound_gaussian(bits));
    if (!spread->told || spread->active_rows == 0) return error;
    double active = (double)spread->active_rows, entropy;
    entropy = bound_differential_entropy(spread->normalised, spread->count, spread->normalised + ENTROPY_VALUES);
    if (spread->active_rows >= ROWS_OF_COLUMNS) entropy = fmin(entropy, entropy_by_columns(spread, sample->columns));
    double active_bits = bits * (double)sample->rows / active;
    return fmin(error, bound_entropy_power(entropy + spread->log_rms / active, spread->energy / active, active_bits));
}

static bool spread_allocate(const struct sample *sample, bool all_bounds, struct spread *spread) {
    spread->energies = mem_alloc_array(max_u64(sample->rows, 1), sizeof *spread->energies);
    if (all_bounds) spread->told = mem_alloc_zero(max_u64(sample->columns, 1), sizeof *spread->told);
    spread->normalised = mem_alloc_array(2 * ENTROPY_VALUES, sizeof *spread->normalised);
    spread->column = mem_alloc_array(ENTROPY_VALUES, sizeof *spread->column);
    return spread->energies && (spread->told || !all_bounds) && spread->normalised && spread->column;
}

tsr_status sample_bound(const struct sample *sample, double bits, bool all_bounds, double *error, tsr_error *err) {
    uint64_t weights = sample->rows * sample->columns, step = weights / ENTROPY_VALUES + 1;
    struct spread spread = {0};
    float *values = mem_alloc_array(max_u64(sample->columns, 1), sizeof *values);
    tsr_status st = values && spread_allocate(sample, all_bounds, &spread) ? TSR_OK : plan_no_memory(err);
    *error = 0;
    if (!st && weights) {
        for (uint64_t r = 0; r < sample->rows; r++) {
            sample_row(sample, sample->bytes, r, values);
            measure_row(values, sample->columns, step, r, &spread);
        }
        *error = combine(sample, &spread, bits);
    }
    mem_free(values);
    mem_free(spread.energies);
    mem_free(spread.told);
    mem_free(spread.normalised);
    mem_free(spread.column);
    return st;
}
