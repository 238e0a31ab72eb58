/* SPDX-License-Identifier: Apache-2.0
 *
 * RMS of all rows, and the differential entropy of a sample of their values. */
#include "plan_rows.h"

#include <math.h>

#include <base/alloc.h>
#include <base/error.h>
#include <plugin/matrix.h>
#include <plugin/tile.h>

#include "bound.h"
#include "plan_sample.h"
#include "quantiser.h"

#define CHUNK_WEIGHTS (UINT64_C(1) << 18)
#define SAMPLED (UINT64_C(1) << 14)

struct looking {
    const struct plan_entry *entry;
    struct row_look *look;
    float *chunk;
    uint64_t chunk_rows;
    float *sample; /* [2 * SAMPLED]: values over the RMS of their row, and scratch */
    uint64_t sampled, step;
};

static void look_at(struct looking *looking, uint64_t row, const float *values) {
    uint64_t columns = looking->entry->columns;
    double energy = 0;
    for (uint64_t c = 0; c < columns; c++) energy += (double)values[c] * values[c];
    energy /= (double)columns;
    looking->look->log_rms[row] = energy > 0 ? (float)(0.5 * log2(energy)) : -INFINITY;
    if (energy <= 0) return;
    for (uint64_t c = row % looking->step; c < columns && looking->sampled < SAMPLED; c += looking->step) {
        looking->sample[looking->sampled++] = (float)(values[c] / sqrt(energy));
    }
}

static tsr_status look_at_all(struct looking *looking, struct matrix *matrix, tsr_error *err) {
    const struct plan_entry *entry = looking->entry;
    tsr_status st = TSR_OK;
    for (uint64_t row = 0; row < entry->rows && !st; row += looking->chunk_rows) {
        uint64_t count = min_u64(looking->chunk_rows, entry->rows - row);
        st = matrix_read_finite(matrix, row, count, 0, entry->columns, looking->chunk, err);
        for (uint64_t r = 0; r < count && !st; r++) look_at(looking, row + r, looking->chunk + r * entry->columns);
    }
    return st;
}

static double deficit_of(struct looking *looking) {
    double entropy = bound_differential_entropy(looking->sample, looking->sampled, looking->sample + SAMPLED);
    return isfinite(entropy) ? fmin(fmax(QUANTISER_LOG_SQRT_2PIE - entropy, 0), 1) : 0;
}

static tsr_status open_matrix(struct looking *looking, const tsr_tensor *tensor, const struct coder_source *file,
                              struct matrix *matrix, tsr_error *err) {
    uint64_t rows = looking->entry->rows, columns = looking->entry->columns;
    struct coder_job job = {.tensor = tensor,
                            .transposed = looking->entry->transposed,
                            .dtype_bits = tile_matrix_of(tensor->dtype, tensor->bytes, &rows, &columns)};
    return matrix_open(matrix, &job, file, err);
}

tsr_status row_look_take(const struct planner *planner, const struct plan_entry *entry, struct row_look *look,
                         tsr_error *err) {
    struct looking looking = {.entry = entry, .look = look};
    struct sample_source source = {planner, entry};
    struct coder_source file = {&source, sample_source_read};
    struct matrix matrix = {0};
    tsr_tensor tensor = sample_tensor_of(entry);
    uint64_t weights = entry->rows * entry->columns;
    looking.chunk_rows = max_u64(CHUNK_WEIGHTS / max_u64(entry->columns, 1), 1);
    looking.step = weights / SAMPLED + 1;
    look->log_rms = mem_alloc_array(max_u64(entry->rows, 1), sizeof *look->log_rms);
    looking.chunk = mem_alloc_array(looking.chunk_rows * max_u64(entry->columns, 1), sizeof *looking.chunk);
    looking.sample = mem_alloc_array(2 * SAMPLED, sizeof *looking.sample);
    tsr_status st = look->log_rms && looking.chunk && looking.sample ? TSR_OK : plan_no_memory(err);
    if (!st) st = open_matrix(&looking, &tensor, &file, &matrix, err);
    if (!st) st = look_at_all(&looking, &matrix, err);
    if (!st) look->deficit = deficit_of(&looking);
    matrix_close(&matrix);
    mem_free(looking.sample);
    mem_free(looking.chunk);
    return st;
}

void row_look_clear(struct row_look *look) {
    mem_free(look->log_rms);
    look->log_rms = NULL;
}
